//! Bad usage and broken plugin files: every fault is named at once, with its place, and the exit code
//! is 2.

use std::time::Duration;

use kevmon_tests::{kevmon, kevmon::Daemon, plugin_dir::PluginDir, workload::Program};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

#[test]
fn bad_usage_says_what_is_wrong() {
    let faults: [(&[&str], &[&str]); 6] = [
        (&["--process-name", "kvt-("], &["kvt-("]),
        (&["--plugin", "kvt-no-such-plugin"], &["kvt-no-such-plugin"]),
        (
            &["--process-name", "x", "--source", "magic"],
            &["magic", "ebpf", "proc"],
        ),
        (&["--process-name", "x", "--output", "xml"], &["xml", "json"]),
        (&["--no-such-flag"], &["--no-such-flag"]),
        (&["--plugins-dir", "/no/such/directory"], &["/no/such/directory"]),
    ];
    for (args, texts) in faults {
        let output = kevmon::run_once(args);
        output.assert_code(2);
        for text in texts {
            assert!(
                output.stderr.contains(text),
                "{args:?}: no {text:?} in:\n{}",
                output.stderr
            );
        }
        assert!(
            !output.stderr.contains("panicked"),
            "{args:?}:\n{}",
            output.stderr
        );
    }
}

#[test]
fn every_faulty_plugin_file_is_reported_at_once() {
    let folder = PluginDir::new();
    let good = |name: &str, rest: &str| {
        format!(
            "[plugin]\nname = \"{name}\"\n[service]\nnamespace = \"kvt\"\n{rest}\n[monitoring]\ninterval = 1\n"
        )
    };
    let program = Program::new(WORKLOAD, "good");
    let _running = program.start(&["idle"]);
    let name = format!("process_name = \"{}\"", program.pattern());
    folder.write("good", &good("good", &name));
    let faulty = [
        (folder.write("syntax", "[plugin\nname = 1\n"), 1, ""),
        (
            folder.write("unknown", &good("unknown", "proces_name = \"x\"")),
            5,
            "process_name",
        ),
        (
            folder.write("regex", &good("regex", "process_name = \"kvt-(\"")),
            5,
            "process_name",
        ),
        (
            folder.write("empty", &good("", "process_name = \"x\"")),
            2,
            "name",
        ),
        (
            folder.write("interval", &good("interval", &name).replace("= 1\n", "= -1\n")),
            7,
            "interval",
        ),
        (folder.write("twice", &good("good", &name)), 2, "good"),
    ];
    let output = kevmon::run_once(&["--plugins-dir", folder.path()]);
    output.assert_code(2);
    for (path, line, text) in &faulty {
        let place = format!("{}:{line}", path.display());
        // The second of two files of one name may be either of them.
        let found = output
            .stderr
            .lines()
            .any(|told| told.contains(&place) && told.contains(text));
        let twin = path.ends_with("twice/plugin.toml") && output.stderr.contains("good/plugin.toml");
        assert!(found || twin, "no {place} with {text:?} in:\n{}", output.stderr);
    }

    // The daemon starts with the valid one, and refuses to where --strict was given.
    let mut daemon = Daemon::start(&["--interval", "200ms", "--plugins-dir", folder.path()]);
    let limit = Duration::from_secs(5);
    daemon.wait_until("the valid plugin", limit, |tick| {
        tick.group("good").is_some_and(|g| g.int("process_count") == 1)
    });
    for (path, _, _) in &faulty[..5] {
        let told = daemon.stderr();
        assert!(
            told.contains(path.to_str().unwrap()),
            "{} is not named in:\n{told}",
            path.display()
        );
    }
    daemon.terminate();
    kevmon::run(&["--strict", "--plugins-dir", folder.path()]).assert_code(2);
}

#[test]
fn a_daemon_without_a_valid_plugin_ends_with_2() {
    let folder = PluginDir::new();
    folder.write("syntax", "[plugin\n");
    kevmon::run(&["--plugins-dir", folder.path()]).assert_code(2);
}

/// Code points that break, reorder or hide text, as many as an argument may hold.
fn unsafe_text() -> String {
    [
        '\u{1}'..='\u{1f}',
        '\u{7f}'..='\u{9f}',
        '\u{61c}'..='\u{61c}',
        '\u{200b}'..='\u{200f}',
        '\u{2028}'..='\u{202e}',
        '\u{2060}'..='\u{206f}',
        '\u{feff}'..='\u{feff}',
        '\u{e0000}'..='\u{e007f}',
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whatever says it: what is on a terminal then is what is shown, in that order.
#[test]
fn names_do_nothing_to_a_terminal() {
    let text = unsafe_text();
    // Patterns and paths of a length that is shown whole, line feeds apart.
    let pieces: Vec<String> = text
        .chars()
        .collect::<Vec<_>>()
        .chunks(20)
        .map(|piece| piece.iter().collect())
        .collect();
    // One look shows all names: it loads eBPF programs once.
    let named =
        |(index, piece): (usize, &String)| ["--process-name".to_owned(), format!("kvt-none{index}{piece}")];
    let names: Vec<String> = pieces.iter().enumerate().flat_map(named).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let shown = harmless(&[&["--run-once"][..], &names].concat(), &text);
    for c in text.chars().filter(|c| !matches!(c, '\n' | '\t')) {
        let escaped = [c.escape_default().to_string(), c.escape_unicode().to_string()];
        let is_shown = escaped.iter().any(|escaped| shown.contains(escaped));
        assert!(is_shown, "{escaped:?} is not shown: {shown:?}");
    }
    // The JSON of what was not found has no name.
    harmless(&[&["--run-once", "--output", "json"][..], &names].concat(), &text);
    for piece in pieces {
        let path = format!("/no/such{piece}");
        let bad = format!("({piece}");
        let commands: [&[&str]; 5] = [
            &["--run-once", "--process-name", &bad],
            &["--run-once", "--plugins-dir", &path],
            &["events", "--process-name", &bad],
            &["plugin", "check", &path],
            &["plugin", "import", &path],
        ];
        for command in commands {
            let said = harmless(command, &text);
            assert!(said.contains("\\u"), "{command:?}: not shown at all: {said:?}");
        }
    }
}

/// What kevmon says to `command`: nothing of `text`, line feeds and tabs apart.
fn harmless(command: &[&str], text: &str) -> String {
    let output = kevmon::run(command);
    let said = format!("{}{}", output.stdout, output.stderr);
    let found: Vec<char> = said
        .chars()
        .filter(|c| !matches!(c, '\n' | '\t') && text.contains(*c))
        .collect();
    assert!(found.is_empty(), "{command:?}: {found:?} in {said:?}");
    said
}
