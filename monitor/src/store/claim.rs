//! Which file a daemon keeps its state in, when several share one path.
//!
//! A database has one writer, which holds its lock as long as it runs. The first daemon has the database at the path
//! itself. A further one that was told to watch something else, and runs none of the plugins that others run, has a
//! database of its own beside it, `<path>.set-<scope>`, whose name follows from what it was told to watch: so it finds its
//! state again in whatever order the daemons start. A daemon that was told the same as a running one, or runs a plugin
//! that a running one runs, is refused.
//!
//! Choosing happens under a lock of its own (`<path>.starting.lock`): of two daemons that start together, the second sees
//! what the first has chosen. It is held for one look at the others' locks and never while somebody waits, because running
//! daemons take it when they reload. docs/adr/0014 gives the reasons.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    error::StoreError,
    files,
    holder::{Holder, Named},
    in_place::is_guarded,
    lock::{Found, Lock},
};
use crate::files::{Accepts, Missing, Open};

/// What stands before the scope in the name of a further daemon's database.
const SET: &str = ".set-";
/// A daemon that ends is waited for so long: its last export takes up to two seconds.
const WAIT_FOR_ENDING: Duration = Duration::from_secs(5);
/// Any other one so long: it may be about to end, and a child of any process holds a copy of its parent's locks between
/// fork and exec.
const WAIT: Duration = Duration::from_millis(400);
/// A start waits so long for others that look at the same moment.
const WAIT_TO_START: Duration = Duration::from_secs(10);
/// A daemon that reloads waits so long: its collections wait with it.
const WAIT_TO_CHANGE: Duration = Duration::from_millis(100);
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// What a daemon is to watch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// What it was told to watch, as 16 hexadecimal digits: two daemons with the same are one.
    pub scope: &'a str,
    /// The plugins that it runs, instances apart.
    pub plugins: &'a [String],
}

/// A file that is this process's, and the lock on it.
#[derive(Debug)]
pub struct Claim {
    /// The path that was asked for, links resolved.
    pub(super) base: PathBuf,
    /// The database.
    pub(super) path: PathBuf,
    pub(super) lock: Lock,
    holder: Holder,
}

/// A running daemon, and the file that it has.
struct Running {
    path: PathBuf,
    /// `None`: it does not say who it is.
    holder: Option<Holder>,
}

impl Claim {
    /// Claims a file for the state at `asked`; waits for a daemon that ends.
    ///
    /// # Errors
    /// [`StoreError::InUse`]: another one watches the same. Anything else: there can be no state.
    pub fn take(asked: &Path, wanted: Wanted<'_>) -> Result<Self, StoreError> {
        let base = files::real_path(asked)?;
        files::expect_file(&base)?;
        let began = Instant::now();
        loop {
            if let Some(claim) = Self::try_take(&base, wanted, began)? {
                return Ok(claim);
            }
            std::thread::sleep(BETWEEN_TRIES);
        }
    }

    /// One try of a start that began then. `None`: somebody who may be about to end has what is wanted.
    fn try_take(base: &Path, wanted: Wanted<'_>, began: Instant) -> Result<Option<Self>, StoreError> {
        let _starting = enter(base, WAIT_TO_START)?;
        let running = running(base, None)?;
        let conflict = running.iter().find_map(|other| conflict(other, base, wanted));
        let Some((other, plugin)) = conflict else {
            // `None`: taken in between by a version that knows nothing of this.
            return Self::choose(base, &running, wanted);
        };
        let ends = other.holder.as_ref().is_some_and(|holder| holder.ending);
        if began.elapsed() <= if ends { WAIT_FOR_ENDING } else { WAIT } {
            return Ok(None);
        }
        let holder = other.holder.as_ref().map_or_else(Named::unknown, Holder::named);
        Err(StoreError::InUse {
            path: other.path.clone(),
            holder: Box::new(holder),
            plugin,
        })
    }

    fn choose(base: &Path, running: &[Running], wanted: Wanted<'_>) -> Result<Option<Self>, StoreError> {
        let own = of_scope(base, wanted.scope);
        let has_own = own.symlink_metadata().is_ok();
        let base_is_free = !running.iter().any(|other| other.path == base);
        let path = if !has_own && base_is_free {
            base.to_owned()
        } else {
            own
        };
        let Some(lock) = Lock::try_take(&path)? else {
            return Ok(None);
        };
        let holder = Holder::this_process(wanted.scope, wanted.plugins);
        lock.write(&holder);
        Ok(Some(Self {
            base: base.to_owned(),
            path,
            lock,
            holder,
        }))
    }

    /// Whether the database is a further daemon's beside the one at the path.
    pub fn is_of_set(&self) -> bool {
        self.path != self.base
    }

