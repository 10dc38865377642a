//! What other databases on the same path keep of a daemon's groups. Plugins move from daemon to daemon: given to one of their
//! own, and back to one that runs all. Their counters go on from wherever they were kept last.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use rusqlite::Connection;
use tracing::warn;

use super::{
    ThisBoot, claim,
    error::{Doing, StoreError},
    history, open,
};
use crate::{
    plugin::{Aggregate, KeptGroup, SavedGroup},
    process::Counter,
};

/// A group as another database keeps it.
#[derive(Debug, Clone)]
pub(super) struct Elsewhere {
    /// The commit that it is as of, Unix ns; 0 where that is not known.
    pub(super) time: u64,
    pub(super) kept: KeptGroup,
}

impl Elsewhere {
    /// Whether it is what `other` has become. Of one group's accounts the one with the larger sums is the later one, as they
    /// never fall; accounts that began apart go by their commits.
    pub(super) fn is_newer_than(&self, other: &Self) -> bool {
        let (this, that) = (&self.kept.saved, &other.kept.saved);
        if this.watch_start == that.watch_start {
            (progress(this), self.time) > (progress(that), other.time)
        } else {
            self.time > other.time
        }
    }
}

/// Sums that grow with whatever happens in a group.
fn progress(saved: &SavedGroup) -> (u64, u64) {
    let happened = &saved.happened;
    let events = happened.starts + happened.worker_starts + happened.exits + happened.joins + happened.leaves;
    let usage = saved.reading(Aggregate::All).usage;
    (events, usage.get(Counter::Runtime).unwrap_or(0))
}

/// The newest of each of the groups `keys` in the databases at `base` and beside it, but for `own`. What cannot be read is
/// said and left out.
pub(super) fn newest(
    base: &Path,
    own: &Path,
    keys: &BTreeSet<String>,
    boot: &ThisBoot,
) -> HashMap<String, Elsewhere> {
    let mut newest: HashMap<String, Elsewhere> = HashMap::new();
    let all = std::iter::once(base.to_owned()).chain(claim::of_sets(base));
    for path in all.filter(|path| path != own) {
        let groups = match groups_of(&path, keys, boot) {
            Ok(groups) => groups,
            Err(StoreError::Missing { .. }) => continue,
            Err(error) => {
                warn!("{error}; what it may keep of this daemon's plugins is left out");
                continue;
            }
        };
        for (key, found) in groups {
            if newest.get(&key).is_none_or(|known| found.is_newer_than(known)) {
                newest.insert(key, found);
            }
        }
    }
    newest
}

fn groups_of(
    path: &Path,
    keys: &BTreeSet<String>,
    boot: &ThisBoot,
) -> Result<Vec<(String, Elsewhere)>, StoreError> {
    let doing = Doing {
        path,
        what: "read its groups",
    };
    let connection = open::read_only(path)?;
    // What a commit adds in between is seen by all queries or by none.
    connection
        .execute_batch("BEGIN")
        .map_err(|error| doing.sqlite(error))?;
    if !has_any(&connection, keys).map_err(|error| doing.sqlite(error))? {
        return Ok(Vec::new());
    }
    let (last, groups) = open::groups_of(&connection, doing)?;
    let Some(last) = last else {
        return Ok(Vec::new());
    };
    let outage = history::last_outage(&connection).map_err(|error| doing.sqlite(error))?;
    let members = groups.iter().flat_map(|(_, _, written)| written.live_members());
    let this_boot = boot.related(last.boot(), members).is_same();
    let mine = groups.into_iter().filter(|(key, ..)| keys.contains(key));
    Ok(mine
        .map(|(key, row, written)| {
            let (time, same_boot) = match outage {
                _ if row.run == last.run => (last.time, this_boot),
                // The last run left the group out: it was kept until that run's outage began.
                Some(outage) if row.run + 1 == last.run => (outage.from, this_boot && outage.same_boot),
                _ => (0, false),
            };
            let saved = written.to_group();
            let kept = KeptGroup { saved, same_boot };
            (key, Elsewhere { time, kept })
        })
        .collect())
}

/// Whether the database has one of these groups. Most have none, and what they hold need not be read.
fn has_any(connection: &Connection, keys: &BTreeSet<String>) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare("SELECT 1 FROM watched_group WHERE key = ?1")?;
    for key in keys {
        if statement.exists([key])? {
            return Ok(true);
        }
    }
    Ok(false)
}
