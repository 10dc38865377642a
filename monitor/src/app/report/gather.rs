//! What a page says: put together from the history's rows and the recorder's steps.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    ops::RangeInclusive,
    path::Path,
    time::Duration,
};

use super::trace::Trace;
use crate::{
    app::incidents::{self, cpus, far, kind, lost, what},
    export::{death, restart, span},
    process::Reason,
    recorder::{self, Event, EventKind, Field, Flags, Incident, Recording, Values, spacing},
    store::{self, History, HistoryRow},
};

/// Parts in which a range is read: what is held of it at once.
const PARTS: u64 = 24;
/// Holes that are drawn in the charts of one service.
const HOLES: usize = 500;
/// Steps of earlier parts that tell how far steps are apart.
const RECENT: usize = 16;

/// What a page is made of.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) title: String,
    /// Unix ns.
    pub(super) range: RangeInclusive<u64>,
    /// When it was made, Unix ns.
    pub(super) made: u64,
    /// When the crash was that it is about, Unix ns.
    pub(super) trigger: Option<u64>,
    pub(super) services: Vec<Service>,
    /// What is missing in all of it, a sentence each.
    pub(super) missing: Vec<String>,
}

/// One plugin's part.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) label: String,
    pub(super) marks: Vec<Mark>,
    /// Without a root: from and until, Unix ns.
    pub(super) downs: Vec<(u64, u64)>,
    /// Ends by reason, in words.
    pub(super) exits: BTreeMap<String, u64>,
    /// ns.
    pub(super) downtimes: Vec<u64>,
    /// ns.
    pub(super) lifetimes: Vec<u64>,
    pub(super) charts: Charts,
    /// What is missing, a sentence each.
    pub(super) missing: Vec<String>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// Unix ns.
    pub(super) time: u64,
    /// `start`, `exit`, `restart`, or `bad`: a crash.
    pub(super) class: &'static str,
    pub(super) kind: &'static str,
    pub(super) pid: u32,
    /// A process chooses it.
    pub(super) name: String,
    pub(super) what: String,
}

/// The lines of one service, and where they have holes.
#[derive(Debug)]
pub(super) struct Charts {
    pub(super) cpu: Trace,
    pub(super) rss: Trace,
    pub(super) threads: Trace,
    pub(super) fds: Trace,
    pub(super) processes: Trace,
    pub(super) switches: Trace,
    pub(super) waits: Trace,
    /// From and until, Unix ns: the first [`HOLES`].
    pub(super) holes: Vec<(u64, u64)>,
    hole_count: usize,
    before: Option<(u64, Values)>,
    first: Option<u64>,
    pub(super) steps: u64,
}

impl Charts {
    fn new(range: &RangeInclusive<u64>) -> Self {
        let trace = || Trace::new(range.clone());
        Self {
            cpu: trace(),
            rss: trace(),
            threads: trace(),
            fds: trace(),
            processes: trace(),
            switches: trace(),
            waits: trace(),
            holes: Vec::new(),
            hole_count: 0,
            before: None,
            first: None,
            steps: 0,
        }
    }

    /// Adds a step; `apart`: the usual time between two of them, ns.
    fn add(&mut self, time: u64, (flags, values): (Flags, Values), apart: u64) {
        self.first.get_or_insert(time);
        self.steps += 1;
        let before = self.before.replace((time, values));
        let is_near = |then: u64| time.saturating_sub(then) <= far(apart);
        if let Some((then, _)) = before.filter(|(then, _)| !is_near(*then)) {
            self.hole(then, time);
        }
        let before = before.filter(|(then, _)| is_near(*then) && *then < time && !flags.begins);
        let now = (time, values);
        let rate = |field: Field| {
            let (then, before) = before?;
            let grown = values.get(field)?.checked_sub(before.get(field)?)?;
            Some(grown as f64 / (time - then) as f64)
        };
        let gauge = |field| values.get(field).map(|value| value as f64);
        let switches = rate(Field::Voluntary).zip(rate(Field::Involuntary));
        self.cpu.add(time, before.and_then(|before| cpus(before, now)));
        self.waits.add(time, rate(Field::RunDelay));
        self.switches
            .add(time, switches.map(|(one, other)| (one + other) * 1e9));
        self.rss.add(time, gauge(Field::Rss));
        self.threads.add(time, gauge(Field::Threads));
        self.fds.add(time, gauge(Field::Fds));
        self.processes.add(time, gauge(Field::Processes));
    }

    fn hole(&mut self, from: u64, until: u64) {
        for trace in [
            &mut self.rss,
            &mut self.threads,
            &mut self.fds,
            &mut self.processes,
        ] {
            trace.add(from, None);
        }
        self.hole_count += 1;
        if self.holes.len() < HOLES {
            self.holes.push((from, until));
        }
    }

    /// How many holes there are, as a sentence; `None` for none.
    fn missing(&self) -> Option<String> {
        let shown = if self.hole_count > HOLES {
            format!("the charts show the first {HOLES} of them hatched")
        } else {
            "the charts show them hatched".to_owned()
        };
        let count = self.hole_count;
        (count > 0).then(|| format!("No values were recorded in {count} parts of this time; {shown}."))
    }

