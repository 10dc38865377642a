//! Follows one program that stays running, from its start to its end: its lines become values as they come.
//!
//! What it may cost is bounded: a line may have `max_output` bytes, a second [`LINES`] lines and `max_output` bytes, each with
//! as much again at once. A program that writes more waits in its pipe; nothing of it is lost.

use std::time::Duration;

use tokio::{
    io::AsyncReadExt,
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::{
    confine::{self, End, Report, Word},
    format::{self, Parsed},
    lines::LineReader,
    run::{self, Context, Found, Outcome},
};
use crate::plugin::collector::{Format, Source};

/// Lines that are taken a second.
const LINES: f64 = 1_000.0;
/// Lines that may come at once.
const BURST: f64 = 5_000.0;
/// Bytes that are read at once.
const READ: usize = 16 << 10;
/// Between the end of the output and the end of the program, and between kevmon's wish and the end.
const GRACE: Duration = Duration::from_secs(2);

/// What is heard of a program that stays.
#[derive(Debug)]
pub(super) enum News {
    /// It goes on.
    Brought(Outcome),
    /// It has ended; or a run of another kind has.
    Ended(Outcome),
}

/// Follows the program of `context` until it ends, or `stop` completes. What comes before the end goes to `tell`.
pub(super) async fn follow(
    context: &Context,
    mut stop: oneshot::Receiver<()>,
    tell: impl Fn(Outcome),
) -> Outcome {
    let Source::Command { format, output, .. } = context.spec.source else {
        return Outcome::failed("refused", "it is no command".to_owned());
    };
    let (order, identity) = match run::command_order(context).await {
        Ok(order) => order,
        Err(reason) => return Outcome::failed("refused", reason),
    };
    let mut followed = match confine::follow(&order).await {
        Ok(followed) => followed,
        Err(error) => return Outcome::failed("refused", format!("it could not be started: {error}")),
    };
    let mut output = Output::new(format, usize::try_from(output).unwrap_or(usize::MAX));
    let mut stage = Stage::Running;
    let mut buffer = vec![0; READ];
    let report = loop {
        let (word, stdout) = followed.halves();
        let reads = stage.reads();
        let resume = output.resume();
        let read = async {
            sleep_until(resume).await;
            stdout.read(&mut buffer).await
        };
        tokio::select! {
            word = word => match word {
                Some(Word::Stderr(stderr)) => tell(Outcome { stderr, ..Outcome::default() }),
                Some(Word::RefusedCall(name)) => tell(Outcome { refused_calls: vec![name], ..Outcome::default() }),
                Some(Word::Lacking(lacking)) => tell(Outcome { lacking, ..Outcome::default() }),
                Some(Word::Ended(report)) => break Some(report),
                None => break None,
            },
            read = read, if reads => match read {
                Ok(length) if length > 0 => tell(output.take(&buffer[..length])),
                _ => stage = Stage::Closed(Instant::now() + GRACE),
            },
            // Whoever could ask is gone: that is a wish, too.
            _ = &mut stop, if stage.may_be_stopped() => {
                followed.stop();
                stage = Stage::Stopped(Instant::now() + GRACE);
            }
            () = sleep_until(stage.until()), if stage != Stage::Running => match stage {
                Stage::Closed(_) => {
                    followed.stop();
                    stage = Stage::Abandoned(Instant::now() + GRACE);
                }
                _ => break None,
            },
        }
    };
    if stage == Stage::Running && report.is_some() {
        // Nothing can write to the pipe any more: it holds a bounded rest, and then ends.
        while let Ok(length @ 1..) = followed.stdout.read(&mut buffer).await {
            tell(output.take(&buffer[..length]));
        }
    }
    followed.finish(GRACE).await;
    if report.as_ref().is_some_and(|report| report.end == End::UserInUse) {
        identity.give_away();
    }
    last(report, stage, &mut output, context)
}

/// How the end is told.
fn last(report: Option<Report>, stage: Stage, output: &mut Output, context: &Context) -> Outcome {
    let mut outcome = Outcome::default();
    if output.lines.is_in_a_line() {
        let reason =
            "line 1: the last line had no end and is left out; end each line, and flush it".to_owned();
        outcome.failures.push(("parse", reason));
    }
    let failure = match (&report, stage) {
        (_, Stage::Stopped(_)) => None,
        (_, Stage::Abandoned(_)) => Some((
            "closed_output",
            "it closed its standard output and went on, and was ended; keep it open".to_owned(),
        )),
        (None, _) => Some(("refused", "its supervisor ended without a report".to_owned())),
        (Some(report), _) => match report.end {
            End::Exited(0) => Some((
                "ended",
                "it ended with exit code 0; a stream goes on until kevmon ends it".to_owned(),
            )),
            _ => run::ended(report, context),
        },
    };
    outcome.failures.extend(failure);
    if let Some(left) = report.map(|report| report.leftovers).filter(|left| *left > 0) {
        let reason = format!("it left {left} processes behind, which were ended; wait for what you start");
        outcome.failures.push(("leftovers", reason));
    }
    outcome
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// Nothing can come any more; it may be about to end.
    Closed(Instant),
    /// It did not, and is being ended.
    Abandoned(Instant),
    /// kevmon wants its end.
    Stopped(Instant),
}

impl Stage {
    fn reads(self) -> bool {
        self == Self::Running
    }

    fn may_be_stopped(self) -> bool {
        matches!(self, Self::Running | Self::Closed(_))
    }

    fn until(self) -> Instant {
        match self {
            Self::Running => Instant::now(),
            Self::Closed(at) | Self::Abandoned(at) | Self::Stopped(at) => at,
        }
    }
}

/// The output of a program, from bytes to values, and how fast it may come.
#[derive(Debug)]
struct Output {
    format: Format,
    lines: LineReader,
    /// Bytes a second.
    rate: f64,
    /// Lines and bytes that may still come at once, as of then.
    left: (f64, f64),
    as_of: Instant,
    /// The latest time that a value was given, Unix ns.
    latest: u64,
}

impl Output {
    fn new(format: Format, most: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "at most 64 MiB")]
        let rate = most as f64;
        Self {
            format,
            lines: LineReader::new(most),
            rate,
            left: (BURST, rate),
            as_of: Instant::now(),
            latest: 0,
        }
    }

    /// When more may be read.
    fn resume(&self) -> Instant {
        let (lines, bytes) = self.left;
        let wait = (-lines / LINES).max(-bytes / self.rate).max(0.0);
        self.as_of + Duration::from_secs_f64(wait)
    }

    /// Takes what was read: the values of the lines that are complete by it.
    fn take(&mut self, bytes: &[u8]) -> Outcome {
        let mut failures = Vec::new();
        let too_long = self.lines.add(bytes);
        if too_long > 0 {
            let reason = "a line is longer than max_output and is left out; write shorter lines".to_owned();
            failures.extend(std::iter::repeat_n(("output_limit", reason), too_long));
        }
        let complete = self.lines.complete();
        let mut parsed = Parsed::default();
        for line in complete.split_inclusive(|byte| *byte == b'\n') {
            // Each by itself: one that is damaged must not take the next along.
            let one = format::parse(self.format, line, &[]);
            parsed.values.extend(one.values);
            parsed.problems.extend(one.problems);
            parsed.faulty += one.faulty;
        }
        let time = self.stamp(&mut parsed);
        let count = complete.iter().filter(|byte| **byte == b'\n').count();
        if self.spend(count, bytes.len()) {
            let reason =
                "it writes faster than 1,000 lines or max_output bytes a second, and has to wait; write less";
            failures.push(("flood", reason.to_owned()));
        }
        failures.extend(parsed.problems.drain(..).map(|problem| ("parse", problem)));
        Outcome {
            found: vec![Found {
                parsed,
                process: None,
                time,
            }],
            failures,
            ..Outcome::default()
        }
    }

    /// Gives values that came together without a time of their own one after another, a nanosecond apart: two of one series
    /// are two points, in their order. Returns the first one's.
    fn stamp(&mut self, parsed: &mut Parsed) -> u64 {
        const SOON: u64 = 1_000_000_000;
        let now = run::unix_now();
        // A clock that was set back is followed.
        let is_behind = now <= self.latest && self.latest - now < SOON;
        let first = if is_behind { self.latest + 1 } else { now };
        self.latest = first;
        for (value, at) in parsed.values.iter_mut().zip(first..) {
            self.latest = at;
            value.time.get_or_insert(at);
        }
        first
    }

    /// Whether that is more than may come; the debt has to be waited for.
    fn spend(&mut self, lines: usize, bytes: usize) -> bool {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.as_of).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "what one read holds")]
        let (lines, bytes) = (lines as f64, bytes as f64);
        self.left = (
            (self.left.0 + elapsed * LINES).min(BURST) - lines,
            (self.left.1 + elapsed * self.rate).min(self.rate) - bytes,
        );
        self.as_of = now;
        self.left.0 < 0.0 || self.left.1 < 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_series_that_come_together_have_times_of_their_own() {
        let mut output = Output::new(Format::Scalyr, 1024);
        let mut times = Vec::new();
        for text in ["a 1\na 2\nb 3\na", " 4\na 5\n"] {
            let outcome = output.take(text.as_bytes());
            assert_eq!(outcome.failures, []);
            let found = &outcome.found[0];
            times.extend(
                found
                    .parsed
                    .values
                    .iter()
                    .map(|value| value.time.unwrap_or(found.time)),
            );
        }
        assert_eq!(times.len(), 5);
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    }

    #[test]
    fn a_damaged_line_takes_no_other_along() {
        let group = |value: &str| {
            format!(
                r#"{{"metrics_group_type":"g","metrics_group_schema_version":"0.2","metrics":[{{"metric_name":"a","metric_value":{value},"metric_type":"gauge"}}]}}"#
            )
        };
        let text = format!("{}\n{{\n[1\nText of a print\n{}\n", group("1"), group("2"));
        let mut output = Output::new(Format::Panoptes, 1 << 20);
        let outcome = output.take(text.as_bytes());
        assert_eq!(outcome.found[0].parsed.values.len(), 2);
        assert_eq!(outcome.failures.len(), 3, "{:?}", outcome.failures);
    }

    #[tokio::test]
    async fn a_flood_waits() {
        let mut output = Output::new(Format::Scalyr, 1 << 20);
        assert!(output.resume() <= Instant::now());
        let lines = "a 1\n".repeat(4_000);
        assert_eq!(output.take(lines.as_bytes()).failures, [], "a burst");
        let outcome = output.take(lines.as_bytes());
        assert_eq!(outcome.failures[0].0, "flood");
        assert_eq!(outcome.found[0].parsed.values.len(), 4_000, "nothing is lost");
        let wait = output.resume() - Instant::now();
        assert!(
            (2.0..=3.0).contains(&wait.as_secs_f64()),
            "{wait:?}: 3,000 too many"
        );
    }
}
