//! One timer for all that the loop has to do at a time.
//!
//! It is a timer of the kernel (timerfd_create(2)), which wakes the loop once, at that time. tokio's own timers sort what is far
//! away into slots, and wake for each slot on the way: two or three times for a second.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

/// The timer.
pub(super) struct Alarm {
    timer: AsyncFd<OwnedFd>,
    /// When it is set to.
    at: Option<Instant>,
}

impl Alarm {
    /// A timer that is not set. Needs a tokio runtime.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // SAFETY: the AsyncFd owns the descriptor, so the registration ends before the descriptor is closed.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?;
        Ok(Self { timer, at: None })
    }

    /// Completes at that time, or at once where it has passed. Cancelled, it may be asked again.
    pub(super) async fn wait(&mut self, until: Instant) {
        while let Some(left) = until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
        {
            if self.at != Some(until) {
                // Of a valid descriptor and time, nothing fails.
                self.at = set(&self.timer, left).is_ok().then_some(until);
            }
            match self.timer.readable().await {
                Ok(mut guard) => {
                    let mut expirations = [0; 8];
                    // Nothing is there to be read where it was set again since it rang.
                    if rustix::io::read(&self.timer, &mut expirations).is_ok() {
                        self.at = None;
                    }
                    guard.clear_ready();
                }
                // The runtime ends.
                Err(_) => std::future::pending().await,
            }
        }
    }
}

fn set(timer: &AsyncFd<OwnedFd>, left: Duration) -> rustix::io::Result<()> {
    let value = Itimerspec {
        it_interval: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: Timespec::try_from(left).unwrap_or(Timespec {
            tv_sec: i64::from(i32::MAX),
            tv_nsec: 0,
        }),
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &value).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_rings_at_each_time_that_it_is_asked_for_and_never_before() {
        let mut alarm = Alarm::new().expect("a descriptor");
        let millis = Duration::from_millis;
        for delay in [0, 5, 30, 1] {
            let until = Instant::now() + millis(delay);
            alarm.wait(until).await;
            assert!(Instant::now() >= until, "{delay} ms");
        }
        // Asked for a later time, and cancelled, it rings for the earlier one; and the other way round.
        let began = Instant::now();
        for (cancelled, kept) in [(60_000, 20), (5, 40)] {
            let until = Instant::now() + millis(cancelled);
            tokio::select! {
                biased;
                () = alarm.wait(until) => panic!("before its time"),
                () = std::future::ready(()) => {}
            }
            std::thread::sleep(millis(10));
            let until = Instant::now() + millis(kept);
            alarm.wait(until).await;
            assert!(Instant::now() >= until);
        }
        alarm.wait(began).await;
        assert!(began.elapsed() < millis(5_000), "{:?}", began.elapsed());
    }
}