    /// What lies before the first step and after the last one.
    fn end(&mut self, range: &RangeInclusive<u64>, apart: u64) {
        let (Some(first), Some((last, _))) = (self.first, self.before) else {
            return;
        };
        let far = far(apart);
        if first.saturating_sub(*range.start()) > far {
            self.hole_count += 1;
            self.holes.insert(0, (*range.start(), first));
        }
        if range.end().saturating_sub(last) > far {
            self.hole_count += 1;
            self.holes.push((last, *range.end()));
        }
    }
}

impl Service {
    fn new(label: &str, range: &RangeInclusive<u64>) -> Self {
        Self {
            label: label.to_owned(),
            marks: Vec::new(),
            downs: Vec::new(),
            exits: BTreeMap::new(),
            downtimes: Vec::new(),
            lifetimes: Vec::new(),
            charts: Charts::new(range),
            missing: Vec::new(),
        }
    }

    fn ended(&mut self, reason: Reason, lifetime: Option<u64>) {
        *self.exits.entry(death(reason, None)).or_default() += 1;
        self.lifetimes.extend(lifetime);
    }

    fn was_down(&mut self, until: u64, downtime: Option<u64>) {
        if let Some(downtime) = downtime {
            self.downtimes.push(downtime);
            self.downs.push((until.saturating_sub(downtime), until));
        }
    }

    fn add_row(&mut self, row: &HistoryRow) {
        let (class, what) = match &row.event {
            store::Event::Start { worker } => ("start", if *worker { "worker" } else { "" }.to_owned()),
            store::Event::Exit {
                reason,
                sender,
                lifetime,
                ..
            } => {
                self.ended(*reason, *lifetime);
                let sender = sender.as_ref().map(|(pid, name)| (*pid, name.as_str()));
                (class(*reason), death(*reason, sender))
            }
            store::Event::Restart { kind, downtime, .. } => {
                self.was_down(row.time, *downtime);
                let what = restart(*kind, None, downtime.map(Duration::from_nanos));
                ("restart", what)
            }
        };
        self.marks.push(Mark {
            time: row.time,
            class,
            kind: row.event.name(),
            pid: row.pid.0,
            name: row.name.clone(),
            what,
        });
    }

    fn add_event(&mut self, event: &Event) {
        let class = match &event.kind {
            EventKind::Start { .. } => "start",
            EventKind::Exit { reason, lifetime, .. } => {
                self.ended(*reason, *lifetime);
                class(*reason)
            }
            EventKind::Restart { downtime, .. } => {
                self.was_down(event.time, *downtime);
                "restart"
            }
        };
        self.marks.push(Mark {
            time: event.time,
            class,
            kind: kind(event),
            pid: event.pid,
            name: event.name.clone(),
            what: what(event),
        });
    }
}

fn class(reason: Reason) -> &'static str {
    if reason.is_success() { "exit" } else { "bad" }
}

/// The page of an incident.
pub(super) fn of_incident(incident: &Incident, made: u64) -> Report {
    let trigger = &incident.trigger;
    let range = trigger.from..=trigger.until;
    let mut service = Service::new(&incident.group.label, &range);
    let apart = spacing(incident.group.step, incident.steps.keys().copied());
    for (time, step) in &incident.steps {
        service.charts.add(*time, *step, apart);
    }
    service.charts.end(&range, apart);
    incident.events.iter().for_each(|event| service.add_event(event));
    Report {
        title: format!("Incident {}", trigger.id),
        range,
        made,
        trigger: Some(trigger.time),
        services: vec![service],
        missing: incidents::missing(incident),
    }
}

/// The page of a range of time, up to now.
///
/// # Errors
/// The recorder's folder cannot be looked at.
pub(super) fn of_range(
    history: &History,
    folder: &Path,
    range: RangeInclusive<u64>,
    plugin: Option<&str>,
) -> io::Result<Report> {
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    let mut missing = Vec::new();
    for row in &history.rows {
        let label = row.group.plugin.as_str();
        if range.contains(&row.time) {
            let service = services.entry(label.to_owned());
            service
                .or_insert_with(|| Service::new(label, &range))
                .add_row(row);
        }
    }
    let wanted = |group: &recorder::Group| {
        plugin.is_none_or(|plugin| [&group.plugin, &group.label].iter().any(|name| *name == plugin))
    };
    add_steps(&mut services, &mut missing, folder, &range, &wanted)?;
    let cut = cut(history, *range.start());
    for (label, service) in &mut services {
        if cut.contains(label.as_str()) {
            service.missing.push(format!(
                "The history has the latest {} events of a plugin, shared by its users: what was before them is missing in the \
                 timeline, the ends and the distributions.",
                store::KEPT
            ));
        }
        if service.charts.steps == 0 {
            service.missing.push(
                "The flight recorder has no values of it: [recorder] in kevmon.toml says what is recorded."
                    .to_owned(),
            );
        }
    }
    for outage in &history.outages {
        if outage.to >= *range.start() && outage.from <= *range.end() {
            let length = span(Duration::from_nanos(outage.to.saturating_sub(outage.from)));
            missing.push(format!(
                "kevmon was away for {length}: counts and times of that while may be incomplete, and no values were recorded."
            ));
        }
    }
    Ok(Report {
        title: format!(
            "The last {}",
            span(Duration::from_nanos(range.end().saturating_sub(*range.start())))
        ),
        made: *range.end(),
        range,
        trigger: None,
        services: services.into_values().collect(),
        missing,
    })
}

