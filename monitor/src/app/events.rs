//! `kevmon events`: each start, exit and restart on standard output as it happens.

use std::{collections::BTreeMap, mem::MaybeUninit, path::PathBuf, thread::JoinHandle, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Exit,
    keeper::Kept,
    output, report,
    watch::{Origin, Watch},
};
use crate::{
    cli::{DEFAULT_RING_BYTES, EventsArgs, Source},
    config::{self, Environment, Overrides, PluginSources, accounting::ExactEnds},
    export::{HEADING, UnixClock, Wall, event_json, event_text},
    plugin::{Notice, Plugin},
    shown,
};

/// Events are taken and printed this often.
const DRAIN: Duration = Duration::from_millis(50);
/// What the kernel lost is looked for, and ended processes are given up, this often.
const TIDY: Duration = Duration::from_secs(1);
/// Batches of lines that wait for a slow reader: about three seconds of them. Further ones are left out and counted.
const WAITING: usize = 64;
/// At the end, a reader that is slow may take this long for the last lines.
const FINAL_OUTPUT: Duration = Duration::from_millis(500);

/// What matches every process, as each has a name.
const ANY_NAME: &str = ".";
/// The name of the plugin that holds them all.
const ALL: &str = "all";

/// Runs until SIGINT, SIGTERM, or until nobody reads standard output any more.
///
/// # Errors
/// eBPF is refused, or has stopped working.
pub(super) async fn run(args: &EventsArgs) -> Result<Exit> {
    let Some(plugins) = plugins(args) else {
        return Ok(Exit::Usage);
    };
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let origin = Origin {
        choice: Source::Ebpf,
        asked_by: "kevmon events needs eBPF, as /proc tells no events",
        ring_bytes: DEFAULT_RING_BYTES,
        root: PathBuf::from("/proc"),
        pinning: None,
        exact_ends: ExactEnds::Never,
    };
    let watch = Watch::start(origin, plugins, &Kept::default())?;
    let mut live = Live {
        watch,
        boot: output::boot_clock(),
        wall: output::clock(),
        json: args.json,
        printer: Printer::start()?,
        lost: BTreeMap::new(),
        left_out: 0,
    };
    if !args.json {
        live.printer.push(format!("{HEADING}\n"));
    }
    let mut tidy_at = Instant::now() + TIDY;
    let mut drain_at = Instant::now();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = live.printer.closed() => return Ok(Exit::Success),
            () = sleep_until(drain_at) => {}
        }
        let all = live.watch.drain().all;
        if Instant::now() >= tidy_at {
            live.watch.collect(&[]);
            tidy_at = Instant::now() + TIDY;
        }
        live.print();
        live.say_what_was_lost();
        drain_at = if all {
            Instant::now() + DRAIN
        } else {
            Instant::now()
        };
    }
    live.watch.drain();
    live.print();
    live.say_what_was_lost();
    live.say_what_was_left_out();
    live.printer.finish(FINAL_OUTPUT).await;
    Ok(Exit::Success)
}

/// A plugin for each pattern; `None` where one is no pattern, which has been said then.
fn plugins(args: &EventsArgs) -> Option<Vec<Plugin>> {
    let everything = args.process_name.is_empty();
    let sources = PluginSources {
        process_names: if everything {
            vec![ANY_NAME.to_owned()]
        } else {
            args.process_name.clone()
        },
        ..PluginSources::default()
    };
    let mut loaded = config::load(&sources, &Environment::default(), &Overrides::default(), None);
    if !loaded.faults.is_empty() {
        loaded.faults.iter().for_each(|fault| report(fault, true));
        return None;
    }
    for warning in &loaded.warnings {
        shown::complain(warning);
    }
    for plugin in &mut loaded.plugins {
        plugin.events = true;
    }
    if everything {
        for plugin in &mut loaded.plugins {
            plugin.name = ALL.to_owned();
            // Whatever starts would take the place of whatever ended.
            plugin.restart_window = Duration::ZERO;
        }
    }
    Some(loaded.plugins)
}

struct Live {
    watch: Watch,
    /// For starts of processes.
    boot: UnixClock,
    /// For when something happened.
    wall: UnixClock,
    json: bool,
    printer: Printer,
    /// Losses that were said, by program.
    lost: BTreeMap<&'static str, u64>,
    /// Events that found no room before the reader.
    left_out: usize,
}

impl Live {
    fn print(&mut self) {
        let notices = self.watch.take_notices();
        if notices.is_empty() {
            return;
        }
        self.wall = self.wall.follow(output::clock());
        let plugins: Vec<&Plugin> = self.watch.plugins().map(|(_, plugin)| &**plugin).collect();
        let lines: String = notices
            .iter()
            .filter_map(|notice| Some(self.line(notice, plugins.get(notice.group.0)?, plugins.len()) + "\n"))
            .collect();
        if self.printer.push(lines) {
            self.say_what_was_left_out();
        } else {
            self.left_out += notices.len();
        }
    }

