//! Verdicts, joins and leaves in the debug log: which pattern decided, on which text. A busy host starts hundreds of
//! processes a second, so that the number of such lines is bounded, and what was left out is counted.

use std::time::{Duration, Instant};

use regex::Regex;
use tracing::debug;

use crate::{
    plugin::{Matching, Plugin},
    process::{Identity, ProcessKey},
};

/// Lines about processes that no plugin wants, a second.
const STRANGERS: u32 = 20;
/// Lines about processes that some plugin wants, a second.
const MEMBERS: u32 = 200;

/// Whether anybody reads such lines.
pub(in crate::app) fn are_read() -> bool {
    tracing::enabled!(tracing::Level::DEBUG)
}

/// A bounded number of lines a second.
#[derive(Debug)]
struct Allowance {
    lines: u32,
    left: u32,
    since: Instant,
    left_out: u64,
}

impl Allowance {
    fn new(lines: u32, now: Instant) -> Self {
        Self {
            lines,
            left: lines,
            since: now,
            left_out: 0,
        }
    }

    /// Whether a line may be written now; and how many were not in the second that has ended, where it has.
    fn take(&mut self, now: Instant) -> (bool, u64) {
        let mut left_out = 0;
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            left_out = std::mem::take(&mut self.left_out);
            self.since = now;
            self.left = self.lines;
        }
        if self.left == 0 {
            self.left_out += 1;
            return (false, left_out);
        }
        self.left -= 1;
        (true, left_out)
    }
}

/// Writes verdicts to the debug log.
#[derive(Debug)]
pub(in crate::app) struct VerdictLog {
    strangers: Allowance,
    members: Allowance,
}

impl Default for VerdictLog {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            strangers: Allowance::new(STRANGERS, now),
            members: Allowance::new(MEMBERS, now),
        }
    }
}

impl VerdictLog {
    /// No plugin wants this process. `why` is the reason where a plugin nearly did.
    pub(in crate::app) fn refused(&mut self, key: ProcessKey, identity: &Identity, why: Option<String>) {
        if self.strangers.allows("processes that no plugin matches") {
            let why = why.unwrap_or_else(|| "no plugin's pattern matches".to_owned());
            debug!(
                "verdict: pid {} {:?}: not followed: {why}",
                key.tgid,
                identity.name()
            );
        }
    }

    /// A process belongs to a plugin's group from now on, for this reason.
    pub(in crate::app) fn joins(&mut self, key: ProcessKey, name: &str, plugin: &Plugin, why: &str) {
        if self.members.allows("members") {
            debug!(
                "verdict: pid {} {name:?} joins {}: {why}",
                key.tgid,
                plugin.label()
            );
        }
    }

    /// A process belongs to a plugin's group no longer, although it lives.
    pub(in crate::app) fn leaves(&mut self, key: ProcessKey, name: &str, plugin: &Plugin) {
        if self.members.allows("members") {
            debug!(
                "verdict: pid {} {name:?} leaves {}: its names do not match any more",
                key.tgid,
                plugin.label()
            );
        }
    }
}

impl Allowance {
    fn allows(&mut self, whose: &str) -> bool {
        let (allowed, left_out) = self.take(Instant::now());
        if left_out > 0 {
            debug!("verdict: {left_out} lines about {whose} were left out within a second");
        }
        allowed
    }
}

/// What of a plugin matches these names, in words: the pattern and the text that it matched. `None`: nothing does.
pub(in crate::app) fn decided(plugin: &Plugin, identity: &Identity) -> Option<String> {
    let found = first_match(&plugin.patterns, plugin.matching, identity)?;
    Some(format!("pattern {found}"))
}

/// The reason why a plugin whose pattern matches these names does not want the process, where names tell it.
pub(in crate::app) fn excluded(plugin: &Plugin, identity: &Identity) -> Option<String> {
    decided(plugin, identity)?;
    let found = first_match(&plugin.selectors.exclude, plugin.matching, identity);
    Some(match found {
        Some(found) => format!("service.exclude of {}: {found}", plugin.label()),
        None => format!(
            "user, cgroup, unit or container of {} does not fit, or is not known",
            plugin.label()
        ),
    })
}

fn first_match(patterns: &[Regex], matching: Matching, identity: &Identity) -> Option<String> {
    let texts: Vec<String> = match matching {
        Matching::Name => identity.names().map(str::to_owned).collect(),
        Matching::Exe => vec![identity.exe.clone()],
        Matching::Cmdline => vec![identity.argv.join(" ")],
    };
    let what = match matching {
        Matching::Name => "name",
        Matching::Exe => "executable",
        Matching::Cmdline => "command line",
    };
    let mut pairs = texts
        .iter()
        .filter(|text| !text.is_empty())
        .flat_map(|text| patterns.iter().map(move |pattern| (text, pattern)));
    let (text, pattern) = pairs.find(|(text, pattern)| pattern.is_match(text))?;
    // Command lines hold secrets.
    let shown = match matching {
        Matching::Cmdline => String::new(),
        Matching::Name | Matching::Exe => format!(" {text:?}"),
    };
    Some(format!("{:?} on its {what}{shown}", pattern.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::tracker::tests::plugin;

    fn identity(exe: &str, argv: &[&str]) -> Identity {
        Identity {
            comm: exe.to_owned(),
            exe: exe.to_owned(),
            filename: String::new(),
            argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
            cut: None,
        }
    }

    #[test]
    fn the_pattern_that_decided_and_the_text_it_matched() {
        let shop = |matching| Plugin {
            matching,
            patterns: vec![Regex::new("^shop$").unwrap(), Regex::new("web").unwrap()],
            ..plugin("x")
        };
        let process = identity("shop-web", &["shop-web", "--password=secret"]);
        for (matching, expected) in [
            (Matching::Name, "pattern \"web\" on its name \"shop-web\""),
            (Matching::Exe, "pattern \"web\" on its executable \"shop-web\""),
            (Matching::Cmdline, "pattern \"web\" on its command line"),
        ] {
            assert_eq!(decided(&shop(matching), &process).as_deref(), Some(expected));
        }
        assert_eq!(decided(&shop(Matching::Exe), &identity("other", &["web"])), None);
        assert_eq!(excluded(&plugin("other"), &process), None);
        let mut strict = shop(Matching::Name);
        assert!(excluded(&strict, &process).unwrap().contains("does not fit"));
        strict.selectors.exclude = vec![Regex::new("^shop-").unwrap()];
        assert!(
            excluded(&strict, &process).unwrap().contains("service.exclude"),
            "exclude"
        );
    }

    #[test]
    fn lines_are_bounded_a_second_and_what_is_left_out_is_counted() {
        let start = Instant::now();
        let mut allowance = Allowance::new(3, start);
        let mut written = 0;
        for _ in 0..10 {
            written += u32::from(allowance.take(start).0);
        }
        assert_eq!(written, 3);
        let later = start + Duration::from_secs(1);
        assert_eq!(allowance.take(later), (true, 7));
        assert_eq!(allowance.take(later), (true, 0));
    }
}
