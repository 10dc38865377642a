//! One event as one line, for the terminal and for programs. The JSON is documented in docs/events.md and stable: keys
//! are added, never changed.

mod parse;

use std::{sync::Arc, time::Duration};

use serde_json::{Value as Json, json};

pub use self::parse::event_from_json;
use super::{
    amounts::Precision,
    collection::UnixClock,
    json::{known, previous_json, reason_keys},
    logs::role,
    page::{Line, Look, Tone, display_width},
    words::{self, span},
};
use crate::{
    plugin::{GroupId, Notice, Plugin, What},
    process::{BootTime, Counter, Facts, ProcessKey, Reason, Usage},
};

/// The time of day that a clock on the wall shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wall {
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 60: clocks may show a leap second.
    pub second: u32,
}

/// Something that happened to a process, as `kevmon events` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveEvent {
    /// Whose process.
    pub group: GroupId,
    /// When.
    pub time: BootTime,
    /// Which process: the new one, of a restart.
    pub key: ProcessKey,
    /// Its parent, where known.
    pub parent: Option<ProcessKey>,
    /// That parent's name, where known.
    pub parent_name: Option<Arc<str>>,
    /// The name that it is listed under; of a start, that of the program it executed right after its fork.
    pub name: Arc<str>,
    /// Its executable's base name.
    pub exe: Arc<str>,
    /// Its user, unit and container, as far as they are known.
    pub facts: Facts,
    /// How many of its ancestors were shown as well.
    pub depth: usize,
    /// What happened.
    pub what: Happened,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// It started, ended, or took another one's place.
    Life(What),
    /// It executed a program.
    Exec {
        /// Its name before, where that is known.
        was: Option<Arc<str>>,
        /// Its arguments, as far as they are asked for; `None`: none are.
        arguments: Option<Arguments>,
    },
    /// It took another name.
    Rename {
        /// The one before, where that is known.
        was: Option<Arc<str>>,
    },
}

/// The arguments of a program that may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments {
    /// Each of them.
    pub shown: Vec<String>,
    /// There are more than are known.
    pub is_cut: bool,
}

impl LiveEvent {
    /// The event of a notice; what a notice does not tell is not known yet.
    pub fn of(notice: Notice) -> Self {
        Self {
            group: notice.group,
            time: notice.time,
            key: notice.key,
            parent: notice.parent,
            parent_name: None,
            name: notice.name,
            exe: notice.exe,
            facts: Facts {
                uid: notice.user,
                ..Facts::default()
            },
            depth: 0,
            what: Happened::Life(notice.what),
        }
    }

    /// How it ended, where this is an end.
    pub fn reason(&self) -> Option<Reason> {
        match &self.what {
            Happened::Life(What::Exit { ending, .. }) => Some(ending.reason()),
            _ => None,
        }
    }

    /// `start`, `exec`, `rename`, `restart` or `exit`.
    pub fn kind(&self) -> &'static str {
        match &self.what {
            Happened::Life(What::Start { .. }) => "start",
            Happened::Life(What::Exit { .. }) => "exit",
            Happened::Life(What::Restart { .. }) => "restart",
            Happened::Exec { .. } => "exec",
            Happened::Rename { .. } => "rename",
        }
    }

    /// The kind as people read it, and how it stands out: an end by the OOM killer is one of its own.
    fn word(&self) -> (String, Tone) {
        let tone = match (self.reason(), &self.what) {
            (Some(Reason::Oom), _) => return ("OOM".to_owned(), Tone::Bad),
            (Some(Reason::Signal { .. }), _) => Tone::Bad,
            (Some(reason), _) if !reason.is_success() => Tone::Warning,
            (Some(_), _) => Tone::Faint,
            (None, Happened::Life(What::Start { .. })) => Tone::Good,
            (None, Happened::Life(_)) => Tone::Warning,
            (None, _) => Tone::Plain,
        };
        (self.kind().to_uppercase(), tone)
    }
}

/// Which columns lines have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    /// User and unit stand in columns of their own; else starts tell them.
    has_place: bool,
    /// Names are indented below those of their parents.
    is_tree: bool,
}

/// A terminal needs so many columns for all columns of a line.
const WIDE: usize = 110;
/// Names are indented so deep at most, in steps of two columns.
const DEEPEST: usize = 10;

impl Columns {
    /// For a terminal of this width; `None`: standard output is none.
    pub fn new(width: Option<usize>, is_tree: bool) -> Self {
        Self {
            has_place: width.is_none_or(|width| width >= WIDE),
            is_tree,
        }
    }

    /// Names what the columns hold.
    pub fn heading(self) -> Line {
        let mut line = Line::default();
        let mut end = 0;
        let cells = ["TIME", "EVENT", "PID", "PPID", "USER", "UNIT", "NAME", "WHAT"];
        for ((is_shown, width, is_right), cell) in self.layout().into_iter().zip(cells) {
            put(&mut line, &mut end, width, is_right, Tone::Faint, cell, is_shown);
        }
        line
    }

