//! `kevmon incidents`: what the flight recorder kept of crashes, as a table for people and as JSON lines. The JSON is documented
//! in docs/recorder.md and stable: keys are added, never changed.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value as Json, json};

use super::{
    Exit,
    local_time::{self, Local},
    output, state_path, terminal,
};
use crate::{
    cli::IncidentsArgs,
    config::Environment,
    export::{Column, Page, Piece, Precision, Table, Tone, death, known, reason_keys, span},
    process::Tgid,
    recorder::{
        self, Event, EventKind, Field, Flags, Gap, Incident, Incidents, Values, incident::Listed, spacing,
    },
    shown,
};

/// Steps that the text shows of one incident: the last ones up to its trigger, and some after it.
const SHOWN: usize = 12;

/// Prints the incidents, or one of them.
///
/// # Errors
/// The recorder's files cannot be read.
pub(super) fn run(args: &IncidentsArgs) -> Result<Exit> {
    let Some(state) = state_path(args.metadata_db_path.as_deref(), &Environment::of_this_process()) else {
        return Ok(Exit::Usage);
    };
    let folder = recorder::folder(&state);
    let incidents = Incidents::new(&folder);
    let look = || terminal::look(args.paint.color);
    if let Some(id) = &args.id {
        let Some(incident) = find(&incidents, id, &folder)? else {
            return Ok(Exit::NothingFound);
        };
        if args.json {
            incident.damage.iter().for_each(shown::complain);
            output::print(&shown::json(&whole_json(&incident))).context("standard output")?;
        } else {
            let page = story(&incident, &local_time::date);
            output::print_painted(&page.paint(look())).context("standard output")?;
        }
        return Ok(Exit::Success);
    }
    let mut listed = incidents.list().with_context(|| folder.display().to_string())?;
    listed.faults.iter().for_each(shown::complain);
    if let Some(plugin) = &args.plugin {
        listed
            .incidents
            .retain(|incident| [&incident.group.plugin, &incident.group.label].contains(&plugin));
    }
    if args.json {
        let lines = listed.incidents.iter().map(|incident| line(summary(incident)));
        output::print(&shown::json(&lines.collect::<String>())).context("standard output")?;
    } else {
        let page = list(&listed, &folder, &local_time::date);
        output::print_painted(&page.paint(look())).context("standard output")?;
    }
    Ok(Exit::Success)
}

/// The incident `id`; `None` where there is none, which has been said then.
///
/// # Errors
/// The recorder's files cannot be read.
pub(super) fn find(incidents: &Incidents, id: &str, folder: &Path) -> Result<Option<Incident>> {
    let found = incidents.read(id).with_context(|| folder.display().to_string())?;
    if found.is_none() {
        shown::complain(format_args!(
            "incident {id} is not in {}: it never was, or later ones took its place ({} are kept); kevmon incidents lists them",
            folder.display(),
            recorder::incident::MOST
        ));
    }
    Ok(found)
}

fn list(listed: &Listed, folder: &Path, date: &dyn Fn(u64) -> Local) -> Page {
    let mut page = Page::default();
    if listed.incidents.is_empty() {
        page.line(
            0,
            Tone::Plain,
            format!("no incident is recorded in {}", folder.display()),
        );
        return page;
    }
    let columns = [
        ("TIME", false),
        ("PLUGIN", false),
        ("CAUSE", false),
        ("PID", true),
        ("NAME", false),
        ("STEPS", true),
        ("ID", false),
    ];
    let mut table = Table::new(&columns.map(|(title, is_right)| Column { title, is_right }));
    for incident in &listed.incidents {
        let trigger = &incident.trigger;
        let Local { text, zone } = date(trigger.time);
        table.row(vec![
            Piece::new(Tone::Faint, format!("{text} {zone}")),
            Piece::new(Tone::Plain, &incident.group.label),
            Piece::new(Tone::Bad, cause(incident)),
            Piece::new(Tone::Plain, trigger.pid.to_string()),
            Piece::new(Tone::Strong, &trigger.name),
            Piece::new(Tone::Plain, incident.steps.len().to_string()),
            Piece::new(Tone::Plain, &trigger.id),
        ]);
    }
    table.put(&mut page, 0);
    page
}

fn cause(incident: &Incident) -> &'static str {
    match incident.trigger.cause {
        recorder::Cause::Crash => "crash",
        recorder::Cause::Oom => "OOM kill",
        recorder::Cause::CrashLoop => "crash loop",
    }
}

