//! Notices that configuration files have changed, and reads them again: beside the ticks, which never wait for a disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until},
};
use tracing::{info, warn};

use crate::{
    app::{
        service::notify::Notifier,
        sources::{Configuration, Sources},
    },
    config::Survey,
    limits,
};

/// Files are looked at this often, whatever inotify tells: it does not see through links to files elsewhere, nor network
/// file systems, and may overflow.
const RESCAN: Duration = Duration::from_secs(30);
/// The first look.
const FIRST: Duration = Duration::from_millis(1_500);
/// Changes come in bursts: an editor writes, renames and removes. The files are read once nothing has changed for so long …
const QUIET: Duration = Duration::from_millis(250);
/// … and after this time at the latest, so that a change takes effect within two seconds.
const PATIENCE: Duration = Duration::from_millis(1_000);

/// Times of files are whole seconds at the coarsest: what was read so long after it looked like that is what stands there.
const FRESH: Duration = Duration::from_secs(2);

/// The same while no plugin runs: then whatever appears is started within two seconds, also behind links and on network
/// file systems. A look costs a few system calls.
const RESCAN_IDLE: Duration = Duration::from_millis(750);

/// What of a folder's life may be a change of a plugin.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);
/// What makes a folder that does not exist yet, or puts another one in its place: a part of its path appears or goes.
const APPEARS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Reads the configuration each time that its files have changed, and on SIGHUP, for whoever takes it from the other end.
pub(in crate::app) struct Watcher {
    sources: Sources,
    seen: Survey,
    /// When they first looked like that, and when they were last read.
    seen_at: Instant,
    read_at: Instant,
    /// No plugin was found at the last look.
    idle: bool,
    inotify: Option<Inotify>,
    hangup: Signal,
    /// Each asks for a reload, and for what came of it.
    commands: mpsc::Receiver<oneshot::Sender<Reloaded>>,
    notifier: Arc<Notifier>,
    to: mpsc::Sender<Change>,
}

/// A configuration that was read again.
pub(in crate::app) struct Change {
    pub(in crate::app) configuration: Configuration,
    /// Who asked for it and waits for the outcome; `None`: the files have changed.
    pub(in crate::app) asked: Option<Asked>,
    /// Nobody asked, and the files look as they did: they were read again as a change may not show yet.
    pub(in crate::app) looks_same: bool,
}

/// Who asked for a reload.
pub(in crate::app) enum Asked {
    /// Whoever sent SIGHUP: the service manager, mostly.
    Signal,
    /// A client of the commands socket.
    Command(oneshot::Sender<Reloaded>),
}

/// What came of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) struct Reloaded {
    /// Plugins that run now.
    pub(in crate::app) plugins: usize,
    /// Faults of settings and plugin files, a line each; what they are in goes on as it was.
    pub(in crate::app) faults: Vec<String>,
}

/// Folders under watch.
struct Inotify {
    descriptor: AsyncFd<OwnedFd>,
    /// What they were when the watches were put on them.
    seen: Option<Survey>,
    /// A folder could not be watched, which the log has said.
    refused: bool,
    /// Folders in which a folder with plugins stands, or would stand, each with that one's name. Of a folder whose
    /// parents do not exist either, the nearest one above that does, with the name that is missing there.
    awaited: BTreeSet<(PathBuf, OsString)>,
    /// Names that matter, by watch descriptor, of folders in which nothing else does: a busy one costs little.
    names: BTreeMap<i32, BTreeSet<OsString>>,
}

fn say_no_inotify(error: &io::Error) {
    let remedy = match error.raw_os_error() {
        // inotify_init(2) gives the same number for both limits.
        Some(libc::EMFILE) => {
            "; fs.inotify.max_user_instances of this user is reached, or kevmon's limit of open files (ulimit -Hn): raise it"
                .to_owned()
        }
        _ => limits::remedy(error).map_or_else(String::new, |remedy| format!("; {remedy}")),
    };
    warn!("no inotify: {error}{remedy}; changes of plugin files are seen within {RESCAN:?}");
}

/// What to do about a folder that cannot be watched; empty where nothing helps.
fn watch_remedy(error: rustix::io::Errno) -> &'static str {
    match error {
        rustix::io::Errno::NOSPC => "; fs.inotify.max_user_watches of this user is reached: raise it",
        rustix::io::Errno::ACCESS => "; kevmon's user may not read it",
        rustix::io::Errno::NOMEM => "; the kernel has no memory for it",
        _ => "",
    }
}

/// Why the files are read again.
enum Cause {
    Asked(Asked),
    Change,
}

/// The next command; never once nobody can send one.
async fn next(commands: &mut mpsc::Receiver<oneshot::Sender<Reloaded>>) -> oneshot::Sender<Reloaded> {
    match commands.recv().await {
        Some(answer) => answer,
        None => std::future::pending().await,
    }
}