    /// Of each column: whether it is shown, its width, and whether it ends at one place.
    fn layout(self) -> [(bool, usize, bool); 8] {
        let name = if self.is_tree { 28 } else { 16 };
        [
            (true, 12, false),
            (true, 7, false),
            (true, 7, true),
            (true, 7, true),
            (self.has_place, 10, false),
            (self.has_place, 20, false),
            (true, name, false),
            (true, 0, false),
        ]
    }

    /// For people: when, by `wall`, what, who, and how it went. `local` turns Unix seconds into local time; `plugin` is shown
    /// where there are several.
    pub fn line(
        self,
        event: &LiveEvent,
        plugin: Option<&Plugin>,
        wall: UnixClock,
        local: impl Fn(u64) -> Wall,
    ) -> Line {
        let unix = wall.unix(event.time);
        let Wall { hour, minute, second } = local(unix / 1_000_000_000);
        let millis = unix / 1_000_000 % 1_000;
        let (kind, tone) = event.word();
        let parent = event
            .parent
            .map_or_else(|| "-".to_owned(), |parent| parent.tgid.to_string());
        let name = if self.is_tree && event.depth > 0 {
            format!("{}└ {}", "  ".repeat(event.depth.min(DEEPEST) - 1), event.name)
        } else {
            event.name.to_string()
        };
        let user = user(&event.facts).unwrap_or_else(|| "-".to_owned());
        let unit = unit(&event.facts).unwrap_or_else(|| "-".to_owned());
        let mut what = event.details();
        if !self.has_place && event.kind() == "start" {
            what.extend(self::user(&event.facts).map(|user| format!("user {user}")));
            what.extend(self::unit(&event.facts));
        }
        let what = what.join(", ");
        let mut line = Line::default();
        let mut end = 0;
        let cells = [
            (
                Tone::Faint,
                format!("{hour:02}:{minute:02}:{second:02}.{millis:03}"),
            ),
            (tone, kind),
            (Tone::Plain, event.key.tgid.to_string()),
            (Tone::Faint, parent),
            (Tone::Plain, user),
            (Tone::Plain, unit),
            (Tone::Strong, name),
            (Tone::Plain, what),
        ];
        for ((is_shown, width, is_right), (tone, cell)) in self.layout().into_iter().zip(cells) {
            put(&mut line, &mut end, width, is_right, tone, &cell, is_shown);
        }
        if let Some(plugin) = plugin {
            line.add(Tone::Faint, format!(" [{}]", plugin.name));
        }
        line
    }
}

/// One notice as a line of the log.
pub fn event_text(
    notice: &Notice,
    plugin: Option<&Plugin>,
    wall: UnixClock,
    local: impl Fn(u64) -> Wall,
) -> String {
    let columns = Columns {
        has_place: false,
        is_tree: false,
    };
    let line = columns.line(&LiveEvent::of(notice.clone()), plugin, wall, local);
    line.paint(Look::default()).as_str().trim_end().to_owned()
}

/// Adds a cell; the last one hangs.
fn put(
    line: &mut Line,
    end: &mut usize,
    width: usize,
    is_right: bool,
    tone: Tone,
    cell: &str,
    is_shown: bool,
) {
    if !is_shown {
        return;
    }
    if *end > 0 {
        line.pad(*end);
    }
    if is_right {
        line.pad((*end + width).saturating_sub(display_width(cell)));
    }
    if width == 0 {
        line.hang();
    }
    line.add(tone, cell);
    *end += width + 1;
}

/// The user's name, or its number.
fn user(facts: &Facts) -> Option<String> {
    let name = facts.user.as_ref().map(ToString::to_string);
    name.or_else(|| facts.uid.map(|uid| uid.to_string()))
}

/// The container, by the beginning of its id, or else the unit.
fn unit(facts: &Facts) -> Option<String> {
    /// As docker(1), podman(1) and crictl(1) shorten ids.
    const SHORT: usize = 12;
    let container = facts.container().map(|id| id.chars().take(SHORT).collect());
    container.or_else(|| facts.unit().map(str::to_owned))
}

