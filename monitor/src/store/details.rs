//! What the history keeps of a process besides what happened to it.

use rusqlite::Row;

use super::{columns::optional, identities::optional_text};
use crate::{
    plugin::{Notice, What},
    process::{Counter, Tgid},
};

/// What a row tells of a process besides what happened to it. Rows of restarts, and those that kevmon wrote before schema version
/// 9, have none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// Of a start: who made it.
    pub parent: Option<Parent>,
    /// Base name of its executable.
    pub exe: Option<String>,
    /// Of an end: the names that it had with each program it executed, in their order, as far as kevmon saw them.
    pub programs: Vec<String>,
    /// Of an end: CPU time over its whole life, ns.
    pub cpu: Option<u64>,
    /// Of an end: its largest resident set, bytes.
    pub peak_rss: Option<u64>,
    /// Of an end: whether these are final; false: they are at least so much.
    pub settled: Option<bool>,
}

/// The process that made another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// Its thread-group id.
    pub pid: Tgid,
    /// Its name; `None` where it was gone before that could be read.
    pub name: Option<String>,
}

impl Details {
    /// Of what a notice tells; the parent's name is its caller's to add.
    pub(super) fn of(notice: &Notice) -> Self {
        let exe = (!notice.exe.is_empty()).then(|| notice.exe.to_string());
        match &notice.what {
            What::Start { .. } => Self {
                parent: notice.parent.map(|parent| Parent {
                    pid: parent.tgid,
                    name: None,
                }),
                exe,
                ..Self::default()
            },
            What::Exit {
                usage,
                peak_rss,
                settled,
                ..
            } => Self {
                exe,
                programs: notice.programs.iter().map(ToString::to_string).collect(),
                cpu: usage.get(Counter::Runtime),
                peak_rss: *peak_rss,
                settled: Some(*settled),
                ..Self::default()
            },
            What::Restart { .. } => Self::default(),
        }
    }

    /// As a row of the history has them, from its column 21 on.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let parent: Option<u32> = row.get(21)?;
        let name = optional_text(row, 22)?;
        let programs = optional_text(row, 24)?;
        Ok(Self {
            parent: parent.map(|pid| Parent { pid: Tgid(pid), name }),
            exe: optional_text(row, 23)?,
            // What no kevmon wrote tells nothing.
            programs: programs
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default(),
            cpu: optional(row, 25)?,
            peak_rss: optional(row, 26)?,
            settled: row.get(27)?,
        })
    }

    /// The programs as a JSON array; `None` where there are none.
    pub(super) fn programs_text(&self) -> Option<String> {
        (!self.programs.is_empty()).then(|| serde_json::json!(self.programs).to_string())
    }
}
