//! `kevmon why`: the story of a process, from the history: who started it, what it executed, what it used, how it ended and by
//! whom, what took its place and after how long.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};

use super::{
    Exit,
    history::{self, rows_json},
    local_time::{self, Local},
    output,
    story::{Life, lives, meant},
    terminal,
};
use crate::{
    cli::WhyArgs,
    export::{Column, Line, Page, Piece, Precision, Table, Tone, death, span},
    process::{BootTime, Reason, Tgid},
    procfs,
    shown::{self, printable},
    store::{Event, History, HistoryRow, Outage},
    users,
};

/// Earlier lives that are listed.
const EARLIER: usize = 10;
/// Names that are offered where none fits.
const OFFERED: usize = 10;
/// An end that an outage hid is told when kevmon is back, or so long after that.
const FOUND_WITHIN: u64 = 5_000_000_000;
/// The clock that starts are told by may have been set meanwhile, by so much.
const SET: u64 = 2_000_000_000;

/// Prints the story.
///
/// # Errors
/// There is no store that can be read.
pub(super) fn run(args: &WhyArgs) -> Result<Exit> {
    let Some((history, path)) = history::read(args.metadata_db_path.as_deref(), args.plugin.as_deref())?
    else {
        return Ok(Exit::Usage);
    };
    let (found, workers) = meant(lives(&history), &args.process);
    let Some((last, earlier)) = found.split_last() else {
        shown::complain(not_found(&args.process, &history, &path));
        return Ok(Exit::NothingFound);
    };
    if args.json {
        let rows = found.iter().flat_map(rows_of);
        output::print(&shown::json(&rows_json(rows))).context("standard output")?;
        return Ok(Exit::Success);
    }
    let teller = Teller {
        now: output::unix_now(),
        booted: output::boot_clock().unix(BootTime(0)),
        outages: &history.outages,
        date: &local_time::date,
        user: &|uid| users::by_uid(uid).map(|entry| entry.name),
        present: &present,
    };
    let mut page = teller.tell(last, earlier);
    if workers > 0 {
        page.gap();
        let count = match workers {
            1 => "1 worker of theirs is".to_owned(),
            more => format!("{more} workers of theirs are"),
        };
        let text = format!("{count} not listed; `kevmon why PID` tells of one");
        page.line(0, Tone::Faint, text);
    }
    output::print_painted(&page.paint(terminal::look(args.paint.color))).context("standard output")?;
    Ok(Exit::Success)
}

/// The rows of a life in the order of time.
fn rows_of<'a>(life: &Life<'a>) -> Vec<&'a HistoryRow> {
    let mut rows: Vec<&HistoryRow> = [life.start, life.took, life.exit, life.replaced]
        .into_iter()
        .flatten()
        .collect();
    rows.sort_by_key(|row| row.time);
    rows
}

/// A process that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Present {
    /// When it started, ns since boot.
    start: BootTime,
    name: String,
    rss: Option<u64>,
}

fn present(pid: Tgid) -> Option<Present> {
    let root = Path::new("/proc");
    let key = procfs::key_of(root, pid)?;
    let identity = procfs::identity(root, key).ok()?;
    Some(Present {
        start: key.start,
        name: identity.name().to_owned(),
        rss: procfs::resident(root, key),
    })
}

/// What to say of a process that the history does not know.
fn not_found(asked: &str, history: &History, path: &Path) -> String {
    let asked = printable(asked);
    let lists = "`kevmon history` lists what it knows";
    if let Ok(pid) = asked.parse() {
        let now = present(Tgid(pid)).map_or_else(
            || "no process has it now either".to_owned(),
            |present| {
                format!(
                    "the one that has it now, {}, fits no plugin: watch it with a plugin, or look at it with `kevmon --run-once \
                     --process-name {}`",
                    printable(&present.name),
                    printable(&regex::escape(&present.name))
                )
            },
        );
        return format!(
            "why {asked}: the history of {} knows no process with this pid; {now}; {lists}",
            path.display()
        );
    }
    let mut names: Vec<String> = Vec::new();
    for row in history.rows.iter().rev() {
        let name = printable(&row.name).into_owned();
        if names.len() < OFFERED && !names.contains(&name) {
            names.push(name);
        }
    }
    let known = if names.is_empty() {
        "it knows none yet".to_owned()
    } else {
        format!("the latest that it knows: {}", names.join(", "))
    };
    format!(
        "why {asked}: the history of {} knows no process of this name; {known}; only what a plugin watches is in it",
        path.display()
    )
}

