//! The restart history: what happened to each group's processes, the newest rows of each group kept.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    path::Path,
    sync::Arc,
};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{
    claim,
    columns::{optional, parse_reason, reason_numbers, unsigned},
    details::Details,
    error::{Doing, StoreError},
    files,
    groups::for_each,
    identities::text,
    open,
};
use crate::{
    plugin::{Notice, RestartKind, SavedGroup, What, shares},
    process::{BootTime, Ending, Reason, Tgid},
};

/// Rows kept of each group; its users share them.
pub const KEPT: usize = 1_000;

/// Outages kept.
pub(super) const OUTAGES_KEPT: usize = 1_000;

/// A group's name in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupKey {
    /// The plugin's name: what `kevmon history --plugin` selects by.
    pub plugin: String,
    /// Tells groups apart: accumulators are given back under the same key only.
    pub key: String,
}

/// What happened, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A process appeared.
    Start {
        /// Its parent is a member.
        worker: bool,
    },
    /// A process ended.
    Exit {
        /// Its parent was a member.
        worker: bool,
        /// Why.
        reason: Reason,
        /// Who sent the signal that it died of, where a process did: pid and `comm`.
        sender: Option<(Tgid, String)>,
        /// From its start to its end, ns; `None` when the end was not seen.
        lifetime: Option<u64>,
    },
    /// A process took the place of another one, or of itself.
    Restart {
        /// How.
        kind: RestartKind,
        /// Without a root in between, ns.
        downtime: Option<u64>,
        /// The root that ended; `None` for [`RestartKind::Reexec`], and in rows of kevmons that did not keep it.
        previous: Option<Box<PreviousRow>>,
    },
}

/// A root whose place another one took, as a restart's row keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousRow {
    /// Its thread-group id.
    pub pid: Tgid,
    /// When it started, Unix ns.
    pub start_time: Option<u64>,
    /// Its most telling name.
    pub name: String,
    /// Why it ended.
    pub reason: Reason,
    /// Who sent the signal that it died of, where a process did: pid and `comm`.
    pub sender: Option<(Tgid, String)>,
    /// From its end to its successor's start, ns; `None` when the end was not seen.
    pub ago: Option<u64>,
}

impl Event {
    /// `start`, `exit` or `restart`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::Exit { .. } => "exit",
            Self::Restart { .. } => "restart",
        }
    }
}

/// One row of the history. Times are Unix nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// Whose process.
    pub group: Arc<GroupKey>,
    /// When.
    pub time: u64,
    /// Its thread-group id.
    pub pid: Tgid,
    /// When it started; `None` where that was before another boot.
    pub start_time: Option<u64>,
    /// Its most telling name.
    pub name: String,
    /// Its effective user; `None` where that is not known.
    pub user: Option<u32>,
    /// What happened.
    pub event: Event,
    /// What else is known of the process.
    pub details: Details,
}

impl HistoryRow {
    /// The row that tells of `notice`; `unix` turns its times into Unix nanoseconds.
    pub fn of(notice: &Notice, group: &Arc<GroupKey>, unix: impl Fn(BootTime) -> u64) -> Self {
        let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let event = match &notice.what {
            What::Start { worker } => Event::Start { worker: *worker },
            What::Exit {
                ending,
                lifetime,
                worker,
                ..
            } => Event::Exit {
                worker: *worker,
                reason: ending.reason(),
                sender: killer(ending),
                lifetime: lifetime.map(nanos),
            },
            What::Restart {
                kind,
                downtime,
                previous,
            } => Event::Restart {
                kind: *kind,
                downtime: downtime.map(nanos),
                previous: previous.as_deref().map(|previous| {
                    Box::new(PreviousRow {
                        pid: previous.key.tgid,
                        start_time: Some(unix(previous.key.start)),
                        name: previous.name.to_string(),
                        reason: previous.ending.reason(),
                        sender: killer(&previous.ending),
                        ago: previous.ago.map(nanos),
                    })
                }),
            },
        };
        Self {
            group: Arc::clone(group),
            time: unix(notice.time),
            pid: notice.key.tgid,
            start_time: Some(unix(notice.key.start)),
            name: notice.name.to_string(),
            user: notice.user,
            event,
            details: Details::of(notice),
        }
    }
}