impl Watcher {
    /// From what the files looked like when they were read: what changes since then is not missed. Needs a tokio runtime.
    ///
    /// # Errors
    /// SIGHUP cannot be taken.
    pub(in crate::app) fn start(
        sources: Sources,
        seen: Survey,
        idle: bool,
        (notifier, commands): (Arc<Notifier>, mpsc::Receiver<oneshot::Sender<Reloaded>>),
    ) -> io::Result<mpsc::Receiver<Change>> {
        let (to, from) = mpsc::channel(1);
        let mut watcher = Self {
            sources,
            seen,
            seen_at: Instant::now(),
            read_at: Instant::now(),
            idle,
            inotify: Inotify::new().inspect_err(say_no_inotify).ok(),
            hangup: signal(SignalKind::hangup())?,
            commands,
            notifier,
            to,
        };
        watcher.watch_folders();
        tokio::spawn(watcher.run());
        Ok(from)
    }

    async fn run(mut self) {
        // What changed between the reading and the watching; not at once, when everything else starts.
        let mut rescan = Instant::now() + FIRST;
        loop {
            let cause = tokio::select! {
                _ = self.hangup.recv() => Some(Cause::Asked(Asked::Signal)),
                answer = next(&mut self.commands) => Some(Cause::Asked(Asked::Command(answer))),
                () = changed(self.inotify.as_ref()) => Some(Cause::Change),
                () = sleep_until(rescan) => None,
            };
            let is_idle_look = cause.is_none() && self.idle;
            let asked = match cause {
                Some(Cause::Asked(asked)) => Some(asked),
                Some(Cause::Change) => {
                    self.wait_for_quiet().await;
                    None
                }
                None => None,
            };
            if asked.is_some() {
                self.notifier.reloading();
            }
            rescan = Instant::now() + if self.idle { RESCAN_IDLE } else { RESCAN };
            let Some(mut survey) = self.survey().await else {
                return; // the runtime ends
            };
            if let Some(asked) = &asked {
                let by = match asked {
                    Asked::Signal => "SIGHUP",
                    Asked::Command(_) => "kevmon reload",
                };
                info!("{by}: the configuration is read again");
            } else if survey == self.seen && !self.may_have_changed() {
                self.watch_folders(); // a folder on the way to one that is missing may have appeared
                continue;
            } else if is_idle_look {
                // What has just appeared may not be written to its end.
                self.wait_for_quiet().await;
                let Some(again) = self.survey().await else { return };
                survey = again;
            }
            let looks_same = asked.is_none() && survey == self.seen;
            if survey != self.seen {
                self.seen_at = Instant::now();
            }
            self.seen = survey;
            self.read_at = Instant::now();
            self.watch_folders();
            let sources = self.sources.clone();
            let Ok(configuration) = tokio::task::spawn_blocking(move || sources.read()).await else {
                return;
            };
            self.idle = configuration.loaded.plugins.is_empty();
            if self.idle {
                rescan = Instant::now() + RESCAN_IDLE;
            }
            let change = Change {
                configuration,
                asked,
                looks_same,
            };
            if self.to.send(change).await.is_err() {
                return; // the daemon ends
            }
        }
    }

    /// Whether the files may be others than those that were read, although they look the same. Once they have been read again
    /// after a while they are not: a time in the future stays fresh until the clock has caught up with it.
    fn may_have_changed(&self) -> bool {
        self.seen.is_fresh() && self.read_at - self.seen_at < FRESH
    }

    async fn survey(&self) -> Option<Survey> {
        let sources = self.sources.clone();
        tokio::task::spawn_blocking(move || sources.survey()).await.ok()
    }

    async fn wait_for_quiet(&self) {
        let patience = Instant::now() + PATIENCE;
        while Instant::now() < patience {
            tokio::select! {
                () = changed(self.inotify.as_ref()) => {}
                () = sleep(QUIET) => return,
            }
        }
    }

    fn watch_folders(&mut self) {
        let roots = self.sources.folders();
        // A folder that does not exist yet, or is replaced by another one, is seen where it stands.
        let stands = roots
            .iter()
            .filter_map(|root| Some((parent(root)?, root.file_name()?.to_owned())));
        let awaited: BTreeSet<(PathBuf, OsString)> = roots
            .iter()
            .filter_map(|root| awaited(root))
            .chain(stands)
            .collect();
        let folders: Vec<PathBuf> = self.seen.folders().cloned().collect();
        let settings = self.sources.settings_file();
        let settings = parent(&settings).zip(settings.file_name().map(OsStr::to_owned));
        let Some(inotify) = &mut self.inotify else { return };
        if inotify.awaited == awaited
            && inotify
                .seen
                .as_ref()
                .is_some_and(|seen| seen.has_folders_of(&self.seen))
        {
            return;
        }
        // A new descriptor rather than a list of what to forget: what is not looked at any more is gone with the old one.
        match Inotify::new() {
            Ok(new) => {
                *inotify = Inotify {
                    refused: inotify.refused,
                    ..new
                }
            }
            Err(error) => {
                say_no_inotify(&error);
                self.inotify = None;
                return;
            }
        }
        let mut refused = None;
        let mut watched = BTreeSet::new();
        for folder in &folders {
            match inotify::add_watch(inotify.descriptor.get_ref(), folder, CHANGES) {
                Ok(watch) => drop(watched.insert(watch)),
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => refused = Some((folder.clone(), error)),
            }
        }
        let named = awaited.iter().map(|(folder, name)| (folder, name, APPEARS));
        let settings = settings.iter().map(|(folder, name)| (folder, name, CHANGES));
        for (folder, name, flags) in named.chain(settings) {
            // Added to what is watched there already.
            let flags = flags.union(WatchFlags::MASK_ADD);
            match inotify::add_watch(inotify.descriptor.get_ref(), folder, flags) {
                Ok(watch) if watched.contains(&watch) => {}
                Ok(watch) => drop(inotify.names.entry(watch).or_default().insert(name.clone())),
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
                Err(error) => refused = Some((folder.clone(), error)),
            }
        }
        inotify.awaited = awaited;
        let refused_before = std::mem::replace(&mut inotify.refused, refused.is_some());
        if let Some((folder, error)) = refused
            && !refused_before
        {
            warn!(
                "{}: no inotify watch ({error}{}): changes there are seen within {RESCAN:?}",
                folder.display(),
                watch_remedy(error)
            );
        }
        inotify.seen = Some(self.seen.clone());
    }
}

