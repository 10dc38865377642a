//! Waiting with a deadline: every wait of the harness goes through here, so that a test that waits
//! for something that never comes fails and says what it was.

use std::{
    os::fd::{AsRawFd, BorrowedFd},
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Deadline of waits that take milliseconds when all is well.
pub const SOON: Duration = Duration::from_secs(15);

/// How many times as long every wait may take on a slow machine, such as an emulated one.
const PATIENCE: &str = "KEVMON_TEST_PATIENCE";

const POLL: Duration = Duration::from_millis(5);

/// A wait of so long on an ordinary machine, on this one.
pub fn patiently(timeout: Duration) -> Duration {
    static PATIENCE_HERE: OnceLock<u32> = OnceLock::new();
    let times = PATIENCE_HERE.get_or_init(|| {
        let Ok(times) = std::env::var(PATIENCE) else {
            return 1;
        };
        times
            .parse()
            .unwrap_or_else(|_| panic!("{PATIENCE} must be a number, not {times:?}"))
    });
    timeout * *times
}

/// Polls `condition` until it gives a value; panics with `what` after `timeout`.
pub fn until<T>(what: &str, timeout: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let timeout = patiently(timeout);
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {timeout:?} in vain for {what}");
        std::thread::sleep(POLL);
    }
}

/// Waits until `fd` can be read or its other end is closed; false when the deadline came first.
pub fn readable(fd: BorrowedFd<'_>, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        let mut poll = libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: `poll` is one valid pollfd and lives across the call.
        let ready = unsafe { libc::poll(&mut poll, 1, i32::try_from(left).unwrap_or(i32::MAX)) };
        match ready {
            0 => return false,
            1.. => return true,
            _ => assert_eq!(
                std::io::Error::last_os_error().kind(),
                std::io::ErrorKind::Interrupted,
                "poll failed"
            ),
        }
    }
}

/// Now, as Unix nanoseconds: the clock of kevmon's `time` and `start_time`.
pub fn unix_now() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is before 1970");
    u64::try_from(now.as_nanos()).expect("the clock is after 2554")
}