/// Tells lives; what it cannot know by itself comes in.
struct Teller<'a> {
    /// Unix ns.
    now: u64,
    /// When the host booted, Unix ns.
    booted: u64,
    outages: &'a [Outage],
    date: &'a dyn Fn(u64) -> Local,
    user: &'a dyn Fn(u32) -> Option<String>,
    present: &'a dyn Fn(Tgid) -> Option<Present>,
}

/// Where values begin.
const VALUES: usize = 12;

impl Teller<'_> {
    fn tell(&self, life: &Life<'_>, earlier: &[Life<'_>]) -> Page {
        let mut page = Page::default();
        self.head(&mut page, life);
        for (label, value) in [
            ("started", self.started(life)),
            ("ran", ran(life)),
            ("used", self.used(life)),
            ("ended", self.ended(life)),
            ("replaced", self.replaced(life)),
        ] {
            if value.is_empty() {
                continue;
            }
            let mut line = Line::indented(2);
            line.add(Tone::Faint, label).pad(VALUES).hang();
            for piece in value {
                line.push(piece);
            }
            page.push(line);
        }
        self.earlier(&mut page, earlier);
        page
    }

    fn head(&self, page: &mut Page, life: &Life<'_>) {
        let mut line = Line::default();
        line.add(Tone::Strong, format!("{} (pid {})", life.name, life.pid));
        let mut place = vec![format!("plugin {}", life.group.plugin)];
        place.extend(
            life.user
                .map(|uid| format!("user {}", (self.user)(uid).unwrap_or_else(|| uid.to_string()))),
        );
        line.add(Tone::Faint, format!(", {}", place.join(", ")));
        page.push(line);
        if self.is_of_another_boot(life) {
            let booted = (self.date)(self.booted);
            let text = format!(
                "before the boot of {} {}: whoever has this pid now is another process",
                booted.text, booted.zone
            );
            page.line(2, Tone::Warning, text);
        }
    }

    fn is_of_another_boot(&self, life: &Life<'_>) -> bool {
        life.start_time
            .is_none_or(|start| start.saturating_add(SET) < self.booted)
    }

    /// The process, where it lives.
    fn present(&self, life: &Life<'_>) -> Option<Present> {
        let start = life.start_time.filter(|_| life.exit.is_none())?;
        let present = (self.present)(life.pid)?;
        let is_it = start.abs_diff(self.booted.saturating_add(present.start.0)) < SET;
        is_it.then_some(present)
    }

    fn when(&self, unix: u64) -> String {
        let Local { text, zone } = (self.date)(unix);
        let ago = Duration::from_nanos(self.now.saturating_sub(unix));
        format!("{text} {zone}, {} ago", span(ago))
    }

    fn started(&self, life: &Life<'_>) -> Vec<Piece> {
        let mut text = match (life.start, life.start_time) {
            (Some(row), _) => self.when(row.time),
            (None, Some(start)) => format!("{}, before kevmon watched it", self.when(start)),
            (None, None) => "not known: before a boot that is over".to_owned(),
        };
        let parent = life.start.and_then(|row| row.details.parent.as_ref());
        if let Some(parent) = parent {
            let name = parent.name.as_deref().map_or_else(
                || " (it had ended before its name could be read)".to_owned(),
                |name| format!(" ({name})"),
            );
            text += &format!(", by {}{name}", parent.pid);
        }
        let mut pieces = vec![plain(text)];
        if let Some(Event::Restart {
            downtime,
            previous: Some(previous),
            ..
        }) = life.took.map(|row| &row.event)
        {
            let sender = previous.sender.as_ref();
            let how = death(previous.reason, sender.map(|(pid, comm)| (*pid, comm.as_str())));
            let after = downtime.or(previous.ago).map_or_else(
                || "it is not known how long before".to_owned(),
                |ago| format!("{} before", span(Duration::from_nanos(ago))),
            );
            pieces.push(plain(format!(
                "; it took the place of {} ({}), which ended {after}: ",
                previous.pid, previous.name
            )));
            pieces.push(Piece::new(tone(previous.reason), how));
        }
        pieces
    }

    fn used(&self, life: &Life<'_>) -> Vec<Piece> {
        if let Some(present) = self.present(life) {
            let rss = present
                .rss
                .map_or_else(|| "not known".to_owned(), |bytes| Precision::Human.bytes(bytes));
            return vec![plain(format!(
                "RSS {rss} now; the rest is told when it has ended"
            ))];
        }
        let Some(row) = life.exit else {
            return Vec::new();
        };
        let at_least = if row.details.settled == Some(false) {
            "≥"
        } else {
            ""
        };
        let cpu = row
            .details
            .cpu
            .map(|cpu| format!("CPU {at_least}{}", span(Duration::from_nanos(cpu))));
        let peak = row
            .details
            .peak_rss
            .map(|bytes| format!("peak RSS {}", Precision::Human.bytes(bytes)));
        let known: Vec<String> = cpu.into_iter().chain(peak).collect();
        if known.is_empty() {
            vec![Piece::new(
                Tone::Warning,
                "not known: nobody saw it end, or an older kevmon wrote this row",
            )]
        } else {
            vec![plain(known.join(", "))]
        }
    }

    fn ended(&self, life: &Life<'_>) -> Vec<Piece> {
        let Some(row) = life.exit else {
            return match self.present(life) {
                Some(_) => vec![Piece::new(Tone::Good, "not yet: it runs")],
                None => vec![Piece::new(
                    Tone::Warning,
                    "not in the history, and it does not run under this name: it executed another program and left the plugin, \
                     or no kevmon watches it now (`kevmon status`)",
                )],
            };
        };
        let Event::Exit {
            reason,
            sender,
            lifetime,
            ..
        } = &row.event
        else {
            return Vec::new();
        };
        let after = lifetime
            .map(|lived| format!(", after {}", span(Duration::from_nanos(lived))))
            .unwrap_or_default();
        let mut pieces = vec![plain(format!("{}{after}: ", self.when(row.time)))];
        if *reason == Reason::Unknown {
            pieces.push(Piece::new(Tone::Warning, self.why_unknown(row.time)));
            return pieces;
        }
        let how = death(*reason, sender.as_ref().map(|(pid, comm)| (*pid, comm.as_str())));
        pieces.push(Piece::new(tone(*reason), how));
        if matches!(reason, Reason::Signal { .. }) && sender.is_none() {
            pieces.push(plain(
                ", sent by no process: by the kernel, a timer or a terminal",
            ));
        }
        pieces
    }

    /// Why nobody knows how it ended.
    fn why_unknown(&self, time: u64) -> String {
        let hid = |outage: &&Outage| (outage.from..=outage.to.saturating_add(FOUND_WITHIN)).contains(&time);
        match self.outages.iter().rev().find(hid) {
            Some(outage) if outage.same_boot => format!(
                "how is not known: kevmon was away for {} until then",
                span(Duration::from_nanos(outage.to.saturating_sub(outage.from)))
            ),
            Some(_) => "how is not known: the host booted while kevmon was away".to_owned(),
            None => "how is not known: it was found gone".to_owned(),
        }
    }

    fn replaced(&self, life: &Life<'_>) -> Vec<Piece> {
        let Some(row) = life.replaced else {
            return match life.exit {
                Some(_) => vec![plain("by none that the history knows of")],
                None => Vec::new(),
            };
        };
        let Event::Restart { downtime, .. } = &row.event else {
            return Vec::new();
        };
        let after = downtime.map_or_else(
            || ", it is not known how much later".to_owned(),
            |down| format!(", {} later", span(Duration::from_nanos(down))),
        );
        vec![plain(format!("by {} ({}){after}", row.pid, row.name))]
    }

    fn earlier(&self, page: &mut Page, earlier: &[Life<'_>]) {
        if earlier.is_empty() {
            return;
        }
        page.gap();
        let more = earlier.len().saturating_sub(EARLIER);
        let title = if more > 0 {
            format!("before it, the latest {EARLIER} of {}", earlier.len())
        } else {
            "before it".to_owned()
        };
        page.line(0, Tone::Strong, title);
        let zone = (self.date)(self.now).zone;
        let started = format!("STARTED ({zone})");
        let columns = [
            ("PID", true),
            (started.as_str(), false),
            ("LIVED", true),
            ("CPU", true),
            ("PEAK", true),
            ("NAME", false),
            ("ENDED", false),
        ];
        let mut table = Table::new(&columns.map(|(title, is_right)| Column { title, is_right }));
        for life in earlier.iter().skip(more) {
            table.row(self.row(life, &zone));
        }
        table.put(page, 2);
    }

    fn row(&self, life: &Life<'_>, zone: &str) -> Vec<Piece> {
        let started = life.start_time.map_or_else(
            || "before another boot".to_owned(),
            |start| {
                let Local { text, zone: own } = (self.date)(start);
                if own == zone {
                    text
                } else {
                    format!("{text} {own}")
                }
            },
        );
        let (mut lived, mut how) = (None, Piece::new(Tone::Plain, "not in the history"));
        if self.present(life).is_some() {
            how = Piece::new(Tone::Good, "it runs");
        }
        if let Some(Event::Exit {
            reason,
            sender,
            lifetime,
            ..
        }) = life.exit.map(|row| &row.event)
        {
            lived = *lifetime;
            let sender = sender.as_ref().map(|(pid, comm)| (*pid, comm.as_str()));
            how = Piece::new(tone(*reason), death(*reason, sender));
        }
        let length = |nanos: Option<u64>| {
            plain(nanos.map_or_else(|| "-".to_owned(), |nanos| span(Duration::from_nanos(nanos))))
        };
        let details = life.exit.map(|row| &row.details);
        let peak = details.and_then(|details| details.peak_rss);
        vec![
            plain(life.pid.to_string()),
            plain(started),
            length(lived),
            length(details.and_then(|details| details.cpu)),
            plain(peak.map_or_else(|| "-".to_owned(), |bytes| Precision::Human.bytes(bytes))),
            plain(life.name),
            how,
        ]
    }
}

