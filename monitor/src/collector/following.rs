//! A collector whose program stays running, as its entry sees it: when it is started again, when its silence is too long,
//! and whether it is well.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    run::{Context, Outcome},
    stream::{self, News},
};
use crate::plugin::collector::{CollectorSpec, Source};

/// Between the end of a program and its next start: so long at first, …
const FIRST: Duration = Duration::from_secs(1);
/// … twice as long each time, and no longer than this.
const LONGEST: Duration = Duration::from_mins(1);
/// A program that ran for so long is started again as if it had never failed.
const LASTING: Duration = Duration::from_mins(1);
/// Where nothing is said, silence is this many intervals, …
const INTERVALS: u32 = 3;
/// … and at least so long: a program takes its time to start.
const LEAST_SILENCE: Duration = Duration::from_secs(10);
/// A single look at the host waits so long for a first value.
const AWAITED: Duration = Duration::from_secs(10);
/// No failure for so long is a sign of health.
const WELL: Duration = Duration::from_mins(1);
/// Between two looks at whether the program before this one has ended.
const LOOK: Duration = Duration::from_millis(100);

/// What is known of a program that stays.
#[derive(Debug)]
pub(super) struct Following {
    silence: Duration,
    /// Dropped, or used, it ends the program. `None`: none of this entry's runs.
    stop: Option<oneshot::Sender<()>>,
    began: Option<Instant>,
    /// A value has come since the start.
    heard: bool,
    /// Until the next start.
    delay: Duration,
    failed: Option<Instant>,
}

impl Following {
    /// Of a collector whose program stays; `None` of others.
    pub(super) fn of(spec: &CollectorSpec, interval: Duration) -> Option<Self> {
        let Source::Command {
            stream: Some(stream), ..
        } = &spec.source
        else {
            return None;
        };
        let usual = || (interval * INTERVALS).max(LEAST_SILENCE);
        Some(Self {
            silence: stream.silence.unwrap_or_else(usual),
            stop: None,
            began: None,
            heard: false,
            delay: FIRST,
            failed: None,
        })
    }

    /// Starts it. Needs a tokio runtime.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        context: Context,
        tell: impl Fn(News) + Send + Sync + 'static,
    ) {
        let (stop, stopped) = oneshot::channel();
        (self.stop, self.began, self.heard) = (Some(stop), Some(now), false);
        tokio::spawn(async move {
            let brought = |outcome: Outcome| tell(News::Brought(outcome));
            let last = stream::follow(&context, stopped, brought).await;
            tell(News::Ended(last));
        });
    }

    /// Ends it.
    pub(super) fn stop(&mut self) {
        self.stop = None;
    }

    /// It has ended: how long until its next start.
    pub(super) fn ended(&mut self, now: Instant) -> Duration {
        let ran = self.began.map(|began| now.saturating_duration_since(began));
        if ran.is_some_and(|ran| ran >= LASTING) {
            self.delay = FIRST;
        }
        self.stop = None;
        let delay = self.delay;
        self.delay = (delay * 2).min(LONGEST);
        delay
    }

    /// A value has come.
    pub(super) fn heard(&mut self) {
        self.heard = true;
    }

    /// A failure was counted.
    pub(super) fn failed(&mut self, now: Instant) {
        self.failed = Some(now);
    }

    /// How long until it has to be looked at again. `running`: some run of the collector goes on.
    pub(super) fn look(&self, running: bool) -> Duration {
        if running && self.stop.is_none() {
            LOOK
        } else {
            self.silence
        }
    }

    /// Its time without a value is over, when it is looked at after [`Following::look`].
    pub(super) fn is_silent(&self) -> bool {
        self.stop.is_some()
    }

    /// It may bring its first value any moment.
    pub(super) fn is_awaited(&self, now: Instant) -> bool {
        let is_young = |began: Instant| now.saturating_duration_since(began) < AWAITED;
        !self.heard && self.failed.is_none() && self.began.is_some_and(is_young)
    }

    /// Nothing has gone wrong for a while.
    pub(super) fn is_well(&self, now: Instant) -> bool {
        self.heard
            && self
                .failed
                .is_none_or(|failed| now.saturating_duration_since(failed) >= WELL)
    }
}

/// Whether programs that were kept from `before` cannot reach any of `now` either. They are allowed what there was beside
/// the denied paths when they were started, so that what has appeared beside one is out of reach.
pub(super) fn is_out_of_reach(now: &[PathBuf], before: &[PathBuf]) -> bool {
    let is_beside = |path: &PathBuf, other: &PathBuf| {
        let (folder, known) = (path.parent(), other.parent());
        folder.is_some() && folder == known && folder != Some(Path::new("/"))
    };
    now.iter().all(|path| {
        before
            .iter()
            .any(|denied| path.starts_with(denied) || is_beside(path, denied))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::collector::{Format, Stream};

    fn following(silence: Option<Duration>, interval: Duration) -> Following {
        let spec = CollectorSpec {
            name: "c".into(),
            interval: None,
            timeout: Duration::from_secs(10),
            source: Source::Command {
                stream: Some(Stream { silence }),
                argv: Vec::new(),
                format: Format::Scalyr,
                user: None,
                output: 1,
                memory: 1,
                allow_network: false,
                allow_unconfined: false,
                environment: std::collections::BTreeMap::new(),
            },
            metrics: Vec::new(),
        };
        Following::of(&spec, interval).unwrap()
    }

    #[test]
    fn the_next_start_is_later_each_time_and_bounded() {
        let mut following = following(None, Duration::from_secs(30));
        let mut now = Instant::now();
        let mut delays = Vec::new();
        for ran in [0, 0, 1, 0, 0, 0, 0, 5, 60, 0] {
            following.began = Some(now);
            now += Duration::from_secs(ran);
            delays.push(following.ended(now).as_secs());
        }
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60, 1, 2]);
    }

    #[test]
    fn silence_by_the_interval_or_as_it_is_given() {
        for (given, interval, expected) in [
            (None, 30, 90),
            (None, 1, 10),
            (Some(2), 30, 2),
            (Some(600), 1, 600),
        ] {
            let given = given.map(Duration::from_secs);
            let following = following(given, Duration::from_secs(interval));
            assert_eq!(following.silence.as_secs(), expected, "{given:?} {interval}");
        }
    }

    #[test]
    fn what_a_running_program_cannot_reach_already() {
        let paths = |all: &[&str]| all.iter().map(PathBuf::from).collect::<Vec<_>>();
        let before = paths(&["/etc/kevmon", "/var/lib/k/m.db", "/srv/tls/key"]);
        for (now, expected) in [
            (&["/etc/kevmon"][..], true),
            (&["/etc/kevmon/token"], true),
            (&["/var/lib/k/m.db-wal", "/srv/tls/key"], true), // beside what is denied
            (&["/srv/other/key"], false),
            (&["/token"], false),
        ] {
            assert_eq!(is_out_of_reach(&paths(now), &before), expected, "{now:?}");
        }
    }
}