/// What is missing of an incident, a sentence each.
pub(super) fn missing(incident: &Incident) -> Vec<String> {
    let mut missing = Vec::new();
    if let Some(damage) = &incident.damage {
        missing.push(format!("{damage}."));
    } else if !incident.is_whole {
        missing.push("The minute after it is not over, or kevmon ended in it.".to_owned());
    }
    let lost = lost(&incident.gaps);
    if lost > 0 {
        missing.push(format!("{lost} steps or events were lost."));
    }
    if incident.left_out > 0 {
        missing.push(format!(
            "{} events were left out for their number: those that are furthest from the crash.",
            incident.left_out
        ));
    }
    if incident.steps.values().any(|(flags, _)| flags.is_lossy) {
        missing.push("Records of the kernel were lost: starts and ends may be missing.".to_owned());
    }
    let times = incident.steps.keys().copied();
    let usual = spacing(incident.group.step, times.clone());
    let is_far = |apart: u64| apart > far(usual);
    let holes = times.clone().zip(times.clone().skip(1));
    let holes = holes
        .filter(|(one, next)| is_far(next.saturating_sub(*one)))
        .count();
    if holes > 0 {
        missing.push(format!(
            "{holes} times steps are further apart than {}.",
            length(usual)
        ));
    }
    let (from, until) = (incident.trigger.from, incident.trigger.until);
    let Some((first, last)) = times.clone().next().zip(times.last()) else {
        missing.push("There is no step: kevmon had just started, or the ring was too small.".to_owned());
        return missing;
    };
    let (before, after) = (first.saturating_sub(from), until.saturating_sub(last));
    if is_far(before) {
        missing.push(format!(
            "There is no step in the first {}: kevmon had just started, or the ring was too small.",
            length(before)
        ));
    }
    if incident.is_whole && is_far(after) {
        missing.push(format!(
            "There is no step in the last {}: kevmon was away, or nothing was recorded.",
            length(after)
        ));
    }
    missing
}

/// Steps further apart than this have a hole between them, where they are `usual` apart as a rule, ns.
pub(super) fn far(usual: u64) -> u64 {
    (usual / 2).saturating_mul(5)
}

/// Sum of gaps.
pub(super) fn lost(gaps: &[Gap]) -> u64 {
    gaps.iter().fold(0, |sum, gap| sum.saturating_add(gap.steps))
}

fn story(incident: &Incident, date: &dyn Fn(u64) -> Local) -> Page {
    let mut page = Page::default();
    let trigger = &incident.trigger;
    let Local { text, zone } = date(trigger.time);
    page.line(
        0,
        Tone::Strong,
        format!(
            "{} of {} (pid {}), plugin {}, {text} {zone}",
            cause(incident),
            trigger.name,
            trigger.pid,
            incident.group.label
        ),
    );
    for sentence in missing(incident) {
        page.line(0, Tone::Warning, sentence);
    }
    page.gap();
    let columns = ["TIME", "CPU", "RSS", "THREADS", "FDS", "PROCESSES"];
    let mut table = Table::new(&columns.map(|title| Column {
        title,
        is_right: title != "TIME",
    }));
    let mut before: Option<(u64, Values)> = None;
    let at = incident.steps.range(..=trigger.time).count();
    let from = at.saturating_sub(SHOWN);
    for (place, (time, (flags, values))) in incident.steps.iter().enumerate() {
        if (from..from + 2 * SHOWN).contains(&place) {
            let amount = |field, of: fn(u64) -> String| values.get(field).map_or("-".to_owned(), of);
            let before = before.filter(|_| !flags.begins);
            let cpus = before.and_then(|before| cpus(before, (*time, *values)));
            table.row(
                [
                    date(*time).text,
                    cpus.map_or("-".to_owned(), |cpus| format!("{cpus:.2}")),
                    amount(Field::Rss, |bytes| Precision::Human.bytes(bytes)),
                    amount(Field::Threads, |count| count.to_string()),
                    amount(Field::Fds, |count| count.to_string()),
                    amount(Field::Processes, |count| count.to_string()),
                ]
                .map(|text| Piece::new(Tone::Plain, text))
                .to_vec(),
            );
        }
        before = Some((*time, *values));
    }
    table.put(&mut page, 0);
    page.gap();
    let columns = ["TIME", "EVENT", "PID", "NAME", "WHAT"];
    let mut table = Table::new(&columns.map(|title| Column {
        title,
        is_right: title == "PID",
    }));
    for event in &incident.events {
        table.row(vec![
            Piece::new(Tone::Faint, date(event.time).text),
            Piece::new(Tone::Plain, kind(event).to_uppercase()),
            Piece::new(Tone::Plain, event.pid.to_string()),
            Piece::new(Tone::Strong, &event.name),
            Piece::new(Tone::Plain, what(event)),
        ]);
    }
    table.put(&mut page, 0);
    page
}

/// CPUs used between two steps: 1 = one CPU fully used; `None` where that is not known.
pub(super) fn cpus((then, before): (u64, Values), (now, values): (u64, Values)) -> Option<f64> {
    let used = values.get(Field::Cpu)?.checked_sub(before.get(Field::Cpu)?)?;
    let passed = now.checked_sub(then).filter(|passed| *passed > 0)?;
    Some(used as f64 / passed as f64)
}

fn length(nanos: u64) -> String {
    span(std::time::Duration::from_nanos(nanos))
}

/// `start`, `exit` or `restart`.
pub(super) fn kind(event: &Event) -> &'static str {
    match event.kind {
        EventKind::Start { .. } => "start",
        EventKind::Exit { .. } => "exit",
        EventKind::Restart { .. } => "restart",
    }
}