impl HistoryRow {
    /// The rows of members that a group had when it was kept last, under another boot, and that are closed now, at `time`:
    /// when they had started, nobody can say. Nor why they ended, unless their ends were counted and not told.
    pub fn of_closed(group: &Arc<GroupKey>, saved: &SavedGroup, time: u64) -> Vec<Self> {
        let closed = saved
            .members
            .iter()
            .filter(|member| !member.ended && !member.former)
            .map(|member| (member, None));
        let untold = saved.untold_exits.iter().filter_map(|exit| {
            let member = saved.members.iter().find(|member| member.key == exit.key)?;
            Some((member, Some(exit)))
        });
        closed
            .chain(untold)
            .map(|(member, exit)| Self {
                group: Arc::clone(group),
                time,
                pid: member.key.tgid,
                start_time: None,
                name: member.name.to_string(),
                user: member.user,
                event: Event::Exit {
                    worker: !member.root,
                    reason: exit.map_or(Reason::Unknown, |exit| exit.ending.reason()),
                    sender: exit.and_then(|exit| killer(&exit.ending)),
                    lifetime: exit.map(|exit| exit.time.0.saturating_sub(exit.key.start.0)),
                },
                details: Details::default(),
            })
            .collect()
    }
}

fn killer(ending: &Ending) -> Option<(Tgid, String)> {
    ending.killer().map(|sender| (sender.tgid, sender.comm.clone()))
}

/// A time in which kevmon was away. Unix nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// The last commit before it.
    pub from: u64,
    /// The start after it; before `from` when the clock was set back in between.
    pub to: u64,
    /// The host did not boot in between.
    pub same_boot: bool,
}

/// What the store remembers, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// What happened, in the order in which it was stored.
    pub rows: Vec<HistoryRow>,
    /// When kevmon was away.
    pub outages: Vec<Outage>,
    /// The plugins that the store knows, by name; each once.
    pub plugins: BTreeSet<String>,
}

/// Number and sum, ns, of the outages.
pub(super) fn outages(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let sum = "SELECT count(*), coalesce(sum(max(to_time - from_time, 0)), 0) FROM outage";
    connection.query_row(sum, [], |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))
}

/// The outage before the last run.
pub(super) fn last_outage(connection: &Connection) -> rusqlite::Result<Option<Outage>> {
    let last = "SELECT from_time, to_time, same_boot FROM outage ORDER BY id DESC LIMIT 1";
    connection
        .query_row(last, [], |row| {
            Ok(Outage {
                from: unsigned(row, 0)?,
                to: unsigned(row, 1)?,
                same_boot: row.get(2)?,
            })
        })
        .optional()
}

/// Adds `rows` of one group, and deletes those of it that are too many.
pub(super) fn write(
    transaction: &Transaction<'_>,
    id: i64,
    rows: &VecDeque<HistoryRow>,
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO history (group_id, time, pid, start_time, name, event, worker, restart_kind, reason, code, signal,
             core_dumped, sender_pid, sender_comm, lifetime_ns, downtime_ns, previous_pid, previous_start_time,
             previous_name, previous_ago_ns, uid, parent_pid, parent_name, exe, programs, cpu_time_ns, peak_rss_bytes,
             settled)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
             ?24, ?25, ?26, ?27, ?28)",
    )?;
    for row in rows {
        let (mut worker, mut kind, mut reason, mut sender, mut lifetime, mut downtime, mut old) =
            (None, None, None, None, None, None, None);
        match &row.event {
            Event::Start { worker: is_worker } => worker = Some(*is_worker),
            Event::Exit {
                worker: was_worker,
                reason: why,
                sender: by,
                lifetime: lived,
            } => {
                worker = Some(*was_worker);
                reason = Some(*why);
                sender = by.as_ref();
                lifetime = *lived;
            }
            Event::Restart {
                kind: how,
                downtime: down,
                previous,
            } => {
                kind = Some(how.name());
                downtime = *down;
                // How the old process ended stands in the columns of an exit.
                old = previous.as_deref();
                reason = old.map(|old| old.reason);
                sender = old.and_then(|old| old.sender.as_ref());
            }
        }
        let details = &row.details;
        let parent = details.parent.as_ref();
        let (number, core_dumped) = reason.map_or((None, None), reason_numbers);
        let is_signal = matches!(reason, Some(Reason::Signal { .. }));
        insert.execute(params![
            id,
            row.time.cast_signed(),
            row.pid.0,
            row.start_time.map(u64::cast_signed),
            row.name,
            row.event.name(),
            worker,
            kind,
            reason.map(Reason::name),
            number.filter(|_| !is_signal),
            number.filter(|_| is_signal),
            core_dumped,
            sender.map(|(pid, _)| pid.0),
            sender.map(|(_, comm)| comm),
            lifetime.map(u64::cast_signed),
            downtime.map(u64::cast_signed),
            old.map(|old| old.pid.0),
            old.and_then(|old| old.start_time).map(u64::cast_signed),
            old.map(|old| &old.name),
            old.and_then(|old| old.ago).map(u64::cast_signed),
            row.user,
            parent.map(|parent| parent.pid.0),
            parent.and_then(|parent| parent.name.as_deref()),
            details.exe,
            details.programs_text(),
            details.cpu.map(u64::cast_signed),
            details.peak_rss.map(u64::cast_signed),
            details.settled,
        ])?;
    }
    trim(transaction, id)
}

