//! Single members, for plugins that ask for series of theirs. Of a plugin that does not, nothing is kept here.

use std::{cmp::Reverse, collections::HashMap};

use super::Group;
use crate::{
    plugin::{
        PerProcess, Rank,
        reading::{ProcessReading, SingleProcess, SingleProcesses},
    },
    process::{BootTime, Counter, Facts, Gauges, Host, KeyMap, Process, ProcessKey, ProcessTable, Usage},
};

/// What members had used at the last collection, and when that was.
#[derive(Debug, Default)]
pub(super) struct Singles {
    last: Option<BootTime>,
    used: KeyMap<Usage>,
}

/// What all readings of one collection share.
#[derive(Clone, Copy)]
pub(super) struct Now<'a> {
    pub(super) time: BootTime,
    pub(super) host: Host,
    pub(super) gauges: &'a HashMap<ProcessKey, Gauges>,
    pub(super) table: &'a ProcessTable,
    pub(super) facts: &'a KeyMap<Facts>,
    pub(super) arguments: &'a [String],
}

impl Group {
    /// Those of the `live` members that are asked for; none where none are.
    pub(super) fn single_processes(
        &mut self,
        live: &[ProcessReading],
        now: Now<'_>,
    ) -> Option<SingleProcesses> {
        let asked = self.plugin.per_process?;
        let all = live
            .iter()
            .filter_map(|member| {
                // One without gauges has vanished before they were read: it lives no more.
                let (process, gauges) = (now.table.get(member.key)?, now.gauges.get(&member.key)?);
                Some(self.singles.read(member.key, process, gauges, now))
            })
            .collect();
        self.singles.last = Some(now.time);
        self.singles.used = live
            .iter()
            .filter_map(|process| Some((process.key, now.table.get(process.key)?.totals())))
            .collect();
        Some(foremost(all, asked))
    }
}

impl Singles {
    /// A reading, and the CPU time since the last one, by which it is ranked.
    fn read(
        &self,
        key: ProcessKey,
        process: &Process,
        gauges: &Gauges,
        now: Now<'_>,
    ) -> (u64, SingleProcess) {
        let usage = process.totals();
        let began_since = self.last.filter(|&last| key.start >= last).map(|_| Usage::ZERO);
        let before = self.used.get(&key).copied().or(began_since);
        let used = usage.since(&before.unwrap_or(Usage::ZERO));
        // What it used is known for a time of its own where it began in between.
        let elapsed = before
            .and(self.last)
            .map(|last| now.time.since(last.max(key.start)).as_nanos() as f64)
            .filter(|&elapsed| elapsed > 0.0);
        let share = |counter| Some(used.get(counter)? as f64 / elapsed?);
        let cpus = now.host.cpus as f64;
        let reading = SingleProcess {
            key,
            exe: process.identity.exe.clone(),
            usage,
            cpu_usage: share(Counter::Runtime),
            cpu_utilization: share(Counter::User)
                .zip(share(Counter::System))
                .map(|(user, system)| (user / cpus, system / cpus)),
            memory_usage: gauges
                .rss
                .zip(now.host.memory.filter(|&memory| memory > 0))
                .map(|(rss, memory)| rss as f64 / memory as f64),
            gauges: *gauges,
            uptime: now.time.since(key.start),
            facts: now.facts.get(&key).cloned().unwrap_or_default(),
            arguments: told(&process.identity.argv, now.arguments),
        };
        (used.get(Counter::Runtime).unwrap_or(0), reading)
    }
}

/// Those of `argv`, with their values, that are `allowed`: `--port=80`, `--port 80`, or an argument as it stands.
fn told(argv: &[String], allowed: &[String]) -> Vec<String> {
    if allowed.is_empty() {
        return Vec::new();
    }
    let is_allowed = |argument: &str| allowed.iter().any(|one| one == argument);
    let mut told = Vec::new();
    let mut arguments = argv.iter().skip(1).peekable();
    while let Some(argument) = arguments.next() {
        let flag = argument
            .split_once('=')
            .map_or(argument.as_str(), |(flag, _)| flag);
        if !is_allowed(flag) && !is_allowed(argument) {
            continue;
        }
        told.push(argument.clone());
        // The value of a flag, unless it is another flag.
        if argument.starts_with('-')
            && flag == argument
            && let Some(value) = arguments.next_if(|value| !value.starts_with('-'))
        {
            told.push(value.clone());
        }
    }
    told
}

/// As many as are asked for, by key; the rest is counted.
fn foremost(mut all: Vec<(u64, SingleProcess)>, asked: PerProcess) -> SingleProcesses {
    let left_out = all.len().saturating_sub(asked.most);
    if left_out > 0 {
        all.sort_by_key(|(cpu, process)| {
            let rank = match asked.rank {
                Rank::Cpu => *cpu,
                Rank::Memory => process.gauges.rss.unwrap_or(0),
            };
            (Reverse(rank), process.key)
        });
        all.truncate(asked.most);
        all.sort_by_key(|(_, process)| process.key);
    }
    SingleProcesses {
        processes: all.into_iter().map(|(_, process)| process).collect(),
        left_out: left_out as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn only_what_is_allowed_is_told() {
        let list = |words: &str| words.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (argv, allowed, expected) in [
            ("app --password s3cret --port 80", "", ""),
            ("app --password s3cret --port 80", "--port", "--port 80"),
            ("app --password=s3cret --port=80 x", "--port", "--port=80"),
            ("app --verbose --password s3cret", "--verbose", "--verbose"),
            ("app serve s3cret", "serve", "serve"),
            ("--port 80", "--port", ""),
            ("app --portal 80 --port", "--port", "--port"),
        ] {
            assert_eq!(told(&list(argv), &list(allowed)), list(expected), "{argv}");
        }
    }
}
