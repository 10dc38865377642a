//! Whose user id a collector has.
//!
//! Where kevmon is root, a collector runs as nobody else does: as the account that the settings name, or as a user id out of
//! [`RANGE`] that is leased for the run. systemd's documentation of user ids leaves that range to nobody (its greeters end at
//! 60705, its dynamic users begin at 61184), and useradd ends at 60000. An id is taken only if the host's name service
//! knows no user and no group of that number, and the run begins only if no process has it (`confine::child`). Ids that were
//! found free are used again by later runs of this kevmon, never by two at once.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::users;

/// User ids for runs.
const RANGE: std::ops::RangeInclusive<u32> = 60_706..=61_183;
/// The account that collectors run as, where it exists.
const ACCOUNT: &str = "kevmon-collector";

/// What a collector runs as.
#[derive(Debug)]
pub(super) struct Identity {
    /// User and group; `None`: kevmon's own.
    pub(super) user: Option<(u32, u32)>,
    lease: Option<Lease>,
}

impl Identity {
    /// As the plugin asks, else as the settings do, else as nobody else. Asks the host's name service, which may take its
    /// time.
    ///
    /// # Errors
    /// "What is wrong; what to do".
    pub(super) fn find(asked: Option<&str>, account: Option<&str>) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return match asked {
                None => Ok(Self::of(None)),
                Some(user) => Err(format!(
                    "user = \"{user}\" needs a kevmon that runs as root; leave it out to use kevmon's own user"
                )),
            };
        }
        let known = |name: &str, key: &str| {
            let found = users::by_name(name).ok_or_else(|| {
                format!("this host has no user {name:?}, which {key} names; create it, or write another one")
            })?;
            Ok(Self::of(Some((found.uid, found.gid))))
        };
        match (asked, account) {
            (Some(user), _) => known(user, "user"),
            (None, Some(account)) => known(account, "collectors.user"),
            (None, None) => match users::by_name(ACCOUNT) {
                Some(found) => Ok(Self::of(Some((found.uid, found.gid)))),
                None => Self::leased(),
            },
        }
    }

    fn of(user: Option<(u32, u32)>) -> Self {
        Self { user, lease: None }
    }

    fn leased() -> Result<Self, String> {
        let lease = Lease::take(&|id| users::by_uid(id).is_some() || users::has_group(id)).ok_or_else(|| {
            format!(
                "each user id from {} to {} is in use; create the account {ACCOUNT}, or name one in [collectors] user",
                RANGE.start(),
                RANGE.end()
            )
        })?;
        Ok(Self {
            user: Some((lease.id, lease.id)),
            lease: Some(lease),
        })
    }

    /// Whether no other process may have this user id.
    pub(super) fn is_alone(&self) -> bool {
        self.lease.is_some()
    }

    /// Another process has this user id: it is left alone from now on.
    pub(super) fn give_away(&self) {
        if let Some(lease) = &self.lease {
            known().insert(lease.id, State::Foreign);
        }
    }
}

/// What is known of an id of [`RANGE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Of no account, and of no run of this kevmon.
    Free,
    Leased,
    /// Of others.
    Foreign,
}

static KNOWN: Mutex<BTreeMap<u32, State>> = Mutex::new(BTreeMap::new());

fn known() -> MutexGuard<'static, BTreeMap<u32, State>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An id that no other run of this kevmon has until this is dropped.
#[derive(Debug)]
struct Lease {
    id: u32,
}

impl Lease {
    fn take(is_foreign: &dyn Fn(u32) -> bool) -> Option<Self> {
        let free = known()
            .iter_mut()
            .find(|(_, state)| **state == State::Free)
            .map(|(id, state)| {
                *state = State::Leased;
                *id
            });
        if let Some(id) = free {
            return Some(Self { id });
        }
        // Begun anywhere: another kevmon on this host does not ask for the same ids.
        let count = RANGE.end() - RANGE.start() + 1;
        let first = rand(count);
        for id in (0..count).map(|at| RANGE.start() + (first + at) % count) {
            if known().contains_key(&id) {
                continue;
            }
            // Without the lock: it may take long.
            let state = if is_foreign(id) {
                State::Foreign
            } else {
                State::Leased
            };
            let mut known = known();
            if known.contains_key(&id) {
                continue;
            }
            known.insert(id, state);
            if state == State::Leased {
                return Some(Self { id });
            }
        }
        None
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(state) = known().get_mut(&self.id)
            && *state == State::Leased
        {
            *state = State::Free;
        }
    }
}

/// A number below `count`, another one in each process.
fn rand(count: u32) -> u32 {
    use std::hash::{BuildHasher, RandomState};
    u32::try_from(RandomState::new().hash_one(0) % u64::from(count)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_nobodys_and_no_two_runs() {
        // The state is the process's; no other test takes leases.
        let foreign = |id: u32| id.is_multiple_of(2);
        let first = Lease::take(&foreign).unwrap();
        let second = Lease::take(&foreign).unwrap();
        for id in [first.id, second.id] {
            assert!(RANGE.contains(&id) && id % 2 == 1, "{id}");
        }
        assert_ne!(first.id, second.id);
        let freed = first.id;
        drop(first);
        let third = Lease::take(&foreign).unwrap();
        assert_eq!(third.id, freed, "one that is known to be free is used again");
        // One that turned out to be another's is not.
        let identity = Identity {
            user: Some((third.id, third.id)),
            lease: Some(third),
        };
        identity.give_away();
        drop(identity);
        let mut rest: Vec<Lease> = std::iter::from_fn(|| Lease::take(&foreign)).collect();
        rest.push(second);
        assert!(rest.iter().all(|lease| lease.id != freed));
        let mut ids: Vec<u32> = rest.iter().map(|lease| lease.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(
            ids.len(),
            RANGE.filter(|id| id % 2 == 1).count() - 1,
            "all but that one, each once"
        );
    }
}
