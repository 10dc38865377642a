//! `kevmon events`: what happens to processes, on standard output as it happens.

mod filter;
mod printer;
pub(super) mod stream;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep_until},
};

use self::{
    filter::{Filter, Refusal},
    printer::Printer,
    stream::{ShownArguments, Stream},
};
use super::{
    Exit,
    keeper::Kept,
    local_time, output, report, terminal,
    watch::{Origin, Watch},
};
use crate::{
    cli::{EventsArgs, Source},
    config::{self, Environment, Overrides, PluginSources},
    export::{Columns, LiveEvent, Look, UnixClock, event_json},
    plugin::{GroupId, Plugin},
    procfs::HostReader,
    shown,
};

/// Events are taken and printed this often.
const DRAIN: Duration = Duration::from_millis(50);
/// What the kernel lost is looked for, and ended processes are given up, this often.
const TIDY: Duration = Duration::from_secs(1);
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
    let arguments = match arguments(args, terminal::is_terminal()) {
        Ok(arguments) => arguments,
        Err(refusal) => {
            shown::complain(refusal);
            return Ok(Exit::Usage);
        }
    };
    let filter = match Filter::new(args) {
        Ok(filter) => filter,
        Err(Refusal::Usage(why)) => {
            shown::complain(why);
            return Ok(Exit::Usage);
        }
        Err(Refusal::NoProcess(why)) => {
            shown::complain(why);
            return Ok(Exit::NothingFound);
        }
    };
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let origin = Origin {
        asked_by: "kevmon events needs eBPF, as /proc tells no events",
        ..Origin::of_command(Source::Ebpf)
    };
    let root = origin.root.clone();
    let mut watch = Watch::start(origin, plugins, &Kept::default())?;
    watch.observe();
    let mut live = Live {
        watch,
        boot: output::boot_clock(),
        wall: output::clock(),
        stream: Stream::new(root, arguments),
        filter,
        format: format(args),
        printer: Printer::start()?,
        lost: BTreeMap::new(),
        left_out: 0,
    };
    if let Format::Text(columns, look) = live.format {
        live.printer
            .push(columns.heading().paint(look).as_str().to_owned());
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
        live.print(false);
        live.say_what_was_lost();
        drain_at = if all {
            Instant::now() + DRAIN
        } else {
            Instant::now()
        };
    }
    live.watch.drain();
    live.print(true);
    live.say_what_was_lost();
    live.say_what_was_left_out();
    live.printer.finish(FINAL_OUTPUT).await;
    Ok(Exit::Success)
}

/// A terminal narrower than this wraps each line.
const NARROW: usize = 60;

fn format(args: &EventsArgs) -> Format {
    if args.json {
        return Format::Json;
    }
    let look = terminal::look(args.paint.color);
    if let Some(width) = look.width.filter(|&width| width < NARROW) {
        eprintln!(
            "kevmon: the terminal has {width} columns, and lines are wrapped; widen it to {NARROW} or more, or use --json"
        );
    }
    Format::Text(Columns::new(look.width, args.tree), look)
}

/// Which arguments are shown; the error says why none can be.
fn arguments(args: &EventsArgs, is_terminal: bool) -> std::result::Result<ShownArguments, &'static str> {
    match (args.args, args.argument.as_slice()) {
        (true, _) if !is_terminal => Err(
            "--args: standard output is not a terminal, and command lines may hold secrets, which are not to end up in a file; \
             name the arguments to show with --argument",
        ),
        (true, _) => Ok(ShownArguments::All),
        (false, []) => Ok(ShownArguments::None),
        (false, names) => Ok(ShownArguments::Named(names.to_vec())),
    }
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
    stream: Stream,
    filter: Filter,
    format: Format,
    printer: Printer,
    /// Losses that were said, by program.
    lost: BTreeMap<&'static str, u64>,
    /// Events that found no room before the reader.
    left_out: usize,
}

/// How events are written.
#[derive(Debug, Clone, Copy)]
enum Format {
    Json,
    Text(Columns, Look),
}

impl Live {
    /// Prints what has been held for long enough, or all of it.
    fn print(&mut self, all: bool) {
        let plugins: Vec<Arc<Plugin>> = self
            .watch
            .plugins()
            .map(|(_, plugin)| Arc::clone(plugin))
            .collect();
        let plugin = |group: GroupId| plugins.get(group.0);
        for observed in self.watch.take_observed() {
            self.stream.observe(observed, |group| plugin(group).cloned());
        }
        for notice in self.watch.take_notices() {
            self.stream.note(notice);
        }
        let events = self.stream.take(HostReader::now(), all);
        if events.is_empty() {
            return;
        }
        self.wall = self.wall.follow(output::clock());
        let (mut lines, mut count) = (String::new(), 0);
        for mut event in events {
            let Some(plugin) = plugin(event.group) else {
                continue;
            };
            if self.filter.lets(&event) {
                event.depth = self.stream.depth_of(&event);
                self.write(&mut lines, &event, plugin, plugins.len() > 1);
                count += 1;
            }
        }
        if lines.is_empty() || self.printer.push(lines) {
            self.say_what_was_left_out();
        } else {
            self.left_out += count;
        }
    }

    fn say_what_was_left_out(&mut self) {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            eprintln!("kevmon: {left_out} events are not shown: whoever reads standard output was too slow");
        }
    }

    fn write(&self, lines: &mut String, event: &LiveEvent, plugin: &Plugin, are_several: bool) {
        match self.format {
            Format::Json => {
                lines.push_str(&shown::json(&event_json(event, plugin, self.boot, self.wall)));
                lines.push('\n');
            }
            Format::Text(columns, look) => {
                let plugin = are_several.then_some(plugin);
                let line = columns.line(event, plugin, self.wall, local_time::wall);
                lines.push_str(line.paint(look).as_str());
            }
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
    fn whole_command_lines_are_for_terminals_alone() {
        let asked = |args: bool, argument: &[&str]| EventsArgs {
            args,
            argument: argument.iter().map(|&name| name.to_owned()).collect(),
            ..EventsArgs::default()
        };
        let named = ShownArguments::Named(vec!["--port".to_owned()]);
        for (asked, is_terminal, expected) in [
            (asked(false, &[]), true, Some(ShownArguments::None)),
            (asked(false, &["--port"]), false, Some(named)),
            (asked(true, &[]), true, Some(ShownArguments::All)),
            (asked(true, &[]), false, None),
            (asked(true, &["--port"]), false, None),
        ] {
            assert_eq!(arguments(&asked, is_terminal).ok(), expected, "{asked:?}");
        }
    }

    #[test]
    fn all_processes_are_one_plugin_and_each_pattern_is_its_own() {
        let names = |patterns: &[&str]| {
            let args = EventsArgs {
                process_name: patterns.iter().map(|&pattern| pattern.to_owned()).collect(),
                ..EventsArgs::default()
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
        let all = plugins(&EventsArgs::default());
        assert!(all.is_some_and(|all| all[0].patterns[0].is_match("x")));
    }
}
