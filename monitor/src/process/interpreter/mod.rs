//! What an interpreter runs, read from its command line.
//!
//! Each family of interpreters has its own option grammar: which options take a value, which end the options, and
//! which say that program text follows. The grammars are tables, one file a family; `grammar` walks an argument vector
//! along such a table. An option's value is never a name, unless the option is there to name the program (`php -f`,
//! `python3 -m`). The tables follow each program's manual page and, where that is silent, its source.
//!
//! Nothing here reads a file: what a path leads to, or what an argument file holds, is not known and not guessed.

mod erlang;
mod grammar;
mod java;
mod scripting;
mod shell;
mod subcommand;

#[cfg(test)]
mod tests;

use super::paths;

/// What an interpreter's arguments say that it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs<'a> {
    /// A script, by its path as given.
    Script(&'a str),
    /// A module, package, applet or task, by its name (`python3 -m http.server`).
    Module(&'a str),
    /// A Java main class.
    MainClass(&'a str),
    /// A Java archive, by its path as given.
    Jar(&'a str),
    /// A program text on the command line, which has no name.
    Text,
    /// What comes from standard input, an interactive session, or nothing at all.
    Nothing,
    /// A program that the arguments do not name for certain.
    Unknown,
}

impl<'a> Runs<'a> {
    /// The name of what is run; empty where it has none. A file descriptor's path is no name.
    pub fn name(self) -> &'a str {
        match self {
            Self::Script(path) | Self::Jar(path) => paths::program_name(path),
            Self::Module(name) | Self::MainClass(name) => paths::base_name(name),
            Self::Text | Self::Nothing | Self::Unknown => "",
        }
    }
}

/// Reads the arguments, without `argv[0]`.
type Reader = for<'a> fn(&'a [String]) -> Runs<'a>;

/// Each family: the names that its executables have, versions apart, and what reads its arguments.
const FAMILIES: &[(&[&str], Reader)] = &[
    (&["bash", "rbash"], shell::bash),
    (&["sh", "dash", "ash", "posh", "yash"], shell::posix),
    (
        &["ksh", "rksh", "pdksh", "oksh", "loksh", "mksh", "rmksh", "lksh"],
        shell::korn,
    ),
    (&["zsh", "rzsh"], shell::zsh),
    (&["fish"], shell::fish),
    (&["python", "pythonw", "pypy", "graalpy"], scripting::python),
    (&["perl", "cperl"], scripting::perl),
    (&["ruby", "truffleruby"], scripting::ruby),
    (&["node", "nodejs", "iojs"], scripting::node),
    (&["php", "php-cli"], scripting::php),
    (&["php-cgi"], scripting::php_cgi),
    (&["lua"], scripting::lua),
    (&["luajit"], scripting::luajit),
    (&["tclsh", "wish"], scripting::tcl),
    (&["expect", "expectk"], scripting::expect),
    (&["R"], scripting::r),
    (&["Rscript"], scripting::rscript),
    (&["deno"], subcommand::deno),
    (&["bun"], subcommand::bun),
    (&["dotnet"], subcommand::dotnet),
    (&["java", "javaw"], java::java),
    (&["beam", "beam.smp", "beam.debug.smp"], erlang::beam),
];

/// What the process with this executable and argument vector runs; `None` when it is no known interpreter. An
/// executable that is not known (an empty name) is taken to be what `argv[0]` says.
pub fn runs<'a>(exe: &str, argv: &'a [String]) -> Option<Runs<'a>> {
    if !exe.is_empty() && !is_interpreter(exe) {
        return None; // all but always
    }
    let called = argv.first().map_or("", String::as_str);
    // A login shell's argv[0] has a dash in front.
    let called = paths::program_name(called.strip_prefix('-').unwrap_or(called));
    let name = if exe.is_empty() { called } else { exe };
    let arguments = argv.get(1..).unwrap_or_default();
    if is_called(name, "busybox") || is_called(name, "toybox") {
        return Some(multi_call(called, arguments));
    }
    if is_loader(name) {
        return Some(loaded(arguments));
    }
    let reader = family(name)?;
    // One executable, two programs: `bunx` is a link to `bun`.
    if is_called(name, "bun") && called == "bunx" {
        return Some(subcommand::bunx(arguments));
    }
    Some(reader(arguments))
}

/// Whether an executable of this name is an interpreter.
pub fn is_interpreter(name: &str) -> bool {
    is_loader(name)
        || (STEMS.may_begin(name)
            && (family(name).is_some() || is_called(name, "busybox") || is_called(name, "toybox")))
}

/// What the names of interpreters begin with: a quick no for all others, asked several times for each process.
const STEMS: Stems = Stems::of(FAMILIES);

/// The first two letters of names, as a bit set each for the second letters: 32 × 32, by the low five bits, in which
/// two letters differ.
struct Stems([u32; 32]);

