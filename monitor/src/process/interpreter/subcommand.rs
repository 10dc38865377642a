//! Runtimes whose first operand is a subcommand or a program.

use super::{
    Runs,
    grammar::{
        Effect::{self, Text, Value},
        Grammar, Words,
    },
};

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

/// `deno run --help` of 2.6, and cli/args/flags.rs. Permissions and most others take values with `=` alone, also
/// within a cluster.
const DENO: Grammar = grammar(
    &[("Lc", Value), ("EINPRSWrt", Effect::Equals)],
    &[
        ("cert", Value),
        ("conditions", Value),
        ("config", Value),
        ("cpu-prof-dir", Value),
        ("cpu-prof-interval", Value),
        ("cpu-prof-name", Value),
        ("ext", Value),
        ("host", Value),
        ("import", Value),
        ("import-map", Value),
        ("importmap", Value),
        ("location", Value),
        ("lock", Effect::Optional),
        ("log-level", Value),
        ("minimum-dependency-age", Value),
        ("port", Value),
        ("preload", Value),
        ("require", Value),
        ("seed", Value),
    ],
);

/// `deno task --help`.
const DENO_TASK: Grammar = grammar(
    &[("cfL", Value)],
    &[
        ("config", Value),
        ("cwd", Value),
        ("eval", Text),
        ("filter", Value),
        ("log-level", Value),
    ],
);

/// `bun --help` of 1.3; `bun run` takes the same.
const BUN: Grammar = grammar(
    &[("ep", Text), ("Fdlru", Value), ("c", Effect::Rest)],
    &[
        ("conditions", Value),
        ("console-depth", Value),
        ("cpu-prof-dir", Value),
        ("cpu-prof-name", Value),
        ("cwd", Value),
        ("define", Value),
        ("dns-result-order", Value),
        ("drop", Value),
        ("elide-lines", Value),
        ("env-file", Value),
        ("eval", Text),
        ("extension-order", Value),
        ("feature", Value),
        ("fetch-preconnect", Value),
        ("filter", Value),
        ("import", Value),
        ("install", Value),
        ("jsx-factory", Value),
        ("jsx-fragment", Value),
        ("jsx-import-source", Value),
        ("jsx-runtime", Value),
        ("loader", Value),
        ("main-fields", Value),
        ("max-http-header-size", Value),
        ("origin", Value),
        ("port", Value),
        ("preload", Value),
        ("print", Text),
        ("require", Value),
        ("shell", Value),
        ("title", Value),
        ("tsconfig-override", Value),
        ("unhandled-rejections", Value),
        ("user-agent", Value),
    ],
);

/// `bunx --help`.
const BUNX: Grammar = grammar(&[("p", Value)], &[("package", Value)]);

/// Subcommands of `bun` that run no program of one name.
const BUN_TOOLS: [&str; 20] = [
    "a", "add", "audit", "build", "create", "i", "info", "init", "install", "link", "outdated", "patch",
    "pm", "publish", "remove", "repl", "rm", "test", "update", "upgrade",
];

/// The host of .NET: docs of `dotnet exec`.
const DOTNET: Grammar = grammar(
    &[],
    &[
        ("additional-deps", Value),
        ("additionalprobingpath", Value),
        ("depsfile", Value),
        ("fx-version", Value),
        ("roll-forward", Value),
        ("roll-forward-on-no-candidate-fx", Value),
        ("runtimeconfig", Value),
    ],
);

/// `dotnet run --help` and `dotnet watch --help` of 10: options that take a value, joined by `=` or `:`, or the next
/// argument. Letters do not cluster; `-p` and `--project` are read apart.
const DOTNET_RUN: [&str; 18] = [
    "--arch",
    "--artifacts-path",
    "--configuration",
    "--environment",
    "--framework",
    "--launch-profile",
    "--os",
    "--property",
    "--runtime",
    "--verbosity",
    "-a",
    "-c",
    "-e",
    "-f",
    "-lp",
    "-property",
    "-r",
    "-v",
];

