//! Damaged files: whatever the bytes, reading ends with a plugin or with faults, each in one line.

use std::path::Path;

use super::{
    super::{
        endpoint, header, plugin_file::parse, settings_file, settings_file::tests::EVERY_KEY, size,
        template::Template,
    },
    GUIDE, NATIVE,
};

/// Files damaged in one run; the seed is fixed, so that a failure comes back.
const ROUNDS: usize = 1500;

struct XorShift(u64);

impl XorShift {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).expect("below a usize")
    }
}

fn damaged(random: &mut XorShift, files: &[&str]) -> String {
    let mut bytes = files[random.below(files.len())].as_bytes().to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes.truncate(at),
            1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            2 if !bytes.is_empty() => bytes[at] = b"[]{}=\"'\n.#-0\\"[random.below(13)],
            3 => {
                let other = files[random.below(files.len())].as_bytes();
                let from = random.below(other.len());
                let piece = &other[from..(from + random.below(60)).min(other.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            4 => {
                let end = (at + random.below(20)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => bytes.insert(at, u8::try_from(random.below(256)).expect("a byte")),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn no_damage_makes_it_panic() {
    let shipped = [
        include_str!("../../../../plugins/kevmon/plugin.toml"),
        include_str!("../../../../plugins/m8refsvr/plugin.toml"),
        GUIDE,
        NATIVE,
    ];
    let mut random = XorShift(0x9e37_79b9_7f4a_7c15);
    let (mut sound, mut faulty) = (0, 0);
    for _ in 0..ROUNDS {
        let text = damaged(&mut random, &shipped);
        let parsed = parse(Path::new("plugins/x/plugin.toml"), &text);
        let lines = text.lines().count().max(1) + 1;
        for finding in parsed.faults.iter().chain(&parsed.file.warnings) {
            let shown = finding.to_string();
            assert!(
                !shown.contains('\n') && !finding.message.is_empty(),
                "{shown:?} of {text:?}"
            );
            assert!(
                finding.line().is_none_or(|line| (1..=lines).contains(&line)),
                "{shown} of {text:?}"
            );
        }
        if parsed.faults.is_empty() {
            assert!(
                !parsed.file.patterns.is_empty() && !parsed.file.name.is_empty(),
                "{text:?}"
            );
            sound += 1;
        } else {
            faulty += 1;
        }
    }
    assert!(
        sound > ROUNDS / 50 && faulty > ROUNDS / 50,
        "{sound} sound, {faulty} faulty: no test of both"
    );
}

#[test]
fn no_damage_to_the_settings_file_either() {
    let mut random = XorShift(7);
    let (mut sound, mut faulty) = (0, 0);
    for _ in 0..ROUNDS {
        let text = damaged(&mut random, &[EVERY_KEY]);
        let file = settings_file::parse(Path::new("kevmon.toml"), &text, true);
        let lines = text.lines().count().max(1) + 1;
        for finding in file.faults.iter().chain(&file.warnings) {
            let shown = finding.to_string();
            assert!(
                !shown.contains('\n') && !finding.message.is_empty(),
                "{shown:?} of {text:?}"
            );
            assert!(
                finding.line().is_none_or(|line| (1..=lines).contains(&line)),
                "{shown} of {text:?}"
            );
        }
        if file.faults.is_empty() {
            sound += 1;
        } else {
            faulty += 1;
        }
    }
    assert!(
        sound > ROUNDS / 50 && faulty > ROUNDS / 50,
        "{sound} sound, {faulty} faulty: no test of both"
    );
}

#[test]
fn no_damage_to_small_texts_either() {
    let texts = [
        "http://[::1]:4317/x",
        "{service_namespace}.{process_name}",
        "500ms",
        "64MiB",
        "authorization=Basic%20YTpi,b=file:/x",
        "^a{2}(b|c)+$",
    ];
    let mut random = XorShift(42);
    for _ in 0..ROUNDS {
        let text = damaged(&mut random, &texts);
        let _either = endpoint::Url::parse(&text);
        let _either = endpoint::host(&text);
        let _either = header::parse_list(&secrecy::SecretString::from(text.as_str()));
        let _either = size::parse(&text, &size::SPOOL_BOUNDS);
        let _either: Result<header::HeaderFlag, _> = text.parse();
        let _either = super::super::duration::parse_interval(&text);
        let _either = super::super::pattern::compile(&text);
        if let Ok(template) = Template::parse(&text) {
            let names = super::super::template::Names {
                namespace: "{",
                process: "}",
                plugin: "{x}",
            };
            let _expanded = template.expand(names);
        }
    }
}