/// Deletes what a group has beyond [`KEPT`] rows, as [`shares::latest`] says: whoever may start processes can have any number
/// of rows under a service's name, and costs no other user's rows.
fn trim(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<()> {
    let rows: i64 = transaction
        .prepare_cached("SELECT count(*) FROM history WHERE group_id = ?1")?
        .query_row([id], |row| row.get(0))?;
    let surplus = rows - KEPT as i64;
    if surplus > 0 {
        transaction
            .prepare_cached(
                "DELETE FROM history WHERE id IN (
                     SELECT id FROM (
                         SELECT id, row_number() OVER (PARTITION BY uid ORDER BY id DESC) AS nth
                         FROM history WHERE group_id = ?1
                     ) ORDER BY nth DESC, id LIMIT ?2
                 )",
            )?
            .execute([id, surplus])?;
    }
    Ok(())
}

/// The same of rows that are not written yet.
pub(super) fn trim_unwritten(rows: &mut VecDeque<HistoryRow>) {
    if rows.len() <= KEPT {
        return;
    }
    let mut kept = shares::latest(rows.iter().map(|row| row.user), KEPT)
        .into_iter()
        .peekable();
    let mut position = 0;
    rows.retain(|_| {
        let is_kept = kept.next_if_eq(&position).is_some();
        position += 1;
        is_kept
    });
}

/// Adds an outage, and deletes those that are too many.
pub(super) fn write_outage(transaction: &Transaction<'_>, outage: Outage) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO outage (from_time, to_time, same_boot) VALUES (?1, ?2, ?3)",
        params![
            outage.from.cast_signed(),
            outage.to.cast_signed(),
            outage.same_boot
        ],
    )?;
    transaction.execute(
        "DELETE FROM outage WHERE id <= (SELECT id FROM outage ORDER BY id DESC LIMIT 1 OFFSET ?1)",
        [OUTAGES_KEPT as i64],
    )?;
    Ok(())
}

/// Reads the history of one plugin, or of all, also while daemons write: of the daemon at `path`, and of those that have
/// databases of their own beside it.
///
/// # Errors
/// There is no store that this kevmon can read.
pub fn history(path: &Path, plugin: Option<&str>) -> Result<History, StoreError> {
    let base = files::existing_path(path)?;
    let mut all = history_of(&base, plugin)?;
    let mut known = BTreeSet::new();
    for set in claim::of_sets(&base) {
        let more = match history_of(&set, plugin) {
            // Claimed, and not written yet.
            Err(StoreError::Missing { .. }) => continue,
            more => more?,
        };
        if known.is_empty() {
            known.extend(all.rows.iter().map(place));
        }
        // A database that was begun with rows of another one shares them with it.
        all.rows
            .extend(more.rows.into_iter().filter(|row| known.insert(place(row))));
        all.outages.extend(
            more.outages
                .iter()
                .filter(|outage| !all.outages.contains(outage))
                .copied()
                .collect::<Vec<_>>(),
        );
        all.plugins.extend(more.plugins);
    }
    Ok(all)
}

/// What makes a row of the history the same as another one.
fn place(row: &HistoryRow) -> (u64, u32, &'static str, String) {
    (row.time, row.pid.0, row.event.name(), row.group.key.clone())
}

