//! Single members, for plugins that ask for series of theirs. Of a plugin that does not, nothing is kept here.

use super::{
    Group,
    places::{self, Standing},
};
use crate::{
    plugin::{
        PerProcess, Rank,
        reading::{ProcessReading, SingleProcess, SingleProcesses},
    },
    process::{
        BootTime, Counter, Facts, Gauges, Host, KeyMap, KeySet, Process, ProcessKey, ProcessTable, Usage,
    },
};

/// What is known of the members since the last collection, and when that was.
#[derive(Debug, Default)]
pub(super) struct Singles {
    last: Option<BootTime>,
    known: KeyMap<Known>,
    /// Members that had series in an earlier run of kevmon, until the first collection of this one.
    restored: KeySet,
}

#[derive(Debug)]
struct Known {
    /// Totals at the last collection.
    used: Usage,
    standing: Standing,
}

/// What all readings of one collection share.
#[derive(Clone, Copy)]
pub(super) struct Now<'a> {
    pub(super) time: BootTime,
    pub(super) host: Host,
    pub(super) gauges: &'a KeyMap<Gauges>,
    pub(super) table: &'a ProcessTable,
    pub(super) facts: &'a KeyMap<Facts>,
    pub(super) arguments: &'a [String],
}

/// A live member since the last collection.
struct Member<'a> {
    key: ProcessKey,
    process: &'a Process,
    gauges: &'a Gauges,
    /// Totals of its whole life so far.
    usage: Usage,
    /// Usage since the last collection, or since its start where it was not there yet.
    used: Usage,
    /// Length of the time that `used` covers, ns; `None` where it is not known.
    elapsed: Option<f64>,
}

impl Group {
    /// The `live` members that get series of their own; `None` where the plugin asks for none.
    pub(super) fn single_processes(
        &mut self,
        live: &[ProcessReading],
        now: Now<'_>,
    ) -> Option<SingleProcesses> {
        let Some(asked) = self.plugin.per_process else {
            self.singles = Singles::default();
            return None;
        };
        let members: Vec<Member<'_>> = live
            .iter()
            .filter_map(|member| {
                // One without gauges has vanished before they were read: it lives no more.
                let (process, gauges) = (now.table.get(member.key)?, now.gauges.get(&member.key)?);
                Some(self.singles.member(member.key, process, gauges, now))
            })
            .collect();
        Some(self.singles.read(&members, asked, now))
    }

    /// The member had series in an earlier run of kevmon: it goes on with its place.
    pub(super) fn keep_place(&mut self, key: ProcessKey) {
        self.singles.restored.insert(key);
    }
}

impl Singles {
    fn member<'a>(
        &self,
        key: ProcessKey,
        process: &'a Process,
        gauges: &'a Gauges,
        now: Now<'_>,
    ) -> Member<'a> {
        let usage = process.totals();
        let began_since = self.last.filter(|&last| key.start >= last).map(|_| Usage::ZERO);
        let before = self.known.get(&key).map(|known| known.used).or(began_since);
        // What it used is known for a time of its own where it began in between.
        let elapsed = before
            .and(self.last)
            .map(|last| now.time.since(last.max(key.start)).as_nanos() as f64)
            .filter(|&elapsed| elapsed > 0.0);
        Member {
            key,
            process,
            gauges,
            usage,
            used: usage.since(&before.unwrap_or(Usage::ZERO)),
            elapsed,
        }
    }

    fn read(&mut self, members: &[Member<'_>], asked: PerProcess, now: Now<'_>) -> SingleProcesses {
        let mut standings: Vec<Standing> = members
            .iter()
            .map(|member| self.standing(member, asked.rank, now))
            .collect();
        places::give(&mut standings, asked.most, asked.rank);
        let chosen = members.iter().zip(&standings);
        let processes: Vec<SingleProcess> = chosen
            .filter(|(_, standing)| standing.has_place)
            .map(|(member, _)| member.reading(now))
            .collect();
        let known = members.iter().zip(standings).map(|(member, standing)| {
            let used = member.usage;
            (member.key, Known { used, standing })
        });
        self.known = known.collect();
        self.last = Some(now.time);
        self.restored = KeySet::default();
        SingleProcesses {
            left_out: (members.len() - processes.len()) as u64,
            processes,
        }
    }

    fn standing(&self, member: &Member<'_>, rank: Rank, now: Now<'_>) -> Standing {
        let load = match rank {
            Rank::Cpu => member.cpu(self.last, now.time),
            Rank::Memory => member.gauges.rss.unwrap_or(0) as f64,
        };
        let standing = match (self.known.get(&member.key), self.last) {
            (Some(known), _) => known.standing.after(load),
            (None, Some(_)) => Standing::default().after(load),
            (None, None) => Standing::found(load, self.restored.contains(&member.key)),
        };
        standing.of(member.process.uid)
    }
}

impl Member<'_> {
    /// CPUs that it used: since the last collection, whenever in between it began; of one whose usage is not known from then
    /// on, over its life.
    fn cpu(&self, last: Option<BootTime>, now: BootTime) -> f64 {
        let since = match (self.elapsed, last) {
            (Some(_), Some(last)) => last,
            _ => self.key.start,
        };
        let used = self.used.get(Counter::Runtime).unwrap_or(0) as f64;
        used / (now.since(since).as_nanos() as f64).max(1.0)
    }

    fn reading(&self, now: Now<'_>) -> SingleProcess {
        let share = |counter| Some(self.used.get(counter)? as f64 / self.elapsed?);
        let cpus = now.host.cpus as f64;
        let identity = &self.process.identity;
        SingleProcess {
            key: self.key,
            exe: identity.exe.clone(),
            command: SingleProcess::command_of(identity).to_owned(),
            path: None,
            usage: self.usage,
            cpu_usage: share(Counter::Runtime),
            cpu_utilization: share(Counter::User)
                .zip(share(Counter::System))
                .map(|(user, system)| (user / cpus, system / cpus)),
            memory_usage: self
                .gauges
                .rss
                .zip(now.host.memory.filter(|&memory| memory > 0))
                .map(|(rss, memory)| rss as f64 / memory as f64),
            gauges: *self.gauges,
            uptime: now.time.since(self.key.start),
            facts: now.facts.get(&self.key).cloned().unwrap_or_default(),
            arguments: told(&identity.argv, now.arguments),
        }
    }
}

/// The arguments of `argv` that are `allowed`, with their values: `--port=80`, `--port 80`, or an argument as it stands.
pub fn told(argv: &[String], allowed: &[String]) -> Vec<String> {
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
