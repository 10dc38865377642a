//! Makes collections out of readings and puts them out.

use std::{
    io::{self, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, Timespec, clock_gettime};

use super::watch::{Next, Watch};
use crate::{
    export::{Collection, Painted, ServiceReading, UnixClock},
    plugin::GroupId,
    process::BootTime,
    procfs::HostReader,
    shown,
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

/// For the starts of processes, where no earlier run of this boot has said it.
///
/// Read twice, it comes out the same to the nanosecond as long as nobody sets the clock: CLOCK_REALTIME and CLOCK_MONOTONIC run
/// at one rate, and their coarse forms are both of the last tick (kernel/time/timekeeping.c, `ktime_get_coarse_real_ts64`,
/// `ktime_get_coarse_ts64`), so that within one tick their difference is the kernel's own, and not that of two readings.
/// CLOCK_BOOTTIME has no coarse form; it is ahead by the time that the host was suspended, which is nothing on most hosts, and
/// exact to some 100 ns on others.
pub(super) fn boot_clock() -> UnixClock {
    /// Below this the host was never suspended, ns.
    const NEVER: u64 = 1_000_000;
    let coarse = || {
        (0..ATTEMPTS).find_map(|_| {
            let before = read(ClockId::MonotonicCoarse);
            let real = read(ClockId::RealtimeCoarse);
            let is_one_tick = before == read(ClockId::MonotonicCoarse);
            is_one_tick.then(|| real.saturating_sub(before))
        })
    };
    let Some(monotonic_began) = coarse() else {
        return clock();
    };
    let suspended = (0..ATTEMPTS).map(|_| {
        let before = read(ClockId::Monotonic);
        let boot = read(ClockId::Boottime);
        let after = read(ClockId::Monotonic);
        (after - before, boot.saturating_sub(before + (after - before) / 2))
    });
    let suspended = suspended.min().map_or(0, |(_, suspended)| suspended);
    let suspended = if suspended < NEVER { 0 } else { suspended };
    UnixClock::new(monotonic_began.saturating_sub(suspended), BootTime(0))
}

/// How often clocks are read to have them read together.
const ATTEMPTS: u32 = 16;

fn read(clock: ClockId) -> u64 {
    nanos(clock_gettime(clock))
}

fn nanos(time: Timespec) -> u64 {
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// CPU time of this process so far, ns.
pub(super) fn cpu_time() -> u64 {
    read(ClockId::ProcessCPUTime)
}

/// CPU time of this thread so far, ns.
pub(super) fn thread_cpu() -> u64 {
    read(ClockId::ThreadCPUTime)
}

/// The clocks that a collection is told by: see [`Collection`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    pub(super) clock: UnixClock,
    pub(super) boot: UnixClock,
    pub(super) wall: UnixClock,
}

/// Whether more collections come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// More come.
    GoesOn,
    /// These plugins are not collected again.
    OfPlugins,
    /// Nothing is collected again.
    OfRun,
}

/// Collects the plugins that are due.
pub(super) fn collect(
    watch: &mut Watch,
    due: &[GroupId],
    clocks: Clocks,
    faulty_plugins: &[String],
    end: End,
) -> Collection {
    let cpu = cpu_time();
    let services = watch.collect(due);
    let tick_cpu = cpu_time().saturating_sub(cpu);
    let next = match end {
        End::GoesOn => Next::Comes,
        End::OfPlugins | End::OfRun => Next::Never,
    };
    let mut collection = assemble(watch, services, due, clocks, faulty_plugins, next);
    collection.tick_cpu = tick_cpu;
    collection.is_final = end == End::OfRun;
    collection
}

/// Makes a collection of what was read of the plugins in `due`, whose interval this closes.
pub(super) fn assemble(
    watch: &mut Watch,
    mut services: Vec<ServiceReading>,
    due: &[GroupId],
    clocks: Clocks,
    faulty_plugins: &[String],
    next: Next,
) -> Collection {
    let Clocks { clock, boot, wall } = clocks;
    let complete = watch.close_intervals(due, next);
    for service in &mut services {
        service.complete = complete.get(&service.group).copied().unwrap_or_default();
    }
    let of_all = watch.completeness_of(complete.into_values());
    let unsettled = services.iter().map(|service| service.reading.unsettled).sum();
    Collection {
        unsettled,
        time: unix_now(),
        clock,
        boot,
        wall,
        services,
        health: watch.health_reading(of_all, faulty_plugins.to_vec()),
        tick_cpu: 0,
        is_final: true,
    }
}

/// Writes to standard output at once, without code points that would do something to a terminal ([`shown::lines`]): JSON has to
/// be free of them already ([`shown::json`]). Returns false when its reader has gone away, which is no failure of kevmon's.
///
/// # Errors
/// Any other failure of the write.
pub(super) fn print(text: &str) -> io::Result<bool> {
    write(&shown::lines(text))
}

/// Writes text for people to standard output at once. Returns false when its reader has gone away.
///
/// # Errors
/// Any other failure of the write.
pub(super) fn print_painted(text: &Painted) -> io::Result<bool> {
    write(text.as_str())
}

/// Writes text that is ready to be shown, likewise.
///
/// # Errors
/// Any other failure of the write.
pub(super) fn write(text: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_a_boot_comes_out_the_same_each_time() {
        let first = boot_clock();
        let now = i128::from(first.unix(HostReader::now())) - i128::from(unix_now());
        assert!(now.abs() < 1_000_000_000, "{now} ns");
        // A host that was suspended has its time in it, which is read and not computed.
        let was_suspended = read(ClockId::Boottime).saturating_sub(read(ClockId::Monotonic)) > 1_000_000;
        let allowed = if was_suspended { 10_000 } else { 0 };
        for _ in 0..100 {
            let again = boot_clock().unix(BootTime(0));
            assert!(again.abs_diff(first.unix(BootTime(0))) <= allowed, "{again}");
        }
    }
}