fn plain(text: impl AsRef<str>) -> Piece {
    Piece::new(Tone::Plain, text)
}

fn tone(reason: Reason) -> Tone {
    match reason {
        Reason::Exit { code: 0 } => Tone::Plain,
        Reason::Exit { .. } | Reason::Unknown => Tone::Warning,
        Reason::Signal { .. } | Reason::Oom => Tone::Bad,
    }
}

/// The programs that it executed, in their order.
fn ran(life: &Life<'_>) -> Vec<Piece> {
    let of_exit = life
        .exit
        .map(|row| row.details.programs.as_slice())
        .unwrap_or_default();
    let exe = life.start.and_then(|row| row.details.exe.as_deref());
    let mut text = match (of_exit, exe) {
        ([], None) => return Vec::new(),
        ([], Some(exe)) => exe.to_owned(),
        (programs, _) => programs.join(", then "),
    };
    match life.reexecs {
        0 => {}
        1 => text += "; it executed its program again once, in place",
        times => text += &format!("; it executed its program again {times} times, in place"),
    }
    vec![plain(text)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        app::story::tests::{NOW, SECOND, exit, history, restart, row, start},
        export::Look,
    };

    fn date(unix: u64) -> Local {
        let text = crate::export::iso8601_millis(unix);
        Local {
            text: text.trim_end_matches('Z').replace('T', " "),
            zone: "UTC".to_owned(),
        }
    }

    /// Told 100 s after the first row; the host had booted an hour before that.
    fn told(history: &History, asked: &str, runs: Option<u32>, width: Option<usize>) -> String {
        const BOOTED: u64 = NOW - 3_600 * SECOND;
        let teller = Teller {
            now: NOW + 100 * SECOND,
            booted: BOOTED,
            outages: &history.outages,
            date: &date,
            user: &|uid| (uid == 33).then(|| "www-data".to_owned()),
            present: &|pid| {
                let is_it = runs == Some(pid.0);
                let start = history.rows.iter().rfind(|row| row.pid == pid)?.start_time?;
                is_it.then(|| Present {
                    start: BootTime(start - BOOTED),
                    name: "shop-web".to_owned(),
                    rss: Some(5 << 20),
                })
            },
        };
        let (found, _) = meant(lives(history), asked);
        let (last, earlier) = found.split_last().expect("it is known");
        let look = Look {
            colours: false,
            width,
        };
        teller.tell(last, earlier).paint(look).as_str().to_owned()
    }

    const CODE_7: Reason = Reason::Exit { code: 7 };
    const KILLED: Reason = Reason::Signal {
        number: 9,
        core_dumped: false,
    };

    fn story() -> History {
        history(vec![
            start(0, 100),
            exit(10, 100, Some(0), CODE_7),
            start(11, 101),
            restart(11, 101, (100, 0), CODE_7),
            exit(20, 101, Some(11), KILLED),
            start(21, 102),
            restart(21, 102, (101, 11), KILLED),
        ])
    }

    #[test]
    fn a_story_by_pid_and_by_name() {
        insta::assert_snapshot!("killed", told(&story(), "101", Some(102), Some(80)));
        insta::assert_snapshot!("by_name", told(&story(), "shop-web", Some(102), Some(120)));
        insta::assert_snapshot!("gone_untold", told(&story(), "102", None, Some(80)));
    }

    #[test]
    fn what_is_not_known_is_said_with_the_reason() {
        let mut away = history(vec![
            row(
                5,
                7,
                Some(0),
                "shop-web",
                Event::Exit {
                    worker: false,
                    reason: Reason::Unknown,
                    sender: None,
                    lifetime: None,
                },
            ),
            exit(6, 8, None, Reason::Unknown),
        ]);
        away.outages = vec![Outage {
            from: NOW,
            to: NOW + 5 * SECOND,
            same_boot: true,
        }];
        insta::assert_snapshot!("unknown_end", told(&away, "7", None, Some(120)));
        insta::assert_snapshot!("another_boot", told(&away, "8", None, Some(120)));
    }

    #[test]
    fn a_crash_loop_is_a_table() {
        let mut rows = Vec::new();
        for round in 0..14 {
            rows.push(start(2 * round, 200 + round as u32));
            let reason = if round % 3 == 0 { KILLED } else { CODE_7 };
            rows.push(exit(2 * round + 1, 200 + round as u32, Some(2 * round), reason));
        }
        insta::assert_snapshot!(told(&history(rows), "shop-web", None, None));
    }

    #[test]
    fn who_is_not_there_is_said_with_the_remedy() {
        let path = Path::new("/state.db");
        let by_name = not_found("no\u{1b}body", &story(), path);
        assert_eq!(
            by_name,
            "why no\\u{1b}body: the history of /state.db knows no process of this name; the latest that it knows: shop-web; \
             only what a plugin watches is in it"
        );
        let by_pid = not_found("4294967295", &story(), path);
        assert!(
            by_pid.contains("knows no process with this pid; no process has it now either")
                && by_pid.contains("kevmon history"),
            "{by_pid}"
        );
        let alive = not_found(&std::process::id().to_string(), &story(), path);
        assert!(
            alive.contains("fits no plugin") && alive.contains("--process-name"),
            "{alive}"
        );
        let none = not_found("x", &History::default(), path);
        assert!(none.contains("it knows none yet"), "{none}");
    }
}