    fn say_what_was_left_out(&mut self) {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            eprintln!("kevmon: {left_out} events are not shown: whoever reads standard output was too slow");
        }
    }

    fn line(&self, notice: &Notice, plugin: &Plugin, plugins: usize) -> String {
        if self.json {
            shown::json(&event_json(notice, plugin, self.boot, self.wall)).into_owned()
        } else {
            event_text(notice, (plugins > 1).then_some(plugin), self.wall, local)
        }
    }

    /// Losses since the last look, with what lost them.
    fn say_what_was_lost(&mut self) {
        let now = self.watch.losses();
        let new = newly_lost(&mut self.lost, now);
        if !new.is_empty() {
            let sum: u64 = new.iter().map(|(_, count)| count).sum();
            let by: Vec<String> = new
                .iter()
                .map(|(program, count)| format!("{program} {count}"))
                .collect();
            eprintln!(
                "kevmon: {sum} records were lost ({}): some events are missing here",
                by.join(", ")
            );
        }
    }
}

/// What is more than was known, which it then is.
fn newly_lost(
    known: &mut BTreeMap<&'static str, u64>,
    now: Vec<(&'static str, u64)>,
) -> Vec<(&'static str, u64)> {
    now.into_iter()
        .filter_map(|(program, count)| {
            let before = known.insert(program, count).unwrap_or(0);
            let more = count.saturating_sub(before);
            (more > 0).then_some((program, more))
        })
        .collect()
}

/// Writes to standard output from a thread of its own: a reader that does not read must not hold the events up.
struct Printer {
    queue: mpsc::Sender<String>,
    thread: JoinHandle<()>,
}

impl Printer {
    fn start() -> Result<Self> {
        let (queue, mut waiting) = mpsc::channel::<String>(WAITING);
        let thread = std::thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || {
                while let Some(lines) = waiting.blocking_recv() {
                    match output::print(&lines) {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(error) => {
                            eprintln!("kevmon: standard output: {error}");
                            break;
                        }
                    }
                }
            })
            .context("a thread for standard output")?;
        Ok(Self { queue, thread })
    }

    /// Hands lines over; false when the reader is too slow for them.
    fn push(&self, lines: String) -> bool {
        !matches!(
            self.queue.try_send(lines),
            Err(mpsc::error::TrySendError::Full(_))
        )
    }

    /// Completes when nobody reads any more.
    async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Waits until all lines are written, for `limit` at most.
    async fn finish(self, limit: Duration) {
        drop(self.queue);
        let end = Instant::now() + limit;
        while !self.thread.is_finished() && Instant::now() < end {
            sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Unix seconds by the clock on the wall here; UTC where the time zone cannot be had.
fn local(unix: u64) -> Wall {
    let seconds = i64::try_from(unix).unwrap_or(i64::MAX);
    let mut fields = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are to values of the right types that live until the call returns; it writes the second.
    let told = unsafe { libc::localtime_r(&raw const seconds, fields.as_mut_ptr()) };
    let part = |value: u64| u32::try_from(value).unwrap_or_default();
    if told.is_null() {
        return Wall {
            hour: part(unix / 3600 % 24),
            minute: part(unix / 60 % 60),
            second: part(unix % 60),
        };
    }
    // SAFETY: localtime_r(3) fills the structure when it does not return null.
    let fields = unsafe { fields.assume_init() };
    Wall {
        hour: fields.tm_hour.unsigned_abs(),
        minute: fields.tm_min.unsigned_abs(),
        second: fields.tm_sec.unsigned_abs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_said_once_with_what_is_new() {
        let mut known = BTreeMap::new();
        for (now, new) in [
            (vec![("exec", 0), ("exit", 2)], vec![("exit", 2)]),
            (vec![("exec", 0), ("exit", 2)], vec![]),
            (vec![("exec", 1), ("exit", 5)], vec![("exec", 1), ("exit", 3)]),
        ] {
            assert_eq!(newly_lost(&mut known, now), new);
        }
    }

    #[test]
    fn local_time_is_that_of_the_time_zone() {
        // Zones differ from UTC in whole quarters of an hour, so seconds agree everywhere.
        let Wall { hour, minute, second } = local(1_700_558_772);
        assert_eq!((minute % 15, second), (26 % 15, 12), "09:26:12 UTC");
        assert!(hour < 24);
    }

    #[test]
    fn all_processes_are_one_plugin_and_each_pattern_is_its_own() {
        let names = |patterns: &[&str]| {
            let args = EventsArgs {
                process_name: patterns.iter().map(|&pattern| pattern.to_owned()).collect(),
                json: false,
            };
            let plugins = plugins(&args)?;
            Some(plugins.into_iter().map(|plugin| plugin.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]), Some(vec!["all".to_owned()]));
        assert_eq!(
            names(&["^web$", "db"]),
            Some(vec!["web".to_owned(), "db".to_owned()])
        );
        assert_eq!(names(&["("]), None);
        let all = plugins(&EventsArgs {
            process_name: Vec::new(),
            json: false,
        });
        assert!(all.is_some_and(|all| all[0].patterns[0].is_match("x")));
    }
}
