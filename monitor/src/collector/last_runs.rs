//! When collectors ran last, over kevmon's restarts: what runs every five minutes is not run at each start. Pure.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::Id;
use crate::plugin::{
    Plugin,
    collector::{CollectorRun, CollectorSpec, Source},
};

/// Namespace of the fingerprints of what a collector does.
const DOES: Uuid = Uuid::from_u128(0x6b65_766d_6f6e_4f54_8c50_636f_6c6c_6563);

/// Last runs, by plugin and collector.
#[derive(Debug, Default)]
pub(super) struct LastRuns {
    known: BTreeMap<Id, CollectorRun>,
    /// Those that nobody has kept yet.
    new: BTreeMap<Id, CollectorRun>,
}

/// Whether a collector's last run is kept: one that asks a program or a server does something there. A file is read at each
/// start, and a program that stays is started at each.
fn is_kept(spec: &CollectorSpec) -> bool {
    matches!(
        spec.source,
        Source::Command { stream: None, .. } | Source::Http { .. }
    )
}

/// What tells a collector from one that does something else: all of it but the interval.
fn fingerprint(spec: &CollectorSpec, plugin: &Plugin) -> String {
    let does = CollectorSpec {
        interval: None,
        ..spec.clone()
    };
    let text = format!("{does:?}{:?}", plugin.settings);
    Uuid::new_v5(&DOES, text.as_bytes()).to_string()
}

impl LastRuns {
    /// What earlier runs of kevmon kept.
    pub(super) fn remember(&mut self, runs: Vec<CollectorRun>) {
        let by_id = |run: CollectorRun| ((run.plugin.clone(), run.collector.clone()), run);
        self.known.extend(runs.into_iter().map(by_id));
    }

    /// It runs at `time`, Unix ns.
    pub(super) fn began(&mut self, id: &Id, spec: &CollectorSpec, plugin: &Plugin, time: u64) {
        if is_kept(spec) {
            let run = CollectorRun {
                plugin: id.0.clone(),
                collector: id.1.clone(),
                fingerprint: fingerprint(spec, plugin),
                time,
            };
            self.known.insert(id.clone(), run.clone());
            self.new.insert(id.clone(), run);
        }
    }

    /// Those that began since the last call.
    pub(super) fn take_new(&mut self) -> Vec<CollectorRun> {
        std::mem::take(&mut self.new).into_values().collect()
    }

    /// When a collector that comes now, at `now` and at `unix` ns, runs first: at once, or an interval after its last run. A
    /// run that lies ahead, because the clock was set back, says nothing.
    pub(super) fn first(
        &self,
        id: &Id,
        spec: &CollectorSpec,
        plugin: &Plugin,
        interval: Duration,
        (now, unix): (Instant, u64),
    ) -> Instant {
        let known = self.known.get(id).filter(|_| is_kept(spec));
        let known = known.filter(|run| run.fingerprint == fingerprint(spec, plugin));
        let since = known.and_then(|run| unix.checked_sub(run.time));
        let rest = since.and_then(|since| interval.checked_sub(Duration::from_nanos(since)));
        rest.map_or(now, |rest| now + rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{
        collector::{DEFAULT_TIMEOUT, Format, Stream},
        tracker::tests::plugin,
    };

    const S: u64 = 1_000_000_000;

    fn spec(argument: &str, stream: bool) -> CollectorSpec {
        CollectorSpec {
            name: "c".into(),
            interval: Some(Duration::from_secs(300)),
            timeout: DEFAULT_TIMEOUT,
            source: Source::Command {
                stream: stream.then_some(Stream { silence: None }),
                argv: vec!["/x".into(), argument.into()],
                format: Format::Scalyr,
                user: None,
                output: 1,
                memory: 1,
                allow_network: false,
                allow_unconfined: false,
                environment: BTreeMap::new(),
            },
            metrics: Vec::new(),
        }
    }

    #[test]
    fn an_interval_after_the_last_run_whatever_happened_in_between() {
        let of = plugin("a");
        let changed = Plugin {
            settings: [("mean".to_owned(), "2".to_owned())].into(),
            ..plugin("a")
        };
        let id = ("a".to_owned(), "c".to_owned());
        let mut first = LastRuns::default();
        first.began(&id, &spec("1", false), &of, 1_000 * S);
        let kept = first.take_new();
        assert_eq!((kept.len(), first.take_new().len()), (1, 0), "told once");
        let mut runs = LastRuns::default();
        runs.remember(kept);
        let other = ("a(b)".to_owned(), "c".to_owned());
        let now = Instant::now();
        for (id, spec, plugin, interval, unix, expected, why) in [
            (&id, spec("1", false), &of, 300, 1_001, 299, "just now"),
            (&id, spec("1", false), &of, 300, 1_299, 1, "soon"),
            (&id, spec("1", false), &of, 300, 1_300, 0, "due"),
            (&id, spec("1", false), &of, 300, 9_000, 0, "long ago"),
            (&id, spec("1", false), &of, 300, 900, 0, "the clock was set back"),
            (&id, spec("1", false), &of, 60, 1_010, 50, "a shorter interval"),
            (&id, spec("1", false), &of, 5, 1_010, 0, "a much shorter one"),
            (&id, spec("1", false), &of, 600, 1_010, 590, "a longer one"),
            (&id, spec("2", false), &of, 300, 1_010, 0, "another command"),
            (&id, spec("1", false), &changed, 300, 1_010, 0, "other settings"),
            (&other, spec("1", false), &of, 300, 1_010, 0, "another instance"),
            (&id, spec("1", true), &of, 300, 1_010, 0, "a program that stays"),
        ] {
            let interval = Duration::from_secs(interval);
            let due = runs.first(id, &spec, plugin, interval, (now, unix * S));
            assert_eq!(due, now + Duration::from_secs(expected), "{why}");
        }
    }
}
