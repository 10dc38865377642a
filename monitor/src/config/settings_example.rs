//! The settings file that packages install: every key with its documentation, commented, made of the table of keys and of
//! `docs/configuration.md`.

use super::{
    schema::{ENDPOINTS, Key, Role},
    settings_keys::SETTINGS_KEYS,
};

const DOCS: &str = include_str!("../../../docs/configuration.md");

/// Characters in a line of comment.
const WIDTH: usize = 100;

const HEAD: &str = "\
# kevmon's settings. Each key stands here as a comment, with its default or, where it has none, with an example:
# remove the \"# \" before a key to set it. kevmon reads this file at its start and follows changes.

# Announces this layout. Required.
schema = 1

# A further receiver, for plugins whose [export] endpoints names it. It has the keys of [export] without
# temporality.
# endpoints.vendor = { endpoint = \"https://otlp.vendor.example:443\", protocol = \"http/protobuf\" }
";

/// The file. Any of its commented lines with a key can be uncommented alone.
pub fn text() -> String {
    let mut text = HEAD.to_owned();
    let mut table = "";
    let keys = SETTINGS_KEYS.iter();
    for key in keys.filter(|key| key.table != ENDPOINTS && key.role != Role::Version) {
        // [resource] is a table whose names are free.
        let own = if key.role == Role::Resource {
            key.name
        } else {
            key.table
        };
        if own != table {
            table = own;
            text.push_str(&format!("\n[{table}]\n"));
        } else {
            text.push('\n');
        }
        for line in wrapped(&described(key)) {
            text.push_str(&format!("# {line}\n"));
        }
        text.push_str(&format!("# {}\n", assignment(key)));
    }
    text
}

/// The last column of the documentation's row about `key`, with its default where that is no value.
fn described(key: &Key) -> String {
    let start = format!("| `{}` |", key.path());
    let row = DOCS.lines().find(|line| line.starts_with(&start));
    let text = row.and_then(|row| row.trim_end_matches([' ', '|']).rsplit(" | ").next());
    let text = without_links(text.unwrap_or_default());
    match value(key.default) {
        Some(_) => text,
        None => format!("{text} Default: {}.", key.default.replace('`', "")),
    }
}

/// The value that a default is; `None` where it is described in words.
fn value(default: &str) -> Option<&str> {
    let value = default.strip_prefix('`')?.strip_suffix('`')?;
    (!value.contains('`')).then_some(value)
}

/// `NAME = VALUE`: the default, or an example where a default says nothing of what can be set.
fn assignment(key: &Key) -> String {
    let example = match key.role {
        Role::Resource => return "deployment.environment.name = \"production\"".to_owned(),
        Role::Signals => "[\"metrics\", \"logs\", \"traces\"]",
        Role::Headers => "{ authorization = { credential = \"otlp-authorization\" } }",
        Role::Ca => "\"/etc/kevmon/ca.pem\"",
        Role::Certificate => "\"/etc/kevmon/client.pem\"",
        Role::PrivateKey => "{ credential = \"otlp-key\" }",
        Role::OtlpJson => "\"/var/log/kevmon/otlp.jsonl\"",
        Role::PrometheusToken => "{ credential = \"page-token\" }",
        Role::PrometheusCertificate => "\"/etc/kevmon/page.pem\"",
        Role::PrometheusKey => "{ credential = \"page-key\" }",
        Role::PrometheusClientCa => "\"/etc/kevmon/scrapers-ca.pem\"",
        Role::CollectorUser => "\"kevmon-collector\"",
        _ => value(key.default).unwrap_or_default(),
    };
    format!("{} = {example}", key.name)
}

/// `[text](target)` → `text`, and no backticks.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        let Some(start) = before.rfind('[') else { break };
        plain.push_str(&before[..start]);
        plain.push_str(&before[start + 1..]);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    plain.replace('`', "")
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::settings_file::parse;

    fn faults(text: &str) -> Vec<String> {
        let file = parse(Path::new("kevmon.toml"), text, true);
        file.faults()
            .iter()
            .chain(&file.warnings)
            .map(ToString::to_string)
            .collect()
    }

    /// Whether `line` is `# NAME = VALUE`.
    fn is_key(line: &str) -> bool {
        let Some((name, _)) = line.strip_prefix("# ").and_then(|line| line.split_once(" = ")) else {
            return false;
        };
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || "._".contains(c))
    }

    #[test]
    fn the_file_as_it_is_sets_nothing() {
        assert_eq!(faults(&text()), Vec::<String>::new());
        let set: Vec<String> = text()
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        assert!(
            set.iter()
                .all(|line| line.is_empty() || line.starts_with('[') || line == "schema = 1"),
            "{set:?}"
        );
    }

    #[test]
    fn every_key_is_in_it_once_with_its_documentation() {
        let text = text();
        for key in SETTINGS_KEYS
            .iter()
            .filter(|key| key.table != ENDPOINTS && key.role != Role::Version)
        {
            let line = format!("# {}", assignment(key));
            assert_eq!(
                text.lines().filter(|&other| other == line).count(),
                expected(key),
                "{line}"
            );
            assert!(described(key).len() > 20, "{} is not described", key.path());
        }
        let keys = SETTINGS_KEYS
            .iter()
            .filter(|key| key.table != ENDPOINTS && key.role != Role::Version);
        assert_eq!(
            text.lines().filter(|line| is_key(line)).count(),
            keys.count() + 1,
            "endpoints.vendor is one more"
        );
    }

    /// How often the line of `key` stands in the file: `enabled = …` may stand in several tables.
    fn expected(key: &Key) -> usize {
        let line = assignment(key);
        let same = |other: &&Key| {
            other.table != ENDPOINTS && other.role != Role::Version && assignment(other) == line
        };
        SETTINGS_KEYS.iter().filter(same).count()
    }

    #[test]
    fn any_line_can_be_uncommented_alone_and_all_of_them_together() {
        let text = text();
        let lines: Vec<&str> = text.lines().collect();
        let mut tried = 0;
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| is_key(line)) {
            let mut changed = lines.clone();
            changed[at] = &line[2..];
            assert_eq!(faults(&changed.join("\n")), Vec::<String>::new(), "{line}");
            tried += 1;
        }
        let all_keys = SETTINGS_KEYS
            .iter()
            .filter(|key| key.table != ENDPOINTS && key.role != Role::Version);
        assert_eq!(tried, all_keys.count() + 1, "keys that were tried");
        let all: Vec<&str> = lines
            .iter()
            .map(|line| if is_key(line) { &line[2..] } else { line })
            .collect();
        assert_eq!(faults(&all.join("\n")), Vec::<String>::new());
    }
}
