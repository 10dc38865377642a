//! Interpreters whose first operand is the script.

use super::{
    Runs,
    grammar::{
        Effect::{self, Before, Colon, Module, Rest, Script, Text, Value},
        Grammar, Words,
    },
};

/// Defaults of most: double-dash words, no `+x`, and a dash alone for standard input.
const fn grammar(
    letters: &'static [(&'static str, Effect)],
    words: &'static [(&'static str, Effect)],
) -> Grammar {
    Grammar {
        letters,
        words,
        written: Words::Double,
        plus: false,
        dash_ends: false,
    }
}

/// The same with words that may have one dash.
const fn either(words: &'static [(&'static str, Effect)]) -> Grammar {
    Grammar {
        written: Words::Either,
        ..grammar(&[], words)
    }
}

/// python3(1), and Python/getopt.c of 3.13; `-Q` is of Python 2, `--jit` of PyPy.
const PYTHON: Grammar = grammar(
    &[("c", Text), ("m", Module), ("WXQ", Value)],
    &[("check-hash-based-pycs", Value), ("jit", Value)],
);

/// perlrun(1): `-I` takes the next argument where nothing follows in its own; `-i`, `-M`, `-x` and others take what
/// follows in their own argument alone.
const PERL: Grammar = grammar(
    &[("eE", Text), ("I", Value), ("CDFiMmx", Rest), ("dV", Colon)],
    &[],
);

/// ruby(1), and ruby.c of 3.1.
const RUBY: Grammar = grammar(
    &[("e", Text), ("CEIrX", Value), ("FiKTWx", Rest)],
    &[
        ("backtrace-limit", Value),
        ("crash-report", Value),
        ("disable", Value),
        ("dump", Value),
        ("enable", Value),
        ("encoding", Value),
        ("external-encoding", Value),
        ("internal-encoding", Value),
        ("parser", Value),
    ],
);

/// `node --help` of 20 and 24, doc/api/cli.md. Options do not cluster; those of V8 take values with `=` alone, and so
/// do `--inspect` and its kin. Underscores stand for dashes (src/node_options-inl.h, OptionsParser::Parse).
const NODE: Grammar = Grammar {
    written: Words::EitherOrUnderscores,
    ..either(NODE_WORDS)
};

const NODE_WORDS: &[(&str, Effect)] = &[
    ("C", Value),
    ("allow-fs-read", Value),
    ("allow-fs-write", Value),
    ("build-sea", Value),
    ("build-snapshot-config", Value),
    ("conditions", Value),
    ("cpu-prof-dir", Value),
    ("cpu-prof-interval", Value),
    ("cpu-prof-name", Value),
    ("debug-port", Value),
    ("diagnostic-dir", Value),
    ("disable-proto", Value),
    ("disable-warning", Value),
    ("dns-result-order", Value),
    ("e", Text),
    ("env-file", Value),
    ("env-file-if-exists", Value),
    ("es-module-specifier-resolution", Value),
    ("eval", Text),
    ("experimental-config-file", Value),
    ("experimental-default-type", Value),
    ("experimental-loader", Value),
    ("experimental-policy", Value),
    ("experimental-sea-config", Value),
    ("experimental-specifier-resolution", Value),
    ("experimental-test-isolation", Value),
    ("heap-prof-dir", Value),
    ("heap-prof-interval", Value),
    ("heap-prof-name", Value),
    ("heapsnapshot-near-heap-limit", Value),
    ("heapsnapshot-signal", Value),
    ("icu-data-dir", Value),
    ("import", Value),
    ("input-type", Value),
    ("inspect-port", Value),
    ("inspect-publish-uid", Value),
    ("loader", Value),
    ("localstorage-file", Value),
    ("max-http-header-size", Value),
    ("max-old-space-size-percentage", Value),
    ("network-family-autoselection-attempt-timeout", Value),
    ("openssl-config", Value),
    ("p", Text),
    ("pe", Text),
    ("policy-integrity", Value),
    ("print", Text),
    ("r", Value),
    ("redirect-warnings", Value),
    ("report-dir", Value),
    ("report-directory", Value),
    ("report-filename", Value),
    ("report-signal", Value),
    ("require", Value),
    ("run", Module),
    ("secure-heap", Value),
    ("secure-heap-min", Value),
    ("security-revert", Value),
    ("snapshot-blob", Value),
    ("test-concurrency", Value),
    ("test-coverage-branches", Value),
    ("test-coverage-exclude", Value),
    ("test-coverage-functions", Value),
    ("test-coverage-include", Value),
    ("test-coverage-lines", Value),
    ("test-global-setup", Value),
    ("test-isolation", Value),
    ("test-name-pattern", Value),
    ("test-random-seed", Value),
    ("test-reporter", Value),
    ("test-reporter-destination", Value),
    ("test-rerun-failures", Value),
    ("test-shard", Value),
    ("test-skip-pattern", Value),
    ("test-timeout", Value),
    ("title", Value),
    ("tls-cipher-list", Value),
    ("tls-keylog", Value),
    ("trace-event-categories", Value),
    ("trace-event-file-pattern", Value),
    ("trace-require-module", Value),
    ("unhandled-rejections", Value),
    ("use-largepages", Value),
    ("v8-pool-size", Value),
    ("watch-kill-signal", Value),
    ("watch-path", Value),
];