    /// From now on this daemon runs `plugins`, except those that another one runs, which are returned with its name.
    ///
    /// # Errors
    /// Whether another one runs some of them could not be found out: this daemon is noted as running all of them.
    pub(super) fn change(&mut self, plugins: &[String]) -> Result<Vec<(String, Named)>, StoreError> {
        let refused = self.run_by_others(plugins);
        let others = refused.as_deref().unwrap_or_default();
        self.holder.plugins = plugins
            .iter()
            .filter(|plugin| !others.iter().any(|(refused, _)| refused == *plugin))
            .cloned()
            .collect();
        self.lock.write(&self.holder);
        refused
    }

    /// Those of `plugins` that another daemon runs, and which one.
    fn run_by_others(&self, plugins: &[String]) -> Result<Vec<(String, Named)>, StoreError> {
        let _starting = enter(&self.base, WAIT_TO_CHANGE)?;
        let mut refused = Vec::new();
        for other in &running(&self.base, Some(&self.path))? {
            let Some(holder) = &other.holder else { continue };
            let theirs = plugins.iter().filter(|plugin| holder.plugins.contains(plugin));
            refused.extend(theirs.map(|plugin| (plugin.clone(), holder.named())));
        }
        Ok(refused)
    }

    /// Makes the lock's file again where it was deleted or moved away.
    ///
    /// # Errors
    /// Another process has taken the lock meanwhile.
    pub(super) fn hold(&mut self) -> Result<(), StoreError> {
        if self.lock.take_back(&self.path)? {
            self.lock.write(&self.holder);
        }
        Ok(())
    }

    /// Says to whoever waits for the lock that it will be free soon.
    pub(super) fn ending(&mut self) {
        self.holder.ending = true;
        self.lock.write(&self.holder);
    }
}

/// The database of a daemon that shares `base` with others.
fn of_scope(base: &Path, scope: &str) -> PathBuf {
    files::beside(base, &format!("{SET}{scope}"))
}

/// The databases of further daemons beside `base`, sorted: those that exist, and those that are locked.
pub(super) fn of_sets(base: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (base.parent(), base.file_name()) else {
        return Vec::new();
    };
    let is_scope = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut sets: Vec<PathBuf> = entries
        .filter_map(|entry| {
            let entry = entry.file_name();
            let rest = entry.as_encoded_bytes().strip_prefix(name.as_encoded_bytes())?;
            let rest = std::str::from_utf8(rest).ok()?.strip_prefix(SET)?;
            let scope = rest.strip_suffix(".lock").unwrap_or(rest);
            is_scope(scope).then(|| of_scope(base, scope))
        })
        .collect();
    sets.sort();
    sets.dedup();
    sets
}

/// Who runs on this state, but for the one that has the database `own`.
fn running(base: &Path, own: Option<&Path>) -> Result<Vec<Running>, StoreError> {
    let mut running = Vec::new();
    let all = std::iter::once(base.to_owned()).chain(of_sets(base));
    for path in all.filter(|path| own != Some(path.as_path())) {
        match Lock::look(&path)? {
            Found::Held(holder) => running.push(Running { path, holder }),
            // Its lock file was deleted.
            Found::Free if is_guarded(&path) => running.push(Running { path, holder: None }),
            Found::Free => {}
        }
    }
    Ok(running)
}

/// Whether `other` watches what is wanted, and the plugin that both run, if that is the reason.
fn conflict<'a>(
    other: &'a Running,
    base: &Path,
    wanted: Wanted<'_>,
) -> Option<(&'a Running, Option<String>)> {
    let Some(holder) = &other.holder else {
        // An older version watches at the path itself; of a further one only the name is known.
        let same = other.path == base || other.path == of_scope(base, wanted.scope);
        return same.then_some((other, None));
    };
    if holder.scope == wanted.scope {
        return Some((other, None));
    }
    let both = wanted
        .plugins
        .iter()
        .find(|plugin| holder.plugins.contains(plugin))?;
    Some((other, Some(both.clone())))
}

/// The right to choose, until it is dropped; waits for it up to `wait`.
fn enter(base: &Path, wait: Duration) -> Result<File, StoreError> {
    let path = files::beside(base, ".starting.lock");
    let failed = |source| StoreError::io(&path, "take its lock", source);
    let file = files::place(&path, Missing::Fail)
        .and_then(|(folder, name)| folder.open(&name, Open::to_write().or_create(0o600), Accepts::File))
        .map_err(failed)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if began.elapsed() < wait => {
                std::thread::sleep(BETWEEN_TRIES);
            }
            Err(std::fs::TryLockError::WouldBlock) => return Err(failed(io::ErrorKind::TimedOut.into())),
            Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
}