impl LiveEvent {
    fn details(&self) -> Vec<String> {
        // The interpreter, where the name is a script's.
        let exe = (self.exe != self.name && !self.exe.is_empty()).then(|| self.exe.to_string());
        match &self.what {
            Happened::Life(What::Start { .. }) => {
                let by = self.parent_name.as_ref().map(|name| format!("by {name}"));
                by.into_iter().collect()
            }
            Happened::Exec { was, arguments } => {
                let line = arguments.as_ref().and_then(command_line);
                let was = was.as_ref().filter(|was| **was != self.name);
                let was = was.map(|was| format!("was {was}"));
                line.or(exe).into_iter().chain(was).collect()
            }
            Happened::Rename { was } => was.iter().map(|was| format!("was {was}")).collect(),
            Happened::Life(What::Exit {
                ending,
                lifetime,
                usage,
                peak_rss,
                settled,
                ..
            }) => {
                let mut parts = vec![words::ending(ending)];
                parts.extend(lifetime.map(|lifetime| format!("lived {}", span(lifetime))));
                let at_least = if *settled { "" } else { "≥" };
                parts.extend(cpu_time(usage).map(|cpu| {
                    let length = Duration::from_nanos(cpu);
                    format!("cpu {at_least}{}", span(length))
                }));
                parts.extend(peak_rss.map(|bytes| format!("peak {}", Precision::Human.bytes(bytes))));
                parts
            }
            Happened::Life(What::Restart {
                kind,
                downtime,
                previous,
            }) => vec![words::restart(
                *kind,
                previous.as_deref().map(words::previous),
                *downtime,
            )],
        }
    }
}

/// Arguments as a shell would show them; `None` where there are none.
fn command_line(arguments: &Arguments) -> Option<String> {
    let quoted = |argument: &String| {
        let is_plain = |letter: char| letter.is_alphanumeric() || "-_=+./:,@%".contains(letter);
        if !argument.is_empty() && argument.chars().all(is_plain) {
            argument.clone()
        } else {
            format!("'{}'", argument.replace('\'', r"'\''"))
        }
    };
    let mut words: Vec<String> = arguments.shown.iter().map(quoted).collect();
    if arguments.is_cut {
        words.push("…".to_owned());
    }
    (!words.is_empty()).then(|| words.join(" "))
}

fn cpu_time(usage: &Usage) -> Option<u64> {
    usage.get(Counter::Runtime)
}

/// For programs: one object, without the newline. What is not known is absent.
/// `wall` tells when it happened, and `boot` when its process started, the same in each line.
pub fn event_json(event: &LiveEvent, plugin: &Plugin, boot: UnixClock, wall: UnixClock) -> String {
    let role = match &event.what {
        Happened::Life(what) => Some(json!(role(what))),
        _ => None,
    };
    let facts = &event.facts;
    let mut object = known([
        ("time", Some(json!(wall.unix(event.time)))),
        ("event", Some(json!(event.kind()))),
        ("plugin", Some(json!(plugin.name))),
        ("pid", Some(json!(event.key.tgid.0))),
        ("start_time", Some(json!(boot.unix(event.key.start)))),
        ("parent_pid", event.parent.map(|parent| json!(parent.tgid.0))),
        (
            "parent_name",
            event.parent_name.as_ref().map(|name| json!(**name)),
        ),
        ("name", Some(json!(*event.name))),
        ("exe", (!event.exe.is_empty()).then(|| json!(*event.exe))),
        ("role", role),
        ("uid", facts.uid.map(Json::from)),
        ("user", facts.user.as_ref().map(|user| json!(**user))),
        ("unit", facts.unit().map(Json::from)),
        ("container", facts.container().map(Json::from)),
    ]);
    match &event.what {
        Happened::Life(what) => object.extend(life_json(what, boot)),
        Happened::Exec { was, arguments } => object.extend(known([
            ("previous_name", was.as_ref().map(|was| json!(**was))),
            (
                "arguments",
                arguments.as_ref().map(|arguments| json!(arguments.shown)),
            ),
        ])),
        Happened::Rename { was } => {
            object.extend(known([("previous_name", was.as_ref().map(|was| json!(**was)))]));
        }
    }
    Json::Object(object).to_string()
}

fn life_json(what: &What, boot: UnixClock) -> serde_json::Map<String, Json> {
    match what {
        What::Start { .. } => known([]),
        What::Exit {
            ending,
            lifetime,
            usage,
            peak_rss,
            settled,
            ..
        } => {
            let mut object = reason_keys(ending.reason());
            let sender = ending
                .killer()
                .map(|sender| json!({ "pid": sender.tgid.0, "name": sender.comm }));
            object.extend(known([
                ("sender", sender),
                ("lifetime_ns", lifetime.map(nanos)),
                ("cpu_time_ns", cpu_time(usage).map(Json::from)),
                ("peak_rss_bytes", peak_rss.map(Json::from)),
                ("settled", Some(json!(settled))),
            ]));
            object
        }
        What::Restart {
            kind,
            downtime,
            previous,
        } => known([
            ("kind", Some(json!(kind.name()))),
            ("downtime_ns", downtime.map(nanos)),
            (
                "previous",
                previous.as_deref().map(|previous| {
                    previous_json(words::previous(previous), Some(boot.unix(previous.key.start)))
                }),
            ),
        ]),
    }
}

fn nanos(length: Duration) -> Json {
    json!(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
