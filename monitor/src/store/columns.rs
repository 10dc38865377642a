//! Rows of the groups' tables and the types that they stand for.

use std::sync::{Arc, LazyLock};

use rusqlite::{
    Row,
    types::{Value, ValueRef},
};

use super::identities::text;
use crate::{
    plugin::{Durations, Programs, SavedGroup, SavedMember, durations::BOUNDS, reading::Happened},
    process::{BootTime, Counter, Ending, ProcessKey, Program, Reason, Sender, Tgid, Usage},
};

/// The sums, in the order of their columns, and the columns' names.
const SUMS: [(Counter, &str); 10] = [
    (Counter::Runtime, "runtime_ns"),
    (Counter::User, "user_ns"),
    (Counter::System, "system_ns"),
    (Counter::RunDelay, "run_delay_ns"),
    (Counter::Voluntary, "voluntary"),
    (Counter::Involuntary, "involuntary"),
    (Counter::MinorFaults, "minor_faults"),
    (Counter::MajorFaults, "major_faults"),
    (Counter::ReadBytes, "read_bytes"),
    (Counter::WriteBytes, "write_bytes"),
];

/// In the order in which [`accumulator_values`] gives them.
const ACCUMULATOR: [&str; 19] = [
    "watch_start",
    "usage_start",
    "starts",
    "worker_starts",
    "respawns",
    "reexecs",
    "unpaired_starts",
    "failed_starts",
    "exits",
    "joins",
    "leaves",
    "given_up",
    "downtime_sum_ns",
    "downtime_last_ns",
    "lifetime_sum_ns",
    "lifetime_last_ns",
    "last_start",
    "last_exit",
    "peak_rss_bytes",
];

/// Of a root, in the order in which [`program_values`] gives them; all NULL where nothing is kept of its programs.
const PROGRAMS: [&str; 6] = [
    "first_executable",
    "first_script",
    "first_fallback",
    "executable",
    "script",
    "fallback",
];

const MEMBER_KEY: &str = "group_id, tgid, start_boottime_ns";

/// Statements that name many columns.
pub(super) struct Sql {
    pub(super) select_accumulators: String,
    pub(super) upsert_accumulator: String,
    pub(super) select_members: String,
    pub(super) upsert_member: String,
}

pub(super) static SQL: LazyLock<Sql> = LazyLock::new(|| {
    let sums = |prefix: &str| SUMS.map(|(_, name)| format!("{prefix}{name}"));
    let mut accumulator: Vec<String> = vec!["group_id".to_owned()];
    accumulator.extend(ACCUMULATOR.map(str::to_owned));
    accumulator.extend(sums("left_"));
    let mut member: Vec<String> = MEMBER_KEY.split(", ").map(str::to_owned).collect();
    member.extend(["name", "exe", "root", "executed", "ended", "former"].map(str::to_owned));
    member.extend(PROGRAMS.map(str::to_owned));
    for prefix in ["base_", "total_", "attributed_"] {
        member.extend(sums(prefix));
    }
    member.extend(["series", "uid"].map(str::to_owned));
    Sql {
        select_accumulators: format!("SELECT {} FROM accumulator", accumulator.join(", ")),
        upsert_accumulator: upsert("accumulator", &accumulator, "group_id"),
        select_members: format!("SELECT {} FROM member", member.join(", ")),
        upsert_member: upsert("member", &member, MEMBER_KEY),
    }
});

fn upsert(table: &str, columns: &[String], key: &str) -> String {
    let values: Vec<String> = (1..=columns.len()).map(|number| format!("?{number}")).collect();
    let updates: Vec<String> = columns
        .iter()
        .filter(|column| key.split(", ").all(|key| key != column.as_str()))
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    format!(
        "INSERT INTO {table} ({}) VALUES ({}) ON CONFLICT ({key}) DO UPDATE SET {}",
        columns.join(", "),
        values.join(", "),
        updates.join(", ")
    )
}