impl Stems {
    const fn of(families: &[(&[&str], Reader)]) -> Self {
        let mut stems = Self([0; 32]).with("busybox").with("toybox");
        let mut family = 0;
        while family < families.len() {
            let names = families[family].0;
            let mut name = 0;
            while name < names.len() {
                stems = stems.with(names[name]);
                name += 1;
            }
            family += 1;
        }
        stems
    }

    /// A name of one letter (`R`) has a version or nothing behind it: whatever follows passes.
    const fn with(mut self, name: &str) -> Self {
        let name = name.as_bytes();
        self.0[(name[0] & 31) as usize] |= match name {
            [_] => u32::MAX,
            [_, second, ..] => 1 << (*second & 31),
            [] => 0,
        };
        self
    }

    /// False: no interpreter is called so. A dot in front is that of a wrapped program.
    fn may_begin(&self, name: &str) -> bool {
        match name.as_bytes() {
            [b'.', first, second, ..] | [first, second, ..] => {
                self.0[usize::from(first & 31)] & (1 << (second & 31)) != 0
            }
            [first] => self.0[usize::from(first & 31)] == u32::MAX,
            [] => false,
        }
    }
}

fn family(name: &str) -> Option<Reader> {
    // Wrapped programs of Nix: `.python3.11-wrapped`.
    let name = name
        .strip_prefix('.')
        .and_then(|name| name.strip_suffix("-wrapped"))
        .unwrap_or(name);
    FAMILIES
        .iter()
        .find(|(names, _)| names.iter().any(|stem| is_called(name, stem)))
        .map(|(_, reader)| *reader)
}

/// Whether `name` is `stem` with no more than a version and the like behind it: `python3.13t`, `python3-dbg`,
/// `lua5.4`, `ksh93`, `mksh-static`, `perl5.36-x86_64-linux-gnu`, `luajit-2.1.0-beta3`, `ruby.ruby3.2` (openSUSE).
fn is_called(name: &str, stem: &str) -> bool {
    /// What builds are called besides their versions.
    const BUILDS: [&str; 20] = [
        "32",
        "64",
        "amd64",
        "arm64",
        "aarch64",
        "bin",
        "c",
        "d",
        "dbg",
        "debug",
        "freethreaded",
        "gnu",
        "intel32",
        "intel64",
        "linux",
        "musl",
        "nogil",
        "real",
        "static",
        "x86_64",
    ];
    let Some(rest) = name.strip_prefix(stem) else {
        return false;
    };
    // The version right behind the stem, with the letters of a build: 3.13t, 3.8dm; or of a release to come: 3.14.0rc1.
    let version = if rest.starts_with(|letter: char| letter.is_ascii_digit()) {
        let letters = rest.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
        let (first, more) = letters.split_at(letters.find('-').unwrap_or(letters.len()));
        if is_prerelease(first) || first.strip_prefix(['a', 'b']).is_some_and(is_number) {
            more
        } else {
            letters.trim_start_matches(['t', 'd', 'm', 'u'])
        }
    } else {
        rest
    };
    let is_known = |part: &str| {
        is_version(part.strip_prefix('v').unwrap_or(part))
            || is_prerelease(part)
            || part.strip_prefix(stem).is_some_and(is_number)
            || BUILDS.contains(&part)
    };
    version.is_empty() || (version.starts_with(['-', '.']) && version[1..].split('-').all(is_known))
}

fn is_version(part: &str) -> bool {
    part.starts_with(|letter: char| letter.is_ascii_digit())
}

/// Digits and dots.
fn is_number(part: &str) -> bool {
    is_version(part) && part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// `beta3`, `rc1`.
fn is_prerelease(part: &str) -> bool {
    ["alpha", "beta", "rc", "pre"]
        .iter()
        .any(|stage| part.strip_prefix(stage).is_some_and(is_number))
}

/// A program of many applets, run through a link or with the applet as its first argument.
fn multi_call<'a>(called: &'a str, arguments: &'a [String]) -> Runs<'a> {
    let (applet, arguments) = if is_called(called, "busybox") || is_called(called, "toybox") {
        match arguments.split_first() {
            Some((applet, arguments)) if !applet.starts_with('-') => (paths::base_name(applet), arguments),
            _ => return Runs::Nothing,
        }
    } else {
        (called, arguments)
    };
    match applet {
        "sh" | "ash" | "hush" | "bash" => match shell::posix(arguments) {
            Runs::Script(path) if !Runs::Script(path).name().is_empty() => Runs::Script(path),
            _ => Runs::Module(applet),
        },
        applet => Runs::Module(applet),
    }
}

/// The dynamic loader, run as a program: `ld-linux-x86-64.so.2 /usr/bin/python3 x.py`.
fn is_loader(name: &str) -> bool {
    name.starts_with("ld-") && (name.ends_with(".so") || name.contains(".so."))
}

fn loaded(arguments: &[String]) -> Runs<'_> {
    match grammar::LOADER.walk(arguments) {
        Ok(Some(at)) => match runs(paths::base_name(&arguments[at]), &arguments[at..]) {
            Some(run) if !run.name().is_empty() => run,
            _ => Runs::Script(&arguments[at]),
        },
        _ => Runs::Nothing,
    }
}
