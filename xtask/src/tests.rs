//! Every command line of `cargo xtask` in a code block of the documentation is one that it takes.

use std::path::Path;

use super::*;

#[path = "../../tests/src/markdown.rs"]
mod markdown;

#[test]
fn every_documented_command_line_is_taken() {
    let mut count = 0;
    for (path, page) in markdown::pages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")) {
        for block in markdown::blocks(&page) {
            for line in block.command_lines() {
                let place = format!("{}:{}: {line}", path.display(), block.line);
                if !line.starts_with("cargo xtask") {
                    continue;
                }
                let words = shlex::split(&line).unwrap_or_else(|| panic!("{place}: no line of a shell"));
                let taken = Cli::try_parse_from(words.iter().skip(1));
                assert!(taken.is_ok(), "{place}: {taken:?}");
                count += 1;
            }
        }
    }
    assert!(count > 10, "only {count} command lines were found");
}
