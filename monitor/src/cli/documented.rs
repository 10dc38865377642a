//! Every command line of kevmon in a code block of the documentation is one that the command line takes.

use std::path::Path;

use clap::{Parser, error::ErrorKind};

use super::Cli;

#[path = "../../../tests/src/markdown.rs"]
mod markdown;

/// What may stand before a command that it starts.
const WRAPPERS: [&str; 4] = ["exec", "sudo", "systemd-run", "timeout"];

/// The simple commands of a shell's line, without redirections.
fn commands(line: &str) -> Option<Vec<Vec<String>>> {
    let mut commands = vec![Vec::new()];
    let mut words = shlex::split(line)?.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "|" | "||" | "&" | "&&" | ";" => commands.push(Vec::new()),
            ">" | ">>" | "<" | "2>" => drop(words.next()),
            "2>&1" | ">&2" => {}
            _ => {
                let ends = word.ends_with(';');
                commands.last_mut()?.push(word.trim_end_matches(';').to_owned());
                if ends {
                    commands.push(Vec::new());
                }
            }
        }
    }
    Some(commands)
}

/// kevmon's arguments, where the command is kevmon's.
fn arguments(command: &[String]) -> Option<&[String]> {
    let is_assignment = |word: &&String| word.contains('=') && !word.starts_with('-');
    let command = &command[command.iter().take_while(is_assignment).count()..];
    let (first, rest) = command.split_first()?;
    if first == "kevmon" {
        return Some(rest);
    }
    if command.starts_with(&["cargo", "xtask", "run", "--"].map(str::to_owned)) {
        return command.get(4..);
    }
    let inner = rest.iter().position(|word| word == "kevmon");
    inner
        .filter(|_| WRAPPERS.contains(&first.as_str()))
        .and_then(|at| rest.get(at + 1..))
}

/// What is wrong with the command lines of a page, and how many there are.
fn check(path: &Path, page: &str) -> (Vec<String>, usize) {
    let (mut faults, mut count) = (Vec::new(), 0);
    for block in markdown::blocks(page) {
        for line in block.command_lines() {
            let place = format!("{}:{}: {line}", path.display(), block.line);
            let Some(commands) = commands(&line) else {
                if line.contains("kevmon") {
                    faults.push(format!("{place}: no line of a shell"));
                }
                continue;
            };
            for arguments in commands.iter().filter_map(|command| arguments(command)) {
                count += 1;
                let words = std::iter::once("kevmon").chain(arguments.iter().map(String::as_str));
                match Cli::try_parse_from(words) {
                    Err(error)
                        if !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
                    {
                        faults.push(format!("{place}: {error}"));
                    }
                    _ => {}
                }
            }
        }
    }
    (faults, count)
}

#[test]
fn every_documented_command_line_is_taken() {
    let (mut faults, mut count) = (Vec::new(), 0);
    for (path, page) in markdown::pages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")) {
        let (found, lines) = check(&path, &page);
        faults.extend(found);
        count += lines;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 50, "only {count} command lines were found");
}

#[test]
fn what_a_command_line_is() {
    let page = "```sh\nsudo kevmon status --jsn | jq . && FOO=1 kevmon history --since 2h > x # kevmon --no\n\
                kevmon why; kevmon plugin \\\n  lst\ncat <<'END'\nkevmon nothing\nEND\n```\n\
                ```console\n$ kevmon reload\nkevmon output\n```\n\
                ```crontab\n* * * * * kevmon --run-onc\n```\n```text\nkevmon text\n```\n";
    let (faults, count) = check(Path::new("x.md"), page);
    assert_eq!(count, 6, "{faults:?}");
    let named = ["--jsn", "<PID|NAME>", "lst", "--run-onc"];
    assert_eq!(faults.len(), named.len(), "{faults:?}");
    for (fault, name) in faults.iter().zip(named) {
        assert!(fault.contains(name), "{fault}");
    }
}