/// Of the buckets, as they stand in `duration_bucket`.
pub(super) fn bounds() -> impl Iterator<Item = i64> {
    BOUNDS
        .into_iter()
        .map(u64::cast_signed)
        .chain(std::iter::once(i64::MAX))
}

/// `number` and `core_dumped` as columns.
pub(super) fn reason_numbers(reason: Reason) -> (Option<u8>, Option<bool>) {
    match reason {
        Reason::Exit { code } => (Some(code), None),
        Reason::Signal { number, core_dumped } => (Some(number), Some(core_dumped)),
        Reason::Oom | Reason::Unknown => (None, None),
    }
}

/// The opposite of [`reason_numbers`] and [`Reason::name`].
pub(super) fn parse_reason(name: &str, number: Option<u8>, core_dumped: Option<bool>) -> Option<Reason> {
    match (name, number, core_dumped) {
        ("exit", Some(code), None) => Some(Reason::Exit { code }),
        ("signal", Some(number), Some(core_dumped)) => Some(Reason::Signal { number, core_dumped }),
        ("oom", None, None) => Some(Reason::Oom),
        ("unknown", None, None) => Some(Reason::Unknown),
        _ => None,
    }
}

fn usage_values(usage: &Usage) -> [Option<i64>; SUMS.len()] {
    SUMS.map(|(counter, _)| usage.get(counter).map(u64::cast_signed))
}

/// A row of `accumulator`.
pub(super) fn accumulator_values(id: i64, group: &SavedGroup) -> Vec<Option<i64>> {
    let happened = &group.happened;
    let known = [
        group.watch_start,
        group.usage_start,
        happened.starts,
        happened.worker_starts,
        happened.respawns,
        happened.reexecs,
        happened.unpaired_starts,
        happened.failed_starts,
        happened.exits,
        happened.joins,
        happened.leaves,
        group.given_up,
    ];
    let rest = [
        Some(group.downtime.sum),
        group.downtime.last,
        Some(group.lifetime.sum),
        group.lifetime.last,
        group.last_start,
        group.last_exit,
        group.peak_rss,
    ];
    let mut values = vec![Some(id)];
    values.extend(known.map(|value| Some(value.cast_signed())));
    values.extend(rest.map(|value| value.map(u64::cast_signed)));
    values.extend(usage_values(&group.left_behind));
    values
}

/// A group without what other tables hold of it.
pub(super) fn accumulator(row: &Row<'_>) -> rusqlite::Result<SavedGroup> {
    let value = |column: usize| unsigned(row, column);
    let durations = |sum: usize| {
        Ok::<_, rusqlite::Error>(Durations {
            sum: value(sum)?,
            last: optional(row, sum + 1)?,
            ..Durations::default()
        })
    };
    Ok(SavedGroup {
        watch_start: value(1)?,
        usage_start: value(2)?,
        happened: Happened {
            starts: value(3)?,
            worker_starts: value(4)?,
            respawns: value(5)?,
            reexecs: value(6)?,
            unpaired_starts: value(7)?,
            failed_starts: value(8)?,
            exits: value(9)?,
            joins: value(10)?,
            leaves: value(11)?,
        },
        given_up: value(12)?,
        downtime: durations(13)?,
        lifetime: durations(15)?,
        last_start: optional(row, 17)?,
        last_exit: optional(row, 18)?,
        peak_rss: optional(row, 19)?,
        left_behind: usage(row, 1 + ACCUMULATOR.len())?,
        exits: Vec::new(),
        members: Vec::new(),
        unpaired_ends: Vec::new(),
        untold_exits: Vec::new(),
    })
}

