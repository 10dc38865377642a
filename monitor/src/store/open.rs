//! Opening: whatever lies at the path, it is either used, brought to the present schema, moved aside or left alone. Nothing
//! is deleted, and at whatever point the opening is cut short, the next one finds everything.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension};
use tracing::info;

use super::{
    boot::LastBoot,
    claim::{Claim, Wanted},
    columns::{optional, unsigned},
    connection::{self, Check, Place, check, connect, damage_unless_outside, expect_all_pages, keep_log},
    error::{Doing, StoreError},
    files,
    groups::{self, Written},
    host::{self, IdHost},
    identities::{Identities, text},
    in_place::InPlace,
    migrate::{Found, migrate, version_name},
    progress,
    schema::{PRESENT, STEPS, Step},
};
use crate::process::Progress;

/// Something about the opening that whoever keeps the file should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A damaged store was moved; a new one has been started.
    MovedAside {
        /// Where it is now.
        to: PathBuf,
        /// What was wrong with it.
        why: String,
    },
    /// A store of an older schema was migrated.
    Migrated {
        /// The version it had.
        from: String,
        /// A copy of what it was.
        copy: PathBuf,
    },
}

/// All that the database holds and a daemon needs.
pub(super) struct Loaded {
    pub(super) connection: Connection,
    pub(super) files: InPlace,
    pub(super) path: PathBuf,
    pub(super) claim: Claim,
    pub(super) notes: Vec<Note>,
    pub(super) last: Option<LastCommit>,
    /// By key.
    pub(super) group_ids: HashMap<String, GroupRow>,
    pub(super) groups: HashMap<String, Written>,
    pub(super) identities: Identities,
    pub(super) id_host: Option<IdHost>,
    pub(super) progress: Option<Progress>,
}

/// The row of `state`.
pub(super) struct LastCommit {
    /// Empty where it could not be read.
    pub(super) boot_id: String,
    /// Unix ns.
    pub(super) time: u64,
    /// When that boot had begun by the clock of that time, Unix ns.
    pub(super) boot_began: Option<u64>,
    /// Which run it was of; runs are counted from 1.
    pub(super) run: u64,
    /// When CLOCK_BOOTTIME was 0 as that boot's runs had it, Unix ns.
    pub(super) boot_time: Option<u64>,
}

/// What an older kevmon named a boot whose id it could not read.
const UNKNOWN: &str = "unknown at ";

impl LastCommit {
    /// CLOCK_BOOTTIME then, ns; `None` where that was not kept.
    pub(super) fn left_at(&self) -> Option<u64> {
        self.time.checked_sub(self.boot_began?)
    }

    /// Its boot, to be compared with this one.
    pub(super) fn boot(&self) -> LastBoot<'_> {
        let is_known = !self.boot_id.is_empty() && !self.boot_id.starts_with(UNKNOWN);
        LastBoot {
            id: is_known.then_some(&self.boot_id),
            began: self.boot_began,
            left_at: self.left_at(),
        }
    }
}

/// A row of `watched_group`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupRow {
    pub(super) id: i64,
    /// The last run that kept the group.
    pub(super) run: u64,
}

/// What opening depends on; tests replace it.
pub(super) struct Opening<'a> {
    pub(super) path: &'a Path,
    /// The right to the file; `None`: it is to be claimed.
    pub(super) claim: Option<Claim>,
    pub(super) now_unix: u64,
    pub(super) steps: &'a [Step],
    /// See [`migrate`].
    pub(super) after: &'a mut dyn FnMut(usize) -> Result<(), StoreError>,
}

impl<'a> Opening<'a> {
    pub(super) fn new(
        path: &'a Path,
        now_unix: u64,
        after: &'a mut dyn FnMut(usize) -> Result<(), StoreError>,
    ) -> Self {
        Self {
            path,
            claim: None,
            now_unix,
            steps: STEPS,
            after,
        }
    }

    pub(super) fn run(mut self) -> Result<Loaded, StoreError> {
        let claim = match self.claim.take() {
            Some(claim) => claim,
            None => Claim::take(self.path, Wanted::default())?,
        };
        let path = claim.path.clone();
        let (place, opened) = Place::open_locked(path, self.now_unix, |path| self.attempt(path))?;
        let mut notes: Vec<Note> = place.moved_aside.into_iter().collect();
        notes.extend(opened.migrated);
        Ok(Loaded {
            connection: opened.connection,
            files: InPlace::of(&place.path)?,
            path: place.path,
            claim,
            notes,
            last: opened.last,
            group_ids: opened.group_ids,
            groups: opened.groups,
            identities: opened.identities,
            id_host: opened.id_host,
            progress: opened.progress,
        })
    }

    /// Opens what is there, or nothing. [`StoreError::Damaged`]: it can be moved aside.
    fn attempt(&mut self, path: &Path) -> Result<Opened, StoreError> {
        let doing = Doing {
            path,
            what: "open it",
        };
        let (mut connection, has_log) = connection::open_or_make(doing)?;
        let present = self.steps.last().map_or(PRESENT, |step| step.to);
        let found = Found::of(&connection, present)
            .map_err(|error| damage_unless_outside(doing.sqlite(error), doing))?;
        refuse(&found, path, present)?;
        if !has_log {
            expect_all_pages(&connection, doing)?;
        }
        check(&connection, Check::Pages, doing)?;
        let migrated = self.migrate(&mut connection, &found, path, present)?;
        let load = Doing {
            path,
            what: "read it",
        };
        // It has kevmon's mark and version: where it has not kevmon's tables or values as well, it is damaged.
        let opened =
            load_all(connection, load, migrated).map_err(|error| damage_unless_outside(error, load))?;
        set_up(&opened.connection).map_err(|error| doing.sqlite(error))?;
        Ok(opened)
    }