/// What is missing of the recorder's steps in the parts that have been read.
#[derive(Default)]
struct Lacks {
    /// Steps and events.
    lost: u64,
    is_lossy: bool,
    faults: Vec<recorder::Fault>,
}

/// How far a service's steps are apart. A part may have too few of them to tell.
#[derive(Default)]
struct Pace {
    /// Usual time between two steps, ns.
    usual: u64,
    /// Times of the last steps, Unix ns.
    recent: Vec<u64>,
}

impl Pace {
    /// Goes on with steps at these times; `asked`: the time between two steps that was asked for, ns.
    fn follow(&mut self, asked: u64, times: impl Iterator<Item = u64>) {
        self.recent.extend(times);
        self.usual = spacing(asked, self.recent.iter().copied());
        self.recent.drain(..self.recent.len().saturating_sub(RECENT));
    }
}

/// Reads the recorder part by part, as a day of many groups would not fit into memory.
fn add_steps(
    services: &mut BTreeMap<String, Service>,
    missing: &mut Vec<String>,
    folder: &Path,
    range: &RangeInclusive<u64>,
    wanted: &dyn Fn(&recorder::Group) -> bool,
) -> io::Result<()> {
    let length = range.end().saturating_sub(*range.start()) / PARTS + 1;
    let mut lacks = Lacks::default();
    let mut paces: BTreeMap<String, Pace> = BTreeMap::new();
    for part in 0..PARTS {
        let from = range.start().saturating_add(part * length);
        let until = from.saturating_add(length - 1).min(*range.end());
        let recording = recorder::read(folder, from..=until)?;
        add_part(services, &mut paces, &recording, range, wanted);
        lacks.lost = lacks.lost.saturating_add(lost(&recording.gaps));
        lacks.is_lossy |= recording.steps.iter().any(|step| step.flags.is_lossy);
        for fault in recording.faults {
            if !lacks.faults.contains(&fault) {
                lacks.faults.push(fault);
            }
        }
    }
    for (label, pace) in paces {
        if let Some(service) = services.get_mut(&label) {
            service.charts.end(range, pace.usual);
            service.missing.extend(service.charts.missing());
        }
    }
    missing.extend(lacks.faults.iter().map(ToString::to_string));
    if lacks.lost > 0 {
        missing.push(format!(
            "{} steps or events of the flight recorder were lost.",
            lacks.lost
        ));
    }
    if lacks.is_lossy {
        missing.push("Records of the kernel were lost: starts and ends may be missing.".to_owned());
    }
    Ok(())
}

/// Adds the steps of a part.
fn add_part(
    services: &mut BTreeMap<String, Service>,
    paces: &mut BTreeMap<String, Pace>,
    recording: &Recording,
    range: &RangeInclusive<u64>,
    wanted: &dyn Fn(&recorder::Group) -> bool,
) {
    let mut by_place: Vec<Vec<(u64, (Flags, Values))>> = vec![Vec::new(); recording.groups.len()];
    for step in &recording.steps {
        for (place, values) in &step.groups {
            if let Some(steps) = by_place.get_mut(*place) {
                steps.push((step.time, (step.flags, *values)));
            }
        }
    }
    for (group, steps) in recording.groups.iter().zip(by_place) {
        if steps.is_empty() || !wanted(group) {
            continue;
        }
        let pace = paces.entry(group.label.clone()).or_default();
        pace.follow(group.step, steps.iter().map(|(time, _)| *time));
        let usual = pace.usual;
        let service = services.entry(group.label.clone());
        let service = service.or_insert_with(|| Service::new(&group.label, range));
        for (time, step) in steps {
            service.charts.add(time, step, usual);
        }
    }
}

/// The plugins with a group that has as many rows as are kept, and with rows that may be missing since `start`, Unix ns. The users
/// of a group share its rows, so one user's may reach back further than another's.
fn cut(history: &History, start: u64) -> BTreeSet<&str> {
    let mut counts: HashMap<&store::GroupKey, (usize, HashMap<Option<u32>, u64>)> = HashMap::new();
    for row in &history.rows {
        let (rows, oldest) = counts.entry(&row.group).or_default();
        *rows += 1;
        let oldest = oldest.entry(row.user).or_insert(row.time);
        *oldest = row.time.min(*oldest);
    }
    let cut = counts
        .into_iter()
        .filter(|(_, (rows, oldest))| *rows >= store::KEPT && oldest.values().any(|oldest| *oldest > start));
    cut.map(|(group, _)| group.plugin.as_str()).collect()
}