/// The first operand and what follows it.
fn operand<'a>(grammar: &Grammar, arguments: &'a [String]) -> Result<(&'a str, &'a [String]), Runs<'a>> {
    match grammar.walk(arguments)? {
        Some(at) => Ok((arguments[at].as_str(), &arguments[at + 1..])),
        None => Err(Runs::Nothing),
    }
}

fn as_module<'a>(grammar: &Grammar, arguments: &'a [String]) -> Runs<'a> {
    operand(grammar, arguments).map_or_else(|found| found, |(name, _)| Runs::Module(name))
}

pub(super) fn deno(arguments: &[String]) -> Runs<'_> {
    let (first, rest) = match operand(&DENO, arguments) {
        Ok(found) => found,
        Err(found) => return found,
    };
    match first {
        "run" | "serve" | "x" => DENO.read(rest),
        "task" => as_module(&DENO_TASK, rest),
        "eval" => Runs::Text,
        // `deno x.ts` is `deno run x.ts`; a word is another subcommand.
        path if path.contains(['.', '/', ':']) => Runs::Script(path),
        _ => Runs::Nothing,
    }
}

pub(super) fn bun(arguments: &[String]) -> Runs<'_> {
    let (first, rest) = match operand(&BUN, arguments) {
        Ok(found) => found,
        Err(found) => return found,
    };
    match first {
        "run" => BUN.read(rest),
        "x" => bunx(rest),
        "exec" => Runs::Text,
        tool if BUN_TOOLS.contains(&tool) => Runs::Nothing,
        // A file, or a script of package.json.
        path => Runs::Script(path),
    }
}

pub(super) fn bunx(arguments: &[String]) -> Runs<'_> {
    as_module(&BUNX, arguments)
}

pub(super) fn dotnet(arguments: &[String]) -> Runs<'_> {
    let (first, rest) = match operand(&DOTNET, arguments) {
        Ok(found) => found,
        Err(found) => return found,
    };
    match first {
        "exec" => DOTNET.read(rest),
        "run" => dotnet_run(rest, false),
        "watch" => dotnet_run(rest, true),
        "tool" => match rest {
            [run, name, ..] if run == "run" && !name.starts_with('-') => Runs::Module(name),
            _ => Runs::Nothing,
        },
        path if [".dll", ".exe", ".cs"].iter().any(|end| path.ends_with(end)) => Runs::Script(path),
        _ => Runs::Nothing,
    }
}

/// The project that an option names, or a source file as the first operand; else the project of the working directory,
/// which is not known. Operands do not end the options (System.CommandLine). `dotnet watch` may have `run` before them.
fn dotnet_run(arguments: &[String], is_watch: bool) -> Runs<'_> {
    let mut rest = arguments.iter().map(String::as_str);
    let mut source = None;
    let mut operands = 0;
    while let Some(argument) = rest.next() {
        if argument == "--" {
            break;
        }
        if !argument.starts_with('-') || argument == "-" {
            let is_subcommand = is_watch && operands == 0 && argument == "run";
            if !is_subcommand {
                operands += 1;
            }
            if operands == 1 && argument.ends_with(".cs") {
                source = Some(argument);
            }
            continue;
        }
        let (option, joined) = match argument.find(['=', ':']) {
            Some(at) => (&argument[..at], Some(&argument[at + 1..])),
            None => (argument, None),
        };
        match option {
            "--project" | "--file" => {
                if let Some(path) = joined.or_else(|| rest.next()) {
                    return Runs::Script(path);
                }
            }
            // A property has an equals sign; the project was named so before .NET 6 (RunCommand.cs of the SDK,
            // UsingRunCommandShorthandProjectOption).
            "-p" => match joined.or_else(|| rest.next()) {
                Some(project) if !project.contains('=') => return Runs::Script(project),
                _ => {}
            },
            option if joined.is_none() && DOTNET_RUN.contains(&option) => {
                rest.next();
            }
            _ => {}
        }
    }
    source.map_or(Runs::Unknown, Runs::Script)
}