impl Inotify {
    fn new() -> io::Result<Self> {
        let descriptor = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // SAFETY: the AsyncFd owns the descriptor, so the registration ends before the descriptor is closed.
        let descriptor = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?;
        Ok(Self {
            descriptor,
            seen: None,
            refused: false,
            awaited: BTreeSet::new(),
            names: BTreeMap::new(),
        })
    }

    /// Takes what was told. Returns whether any of it may be a change: not what happens to other names in a folder that is watched for one.
    fn drain(&self) -> bool {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.descriptor.get_ref(), &mut buffer);
        let mut matters = false;
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            // Without a name it is about the folder itself, or an overflow.
            matters |= match (self.names.get(&event.wd()), name) {
                (Some(names), Some(name)) => names.contains(name),
                _ => true,
            };
        }
        matters
    }
}

/// Most links in a row that are followed (path_resolution(7)).
const LINKS: usize = 40;

/// Where a folder stands; `.` for a name alone.
fn parent(root: &Path) -> Option<PathBuf> {
    let parent = root.parent()?;
    Some(if parent.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        parent.to_owned()
    })
}

/// Of a folder that does not exist yet, the nearest one above that does, and the name that is missing there. Of a link
/// that leads nowhere, those of its target. `None` for a folder that exists.
fn awaited(root: &Path) -> Option<(PathBuf, OsString)> {
    let mut path = root.to_owned();
    for _ in 0..LINKS {
        if path.is_dir() {
            return None;
        }
        let mut missing = path.as_path();
        // The last part that exists, if only as a link.
        while missing.symlink_metadata().is_err() {
            let above = parent(missing)?;
            if above.is_dir() {
                return Some((above, missing.file_name()?.to_owned()));
            }
            missing = missing.parent()?;
        }
        let target = std::fs::read_link(missing).ok()?;
        let rest = path.strip_prefix(missing).ok()?;
        path = missing.parent()?.join(target).join(rest);
    }
    None
}

/// Completes when something in the folders has changed; never without inotify.
async fn changed(inotify: Option<&Inotify>) {
    let Some(inotify) = inotify else {
        return std::future::pending().await;
    };
    loop {
        match inotify.descriptor.readable().await {
            Ok(mut guard) => {
                let matters = inotify.drain();
                guard.clear_ready();
                if matters {
                    return;
                }
            }
            // The rescan sees it as well.
            Err(_) => return std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_missing_folder_is_awaited_where_its_path_ends() {
        let root = std::env::temp_dir().join(format!("kevmon-awaited-{}", std::process::id()));
        std::fs::create_dir_all(root.join("there/deep")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        symlink(root.join("nowhere/at"), root.join("dangling")).unwrap();
        symlink("there", root.join("link")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let cases: [(&str, Option<(&str, &str)>); 9] = [
            ("there", None),
            ("link/deep", None),
            ("none", Some(("", "none"))),
            ("none/x/y", Some(("", "none"))),
            ("there/none/y", Some(("there", "none"))),
            ("link/none", Some(("link", "none"))),
            ("dangling", Some(("", "nowhere"))),
            ("dangling/plugins", Some(("", "nowhere"))),
            ("loop/x", None),
        ];
        for (path, expected) in cases {
            let expected = expected.map(|(above, name)| (root.join(above), OsString::from(name)));
            let found = awaited(&root.join(path));
            let same = found
                .as_ref()
                .map(|(above, name)| (above.components().collect::<PathBuf>(), name));
            let expected = expected
                .as_ref()
                .map(|(above, name)| (above.components().collect::<PathBuf>(), name));
            assert_eq!(same, expected, "{path}");
        }
        assert_eq!(
            awaited(&root.join("file")),
            None,
            "a file is no folder that could come"
        );
        assert_eq!(
            awaited(Path::new("kevmon-no-such-folder")),
            Some((".".into(), "kevmon-no-such-folder".into()))
        );
        std::fs::remove_dir_all(root).unwrap();
    }
}
