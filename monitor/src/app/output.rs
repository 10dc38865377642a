//! Makes collections out of readings and puts them out.

use std::{
    io::{self, Write},
    sync::mpsc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tracing::{error, warn};

use super::watch::Watch;
use crate::{
    export::{Collection, UnixClock},
    plugin::GroupId,
    procfs::HostReader,
};

/// Now, Unix ns.
pub(super) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// Unix time as it is told now: for starts to be taken once, for what happens to be followed.
pub(super) fn clock() -> UnixClock {
    UnixClock::new(unix_now(), HostReader::now())
}

/// CPU time of this process so far, ns.
pub(super) fn cpu_time() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Collects the plugins that are due, to be told by [`Collection`]'s two clocks.
pub(super) fn collect(
    watch: &mut Watch,
    due: &[GroupId],
    (clock, wall): (UnixClock, UnixClock),
    faulty_plugins: &[String],
    is_final: bool,
) -> Collection {
    let cpu = cpu_time();
    let services = watch.collect(due);
    let tick_cpu = cpu_time().saturating_sub(cpu);
    let unsettled = services.iter().map(|service| service.reading.unsettled).sum();
    Collection {
        unsettled,
        time: unix_now(),
        clock,
        wall,
        services,
        health: watch.health_reading(due, faulty_plugins.to_vec()),
        tick_cpu,
        is_final,
    }
}

/// Writes to standard output at once. Returns false when its reader has gone away, which is no failure of kevmon's.
///
/// # Errors
/// Any other failure of the write.
pub(super) fn print(text: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Lines that wait for a slow reader; further ones are left out and counted.
const WAITING: usize = 64;

/// Writes lines to standard output from a thread of its own: a reader that does not read must not stop the ticks.
pub(super) struct Lines {
    queue: Option<mpsc::SyncSender<String>>,
    finished: mpsc::Receiver<()>,
}

impl Lines {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread can be had.
    pub(super) fn start() -> io::Result<Self> {
        let (queue, lines) = mpsc::sync_channel::<String>(WAITING);
        let (finish, finished) = mpsc::channel();
        std::thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || {
                for line in lines {
                    match print(&line) {
                        Ok(true) => {}
                        Ok(false) => {
                            warn!("nobody reads standard output any more: no further JSON; exports go on");
                            break;
                        }
                        Err(error) => {
                            error!("standard output: {error}: no further JSON; exports go on");
                            break;
                        }
                    }
                }
                // Fails only when nobody waits for it any more.
                let _: Result<(), mpsc::SendError<()>> = finish.send(());
            })?;
        Ok(Self {
            queue: Some(queue),
            finished,
        })
    }

    /// Hands a line over; returns false when it had to be left out.
    pub(super) fn push(&mut self, line: String) -> bool {
        let Some(queue) = &self.queue else { return true };
        match queue.try_send(line) {
            Ok(()) => true,
            Err(mpsc::TrySendError::Full(_)) => false,
            Err(mpsc::TrySendError::Disconnected(_)) => {
                self.queue = None;
                true
            }
        }
    }

    /// Waits until all lines are written, for `limit` at most.
    pub(super) fn finish(mut self, limit: Duration) {
        self.queue = None;
        if self.finished.recv_timeout(limit).is_err() {
            warn!("the reader of standard output did not take the last lines");
        }
    }
}
