//! Plugin files of the documentation are accepted by `kevmon plugin check`, and those that show a fault are not. (Settings files and
//! command lines are read by kevmon's own unit tests.)

use std::fs;

use kevmon_tests::{
    docs,
    kevmon::{self, Output},
    markdown::{self, Block},
    scratch::Scratch,
};

/// What a `toml` block can hold, by the second word of its info string.
const KINDS: [&str; 4] = ["plugin", "fault", "settings", "expect"];

fn kind(block: &Block) -> &str {
    block.info.split_whitespace().nth(1).unwrap_or_default()
}

/// The block as a whole file: one that is a part of a file lacks the schema, and may lack what is watched.
fn whole(text: &str) -> String {
    let mut file = String::new();
    if !text.contains("schema = ") {
        file.push_str("schema = 1\n");
    }
    file.push_str(text);
    if !text.contains("process_name") && !text.contains("[[collector]]") {
        file.push_str("\n[service]\nprocess_name = \"^none$\"\n");
    }
    file
}

fn plugin_check(text: &str) -> Output {
    let scratch = Scratch::new();
    let folder = scratch.path().join("shown");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("plugin.toml"), whole(text)).expect("a file");
    kevmon::run(&["plugin", "check", folder.to_str().expect("UTF-8")])
}

#[test]
fn every_plugin_file_is_what_it_says() {
    let mut checked = 0;
    for page in docs::pages() {
        for block in markdown::blocks(&page.text) {
            if block.language() != "toml" {
                continue;
            }
            let place = format!("{}:{}", page.path.display(), block.line);
            let kind = kind(&block);
            assert!(
                KINDS.contains(&kind),
                "{place}: the block says not what it holds: write ```toml and one of {KINDS:?}"
            );
            let code = match kind {
                "plugin" => 0,
                "fault" => 2,
                _ => continue,
            };
            let output = plugin_check(&block.text);
            assert_eq!(
                output.code,
                Some(code),
                "{place}:\n{}\n{}",
                output.stdout,
                output.stderr
            );
            checked += 1;
        }
    }
    assert!(checked >= 12, "only {checked} plugin files were found");
}