/// A row of `member`.
pub(super) fn member_values(id: i64, member: &SavedMember) -> impl Iterator<Item = Value> {
    [
        Value::from(id),
        i64::from(member.key.tgid.0).into(),
        member.key.start.0.cast_signed().into(),
        member.name.to_string().into(),
        member.exe.to_string().into(),
        member.root.into(),
        member.executed.into(),
        member.ended.into(),
        member.former.into(),
    ]
    .into_iter()
    .chain(program_values(member))
    .chain(
        [member.base, member.totals, member.attributed]
            .into_iter()
            .flat_map(|usage| usage_values(&usage))
            .map(Value::from),
    )
    .chain([
        member.series.as_deref().map(str::to_owned).into(),
        member.user.map(i64::from).into(),
    ])
}

fn program_values(member: &SavedMember) -> [Value; PROGRAMS.len()] {
    let programs = member.programs.as_ref();
    let of = |program: &Program| {
        [&program.executable, &program.script, &program.fallback].map(ToString::to_string)
    };
    let [first, last] = [
        programs.map(|known| of(&known.first)),
        programs.map(|known| of(&known.last)),
    ];
    let texts = |known: Option<[String; 3]>| known.map_or_else(Default::default, |texts| texts.map(Some));
    let ([a, b, c], [d, e, f]): ([Option<String>; 3], [Option<String>; 3]) = (texts(first), texts(last));
    [a, b, c, d, e, f].map(Value::from)
}

/// The opposite, from the column `first` on.
fn programs(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Programs>> {
    if row.get_ref(first)? == ValueRef::Null {
        return Ok(None);
    }
    Ok(Some(Programs {
        first: program(row, first)?,
        last: program(row, first + 3)?,
    }))
}

/// A program in three columns from `first` on.
pub(super) fn program(row: &Row<'_>, first: usize) -> rusqlite::Result<Program> {
    Ok(Program {
        executable: text(row, first)?.into(),
        script: text(row, first + 1)?.into(),
        fallback: text(row, first + 2)?.into(),
    })
}

/// How a process ended, in five columns from `first` on.
pub(super) fn ending(row: &Row<'_>, first: usize) -> rusqlite::Result<Ending> {
    let sender = match (row.get(first + 2)?, row.get(first + 4)?) {
        (Some(tgid), Some(signal)) => Some(Sender {
            tgid: Tgid(tgid),
            comm: text(row, first + 3)?,
            signal,
        }),
        _ => None,
    };
    Ok(Ending {
        status: row.get(first)?,
        oom_victim: row.get(first + 1)?,
        sender,
    })
}

/// A member, and the number of its group.
pub(super) fn member(row: &Row<'_>) -> rusqlite::Result<(i64, SavedMember)> {
    let first_program = 9;
    let first_sum = first_program + PROGRAMS.len();
    let member = SavedMember {
        key: ProcessKey {
            tgid: Tgid(row.get(1)?),
            start: BootTime(unsigned(row, 2)?),
        },
        name: text(row, 3)?.into(),
        exe: text(row, 4)?.into(),
        root: row.get(5)?,
        executed: row.get(6)?,
        ended: row.get(7)?,
        former: row.get(8)?,
        programs: programs(row, first_program)?,
        base: usage(row, first_sum)?,
        totals: usage(row, first_sum + SUMS.len())?,
        attributed: usage(row, first_sum + 2 * SUMS.len())?,
        series: row
            .get::<_, Option<String>>(first_sum + 3 * SUMS.len())?
            .map(Arc::from),
        user: row.get(first_sum + 3 * SUMS.len() + 1)?,
    };
    Ok((row.get(0)?, member))
}

fn usage(row: &Row<'_>, first: usize) -> rusqlite::Result<Usage> {
    let mut usage = Usage::UNKNOWN;
    for (offset, (counter, _)) in SUMS.into_iter().enumerate() {
        usage = usage.with(counter, optional(row, first + offset)?);
    }
    Ok(usage)
}

/// SQLite's integers are signed; the bits are the same.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

/// The same, NULL being unknown.
pub(super) fn optional(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(i64::cast_unsigned))
}