    fn migrate(
        &mut self,
        connection: &mut Connection,
        found: &Found,
        path: &Path,
        present: u32,
    ) -> Result<Option<Note>, StoreError> {
        if *found == Found::Ours(present) {
            return Ok(None);
        }
        let note = match found.version() {
            Some(from) => {
                let copy = files::back_up(connection, path, &from)?;
                Some(Note::Migrated { from, copy })
            }
            None => None,
        };
        let doing = Doing {
            path,
            what: if note.is_some() { "migrate it" } else { "make it" },
        };
        migrate(connection, found, self.steps, self.now_unix, doing, self.after)?;
        if let Some(Note::Migrated { from, copy }) = &note {
            info!(
                "store {}: migrated from schema {from} to {}; what it was is in {}",
                path.display(),
                version_name(present),
                copy.display()
            );
        }
        Ok(note)
    }
}

struct Opened {
    connection: Connection,
    migrated: Option<Note>,
    last: Option<LastCommit>,
    group_ids: HashMap<String, GroupRow>,
    groups: HashMap<String, Written>,
    identities: Identities,
    id_host: Option<IdHost>,
    progress: Option<Progress>,
}

/// A group's key, its row and what it keeps.
type NamedGroup = (String, GroupRow, Written);

/// The last commit, and every group with what it kept.
pub(super) fn groups_of(
    connection: &Connection,
    doing: Doing<'_>,
) -> Result<(Option<LastCommit>, Vec<NamedGroup>), StoreError> {
    let last = last_commit(connection, doing)?;
    let (ids, mut groups) = load_groups(connection, doing)?;
    let all = ids.into_iter().filter_map(|(key, row)| {
        let written = groups.remove(&key)?;
        Some((key, row, written))
    });
    Ok((last, all.collect()))
}

fn last_commit(connection: &Connection, doing: Doing<'_>) -> Result<Option<LastCommit>, StoreError> {
    connection
        .query_row(
            "SELECT boot_id, last_commit, run, boot_time, boot_began FROM state",
            [],
            |row| {
                Ok(LastCommit {
                    boot_id: text(row, 0)?,
                    time: unsigned(row, 1)?,
                    run: unsigned(row, 2)?,
                    boot_time: optional(row, 3)?,
                    boot_began: optional(row, 4)?,
                })
            },
        )
        .optional()
        .map_err(|error| doing.sqlite(error))
}

type Groups = (HashMap<String, GroupRow>, HashMap<String, Written>);

/// The groups' rows, and what they keep, by key.
fn load_groups(connection: &Connection, doing: Doing<'_>) -> Result<Groups, StoreError> {
    let mut group_ids = HashMap::new();
    groups::for_each(
        connection,
        "SELECT key, id, run FROM watched_group",
        doing,
        |row| {
            let group = GroupRow {
                id: row.get(1)?,
                run: unsigned(row, 2)?,
            };
            group_ids.insert(text(row, 0)?, group);
            Ok(())
        },
    )?;
    let mut by_id = groups::load(connection, doing)?;
    let groups = group_ids
        .iter()
        .filter_map(|(key, row)| Some((key.clone(), by_id.remove(&row.id)?)))
        .collect();
    if !by_id.is_empty() {
        return Err(doing.damaged("a group without a name"));
    }
    Ok((group_ids, groups))
}

fn load_all(connection: Connection, doing: Doing<'_>, migrated: Option<Note>) -> Result<Opened, StoreError> {
    let last = last_commit(&connection, doing)?;
    let (group_ids, groups) = load_groups(&connection, doing)?;
    let identities = Identities::load(&connection, doing)?;
    let id_host = host::load(&connection, doing)?;
    let progress = progress::load(&connection, doing)?;
    Ok(Opened {
        connection,
        migrated,
        last,
        group_ids,
        groups,
        identities,
        id_host,
        progress,
    })
}

/// Opens for reading, also what a daemon writes at the same time.
pub(super) fn read_only(path: &Path) -> Result<Connection, StoreError> {
    files::expect_readable(path)?;
    if files::expect_file(path)?.is_none() {
        return Err(StoreError::Missing {
            path: path.to_owned(),
        });
    }
    files::expect_companions(path)?;
    let doing = Doing {
        path,
        what: "read it",
    };
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let found = Found::of(&connection, PRESENT).map_err(|error| doing.sqlite(error))?;
    refuse(&found, path, PRESENT)?;
    match found {
        Found::Ours(PRESENT) => Ok(connection),
        Found::Empty => Err(StoreError::Missing {
            path: path.to_owned(),
        }),
        _ => Err(StoreError::Older {
            path: path.to_owned(),
            found: found.version().unwrap_or_default(),
        }),
    }
}

fn refuse(found: &Found, path: &Path, present: u32) -> Result<(), StoreError> {
    let path = path.to_owned();
    match found {
        Found::Newer(found) => Err(StoreError::Newer {
            path,
            found: found.clone(),
            known: version_name(present),
        }),
        Found::Foreign(found) => Err(StoreError::Foreign {
            path,
            found: found.clone(),
        }),
        Found::Empty | Found::Original(_) | Found::Ours(_) => Ok(()),
    }
}

/// Prepares a connection for writing.
pub(super) fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection::write_ahead(connection)?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")?;
    keep_log(connection, false)
}