fn history_of(path: &Path, plugin: Option<&str>) -> Result<History, StoreError> {
    let connection = open::read_only(path)?;
    let doing = Doing {
        path,
        what: "read the history",
    };
    // What a commit adds in between is seen by both queries or by neither.
    connection
        .execute_batch("BEGIN")
        .map_err(|error| doing.sqlite(error))?;
    let mut history = History::default();
    read_rows(&connection, plugin, doing, &mut history)?;
    let outages = "SELECT from_time, to_time, same_boot FROM outage ORDER BY id";
    for_each(&connection, outages, doing, |row| {
        history.outages.push(Outage {
            from: unsigned(row, 0)?,
            to: unsigned(row, 1)?,
            same_boot: row.get(2)?,
        });
        Ok(())
    })?;
    Ok(history)
}

fn read_rows(
    connection: &Connection,
    plugin: Option<&str>,
    doing: Doing<'_>,
    into: &mut History,
) -> Result<(), StoreError> {
    let mut groups: HashMap<i64, Arc<GroupKey>> = HashMap::new();
    for_each(
        connection,
        "SELECT id, plugin, key FROM watched_group",
        doing,
        |row| {
            let group = GroupKey {
                plugin: text(row, 1)?,
                key: text(row, 2)?,
            };
            into.plugins.insert(group.plugin.clone());
            if plugin.is_none_or(|plugin| plugin == group.plugin) {
                groups.insert(row.get(0)?, Arc::new(group));
            }
            Ok(())
        },
    )?;
    let mut wrong = None;
    let sql =
        "SELECT group_id, time, pid, start_time, name, event, worker, restart_kind, reason, code, signal,
                   core_dumped, sender_pid, sender_comm, lifetime_ns, downtime_ns, previous_pid, previous_start_time,
                   previous_name, previous_ago_ns, uid, parent_pid, parent_name, exe, programs, cpu_time_ns, peak_rss_bytes,
                   settled
               FROM history ORDER BY id";
    for_each(connection, sql, doing, |row| {
        if let Some(group) = groups.get(&row.get(0)?) {
            match event(row)? {
                Some(event) => into.rows.push(HistoryRow {
                    group: Arc::clone(group),
                    time: unsigned(row, 1)?,
                    pid: Tgid(row.get(2)?),
                    start_time: optional(row, 3)?,
                    name: text(row, 4)?,
                    user: row.get(20)?,
                    event,
                    details: Details::read(row)?,
                }),
                None => wrong = Some(doing.damaged("a row of the history that no kevmon wrote")),
            }
        }
        Ok(())
    })?;
    wrong.map_or(Ok(()), Err)
}

/// `None` for what no kevmon wrote.
fn event(row: &Row<'_>) -> rusqlite::Result<Option<Event>> {
    let worker: Option<bool> = row.get(6)?;
    Ok(match (text(row, 5)?.as_str(), worker) {
        ("start", Some(worker)) => Some(Event::Start { worker }),
        ("exit", Some(worker)) => {
            let (sender, lifetime) = (sender(row)?, optional(row, 14)?);
            reason(row)?.map(|reason| Event::Exit {
                worker,
                reason,
                sender,
                lifetime,
            })
        }
        ("restart", _) => {
            let downtime = optional(row, 15)?;
            let kind = [RestartKind::Respawn, RestartKind::Reexec];
            let name = text(row, 7)?;
            let previous = previous(row)?.map(Box::new);
            kind.into_iter()
                .find(|kind| kind.name() == name)
                .map(|kind| Event::Restart {
                    kind,
                    downtime,
                    previous,
                })
        }
        _ => None,
    })
}

/// Why a process ended; `None` for what no kevmon wrote.
fn reason(row: &Row<'_>) -> rusqlite::Result<Option<Reason>> {
    let (code, signal): (Option<u8>, Option<u8>) = (row.get(9)?, row.get(10)?);
    Ok(parse_reason(&text(row, 8)?, code.or(signal), row.get(11)?))
}

fn sender(row: &Row<'_>) -> rusqlite::Result<Option<(Tgid, String)>> {
    let pid: Option<u32> = row.get(12)?;
    let comm = row.get::<_, Option<String>>(13)?.unwrap_or_default();
    Ok(pid.map(|pid| (Tgid(pid), comm)))
}

/// The root whose place another one took; `None` where the row does not say.
fn previous(row: &Row<'_>) -> rusqlite::Result<Option<PreviousRow>> {
    let Some(pid) = row.get(16)? else {
        return Ok(None);
    };
    Ok(Some(PreviousRow {
        pid: Tgid(pid),
        start_time: optional(row, 17)?,
        name: text(row, 18)?,
        reason: reason(row)?.unwrap_or(Reason::Unknown),
        sender: sender(row)?,
        ago: optional(row, 19)?,
    }))
}
