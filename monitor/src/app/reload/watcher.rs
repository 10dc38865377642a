//! Notices that configuration files have changed, and reads them again: beside the ticks, which never wait for a disk.

use std::{io, os::fd::OwnedFd, path::PathBuf, time::Duration};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tracing::{info, warn};

use crate::{
    app::sources::{Configuration, Sources},
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

/// Reads the configuration each time that its files have changed, and on SIGHUP, for whoever takes it from the other end.
pub(in crate::app) struct Watcher {
    sources: Sources,
    seen: Survey,
    inotify: Option<Inotify>,
    hangup: Signal,
    to: mpsc::Sender<Configuration>,
}

/// Folders under watch.
struct Inotify {
    descriptor: AsyncFd<OwnedFd>,
    /// What they were when the watches were put on them.
    seen: Option<Survey>,
    /// A folder could not be watched, which the log has said.
    refused: bool,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Hangup,
    Change,
}

impl Watcher {
    /// From what the files looked like when they were read: what changes since then is not missed. Needs a tokio runtime.
    ///
    /// # Errors
    /// SIGHUP cannot be taken.
    pub(in crate::app) fn start(sources: Sources, seen: Survey) -> io::Result<mpsc::Receiver<Configuration>> {
        let (to, from) = mpsc::channel(1);
        let mut watcher = Self {
            sources,
            seen,
            inotify: Inotify::new().inspect_err(say_no_inotify).ok(),
            hangup: signal(SignalKind::hangup())?,
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
                _ = self.hangup.recv() => Some(Cause::Hangup),
                () = changed(self.inotify.as_ref()) => Some(Cause::Change),
                () = sleep_until(rescan) => None,
            };
            if cause == Some(Cause::Change) {
                self.wait_for_quiet().await;
            }
            rescan = Instant::now() + RESCAN;
            let Some(survey) = self.survey().await else {
                return; // the runtime ends
            };
            if cause == Some(Cause::Hangup) {
                info!("SIGHUP: the configuration is read again");
            } else if survey == self.seen {
                continue;
            }
            self.seen = survey;
            self.watch_folders();
            let sources = self.sources.clone();
            let Ok(configuration) = tokio::task::spawn_blocking(move || sources.read()).await else {
                return;
            };
            if self.to.send(configuration).await.is_err() {
                return; // the daemon ends
            }
        }
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
        let roots = self.sources.plugins();
        let roots = roots.directories.iter().chain(&roots.search_path);
        // A folder that does not exist yet is looked for where it would come to stand.
        let parents = roots.filter_map(|root| Some(root.parent()?.to_owned()));
        let folders: Vec<PathBuf> = self.seen.folders().cloned().chain(parents).collect();
        let Some(inotify) = &mut self.inotify else { return };
        if inotify
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
        for folder in &folders {
            if let Err(error) = inotify::add_watch(inotify.descriptor.get_ref(), folder, CHANGES)
                && error != rustix::io::Errno::NOENT
            {
                refused = Some((folder, error));
            }
        }
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
        })
    }

    /// Takes what was told; what it was does not matter, an overflow included.
    fn drain(&self) {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.descriptor.get_ref(), &mut buffer);
        while reader.next().is_ok() {}
    }
}

/// Completes when something in the folders has changed; never without inotify.
async fn changed(inotify: Option<&Inotify>) {
    let Some(inotify) = inotify else {
        return std::future::pending().await;
    };
    match inotify.descriptor.readable().await {
        Ok(mut guard) => {
            inotify.drain();
            guard.clear_ready();
        }
        // The rescan sees it as well.
        Err(_) => std::future::pending().await,
    }
}