/// What an event tells, in words, on one line.
pub(super) fn what(event: &Event) -> String {
    match &event.kind {
        EventKind::Start { worker } => if *worker { "worker" } else { "" }.to_owned(),
        EventKind::Exit {
            reason,
            sender,
            lifetime,
            peak_rss,
            worker,
        } => {
            let sender = sender.as_ref().map(|(pid, name)| (Tgid(*pid), name.as_str()));
            let mut parts = vec![death(*reason, sender)];
            parts.extend(lifetime.map(|lifetime| format!("lived {}", length(lifetime))));
            parts.extend(peak_rss.map(|peak| format!("peak {}", Precision::Human.bytes(peak))));
            parts.extend(worker.then(|| "worker".to_owned()));
            parts.join(", ")
        }
        EventKind::Restart { reexec, downtime } => {
            let kind = if *reexec { "reexec" } else { "respawn" };
            match downtime {
                Some(downtime) => format!("{kind}, down {}", length(*downtime)),
                None => kind.to_owned(),
            }
        }
    }
}

fn line(object: Map<String, Json>) -> String {
    Json::Object(object).to_string() + "\n"
}

fn summary(incident: &Incident) -> Map<String, Json> {
    let (trigger, group) = (&incident.trigger, &incident.group);
    let lost = lost(&incident.gaps).saturating_add(incident.left_out);
    known([
        ("id", Some(json!(trigger.id))),
        ("time", Some(json!(trigger.time))),
        ("plugin", Some(json!(group.label))),
        ("cause", Some(json!(trigger.cause.name()))),
        ("pid", Some(json!(trigger.pid))),
        ("name", Some(json!(trigger.name))),
        ("from", Some(json!(trigger.from))),
        ("until", Some(json!(trigger.until))),
        ("step_ns", Some(json!(group.step))),
        ("steps", Some(json!(incident.steps.len()))),
        ("events", Some(json!(incident.events.len()))),
        ("first_step", incident.steps.keys().next().map(|time| json!(time))),
        ("last_step", incident.steps.keys().last().map(|time| json!(time))),
        ("lost", Some(json!(lost))),
        ("whole", Some(json!(incident.is_whole))),
    ])
}

/// The incident, then its steps and events in the order of time.
fn whole_json(incident: &Incident) -> String {
    let steps = incident
        .steps
        .iter()
        .map(|(time, (flags, values))| (*time, step_json(*time, *flags, values)));
    let events = incident
        .events
        .iter()
        .map(|event| (event.time, event_json(event)));
    let mut lines: Vec<(u64, Map<String, Json>)> = steps.chain(events).collect();
    lines.sort_by_key(|(time, _)| *time);
    let lines = lines.into_iter().map(|(_, object)| line(object));
    std::iter::once(line(summary(incident))).chain(lines).collect()
}

fn step_json(time: u64, flags: Flags, values: &Values) -> Map<String, Json> {
    let mut object = known([
        ("time", Some(json!(time))),
        ("event", Some(json!("step"))),
        ("lossy", flags.is_lossy.then_some(json!(true))),
        ("begins", flags.begins.then_some(json!(true))),
    ]);
    let fields = Field::ALL.iter().zip(NAMES);
    object.extend(fields.filter_map(|(field, name)| Some((name.to_owned(), json!(values.get(*field)?)))));
    object
}

/// The fields' names in JSON, in their order.
const NAMES: [&str; recorder::FIELDS] = [
    "cpu_time_ns",
    "run_delay_ns",
    "voluntary_switches",
    "involuntary_switches",
    "rss_bytes",
    "threads",
    "fds",
    "processes",
    "starts",
    "worker_starts",
    "restarts",
    "exits_success",
    "exits_failed",
    "exits_signal",
    "exits_oom",
    "exits_unknown",
];

/// An event as JSON has it, with the keys of `kevmon events --json`.
pub(super) fn event_json(event: &Event) -> Map<String, Json> {
    let mut object = known([
        ("time", Some(json!(event.time))),
        ("event", Some(json!(kind(event)))),
        ("pid", Some(json!(event.pid))),
        ("name", Some(json!(event.name))),
        (
            "incident",
            Some(json!(event.incident)).filter(|_| !event.incident.is_empty()),
        ),
    ]);
    match &event.kind {
        EventKind::Start { worker } => object.extend(known([("role", Some(json!(role(*worker))))])),
        EventKind::Exit {
            worker,
            reason,
            sender,
            lifetime,
            peak_rss,
        } => {
            let sender = sender.as_ref();
            object.extend(reason_keys(*reason));
            object.extend(known([
                ("role", Some(json!(role(*worker)))),
                (
                    "sender",
                    sender.map(|(pid, name)| json!({ "pid": pid, "name": name })),
                ),
                ("lifetime_ns", lifetime.map(Json::from)),
                ("peak_rss_bytes", peak_rss.map(Json::from)),
            ]));
        }
        EventKind::Restart { reexec, downtime } => object.extend(known([
            ("kind", Some(json!(if *reexec { "reexec" } else { "respawn" }))),
            ("downtime_ns", downtime.map(Json::from)),
        ])),
    }
    object
}

fn role(worker: bool) -> &'static str {
    if worker { "worker" } else { "root" }
}
