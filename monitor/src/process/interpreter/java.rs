//! The Java launcher.

use super::Runs;

/// java(1) of 17 and 25: options that take the next argument.
const VALUES: [&str; 16] = [
    "--add-exports",
    "--add-modules",
    "--add-opens",
    "--add-reads",
    "--class-path",
    "--enable-native-access",
    "--limit-modules",
    "--module-path",
    "--patch-module",
    "--source",
    "--upgrade-module-path",
    "-classpath",
    "-cp",
    "-p",
    "--illegal-native-access",
    "--sun-misc-unsafe-memory-access",
];

/// Options after which nothing is run.
const RUN_NOTHING: [&str; 11] = [
    "--describe-module",
    "--help",
    "--help-extra",
    "--list-modules",
    "--version",
    "-?",
    "-X",
    "-d",
    "-h",
    "-help",
    "-version",
];

/// ParseArguments of java.c: the first operand is the main class, or with `-jar` before it the archive, or a source
/// file. What an `@file` holds is not known: it may name the main class, and an operand behind it may be an argument.
pub(super) fn java(arguments: &[String]) -> Runs<'_> {
    let (mut is_jar, mut is_source, mut files_count, mut had_file) = (false, false, true, false);
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        match argument {
            "-jar" => is_jar = true,
            "-m" | "--module" => return rest.next().map_or(Runs::Nothing, module),
            "--disable-@files" => files_count = false,
            "--source" => {
                is_source = true;
                rest.next();
            }
            file if files_count && file.starts_with('@') && !file.starts_with("@@") => had_file = true,
            option if VALUES.contains(&option) => {
                rest.next();
            }
            option if RUN_NOTHING.contains(&option) => return Runs::Nothing,
            option if option.starts_with('-') => {
                if let Some(name) = option.strip_prefix("--module=") {
                    return module(name);
                }
            }
            archive if is_jar => return Runs::Jar(archive),
            source if is_source || source.ends_with(".java") => return Runs::Script(source),
            class if !had_file || is_certainly_a_class(class) => return Runs::MainClass(class),
            _ => return Runs::Unknown,
        }
    }
    if had_file { Runs::Unknown } else { Runs::Nothing }
}

/// `module/class`, or the module alone.
fn module(name: &str) -> Runs<'_> {
    match name.split_once('/') {
        Some((_, class)) => Runs::MainClass(class),
        None => Runs::Module(name),
    }
}

/// A class in a package: `com.example.Main`.
fn is_certainly_a_class(text: &str) -> bool {
    let is_identifier = |part: &str| {
        part.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
            && part
                .chars()
                .all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '$'))
    };
    let Some((package, class)) = text.rsplit_once('.') else {
        return false;
    };
    package.split('.').all(is_identifier) && is_identifier(class) && class.starts_with(char::is_uppercase)
}