/// `node inspect`'s own options, before the script.
const NODE_INSPECT: Grammar = either(&[("p", Value), ("port", Value)]);

/// php(1), and php_cli.c of 8.2: getopt's letters; `-S` serves, with or without a router script.
const PHP: Grammar = grammar(
    &[("B", Before), ("Rr", Text), ("fF", Script), ("EScdtz", Value)],
    &[
        ("define", Value),
        ("docroot", Value),
        ("file", Script),
        ("php-ini", Value),
        ("process-begin", Before),
        ("process-code", Text),
        ("process-end", Value),
        ("process-file", Script),
        ("rc", Text),
        ("re", Text),
        ("repeat", Value),
        ("rf", Text),
        ("ri", Text),
        ("run", Text),
        ("rz", Text),
        ("server", Value),
        ("zend-extension", Value),
    ],
);

/// php-cgi(1), and cgi_main.c of 8.2: `-b` serves FastCGI, where requests name the scripts; `-T` takes a number of runs.
const PHP_CGI: Grammar = grammar(
    &[("b", Text), ("f", Script), ("Tcdz", Value)],
    &[
        ("bindpath", Text),
        ("define", Value),
        ("file", Script),
        ("php-ini", Value),
        ("timing", Value),
        ("zend-extension", Value),
    ],
);

/// lua(1), and lua.c of 5.4: a script may follow `-e`.
const LUA: Grammar = grammar(&[("e", Before), ("l", Value)], &[]);

/// luajit(1).
const LUAJIT: Grammar = grammar(&[("e", Before), ("jl", Value), ("O", Rest), ("b", Text)], &[]);

/// expect(1): a command file may follow `-c`, and is named by `-f` and `-b`.
const EXPECT: Grammar = grammar(&[("c", Before), ("D", Value), ("bf", Script)], &[]);

/// R(1): a front end's arguments end with `--args`.
const R: Grammar = either(&[
    ("d", Value),
    ("debugger", Value),
    ("e", Text),
    ("encoding", Value),
    ("f", Script),
    ("file", Script),
    ("g", Value),
    ("gui", Value),
]);

/// Rscript(1).
const RSCRIPT: Grammar = either(&[("e", Text), ("g", Value)]);

pub(super) fn python(arguments: &[String]) -> Runs<'_> {
    PYTHON.read(arguments)
}

pub(super) fn perl(arguments: &[String]) -> Runs<'_> {
    PERL.read(arguments)
}

pub(super) fn ruby(arguments: &[String]) -> Runs<'_> {
    RUBY.read(arguments)
}

pub(super) fn node(arguments: &[String]) -> Runs<'_> {
    match NODE.walk(arguments) {
        // The debugger runs in a process of its own, and the script in a child of it.
        Ok(Some(at)) if matches!(arguments[at].as_str(), "inspect" | "debug") => {
            NODE_INSPECT.read(&arguments[at + 1..])
        }
        Ok(Some(at)) => Runs::Script(&arguments[at]),
        Ok(None) => Runs::Nothing,
        Err(found) => found,
    }
}

/// Behind `--` stand arguments alone (main of php_cli.c).
pub(super) fn php(arguments: &[String]) -> Runs<'_> {
    match PHP.walk(arguments) {
        Ok(Some(at)) if at > 0 && arguments[at - 1] == "--" => Runs::Nothing,
        Ok(Some(at)) => Runs::Script(&arguments[at]),
        Ok(None) => Runs::Nothing,
        Err(found) => found,
    }
}

pub(super) fn php_cgi(arguments: &[String]) -> Runs<'_> {
    PHP_CGI.read(arguments)
}

pub(super) fn lua(arguments: &[String]) -> Runs<'_> {
    LUA.read(arguments)
}

pub(super) fn luajit(arguments: &[String]) -> Runs<'_> {
    LUAJIT.read(arguments)
}

pub(super) fn expect(arguments: &[String]) -> Runs<'_> {
    EXPECT.read(arguments)
}

/// tclsh(1), wish(1), and Tcl_MainEx of 8.6: the script is the first argument, or follows `-encoding NAME`; else all
/// arguments are those of an interactive session.
pub(super) fn tcl(arguments: &[String]) -> Runs<'_> {
    let is_script = |argument: &&String| !argument.starts_with('-');
    match arguments {
        [encoding, _, script, ..] if encoding == "-encoding" && is_script(&script) => Runs::Script(script),
        [script, ..] if is_script(&script) => Runs::Script(script),
        _ => Runs::Nothing,
    }
}

/// `R` runs what its options name; an operand is no script.
pub(super) fn r(arguments: &[String]) -> Runs<'_> {
    let operands_from = arguments.iter().position(|argument| argument == "--args");
    match R.walk(&arguments[..operands_from.unwrap_or(arguments.len())]) {
        Err(found) => found,
        Ok(_) => Runs::Nothing,
    }
}

pub(super) fn rscript(arguments: &[String]) -> Runs<'_> {
    RSCRIPT.read(arguments)
}
