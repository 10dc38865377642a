//! Makes collections out of readings and puts them out.

use std::{
    io::{self, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use super::watch::Watch;
use crate::{
    export::{Collection, ServiceReading, UnixClock},
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
    let clocks = (clock, wall);
    let mut collection = assemble(watch, services, due, clocks, faulty_plugins);
    collection.tick_cpu = tick_cpu;
    collection.is_final = is_final;
    collection
}

/// Makes a collection of what was read of the plugins in `due`, whose interval this closes.
pub(super) fn assemble(
    watch: &mut Watch,
    services: Vec<ServiceReading>,
    due: &[GroupId],
    (clock, wall): (UnixClock, UnixClock),
    faulty_plugins: &[String],
) -> Collection {
    let unsettled = services.iter().map(|service| service.reading.unsettled).sum();
    Collection {
        unsettled,
        time: unix_now(),
        clock,
        wall,
        services,
        health: watch.health_reading(due, faulty_plugins.to_vec()),
        tick_cpu: 0,
        is_final: true,
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
