//! Waits for the kernel's random number generator, off the event loop.
//!
//! Early in a boot without a hardware generator, getrandom(2) without flags blocks until the kernel has gathered enough entropy,
//! which can take minutes. TLS must not do without: its keys would be guessable. Everything else in kevmon draws random numbers
//! that nobody needs to be unable to guess (hash keys, jitter, ids of spans), and draws them from the standard library, which
//! asks with GRND_INSECURE or GRND_NONBLOCK and never waits.

use std::{
    io,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::sync::watch;
use tracing::{info, warn};

/// Whether the generator is seeded. Once it is, it stays so.
static SEEDED: LazyLock<watch::Sender<bool>> = LazyLock::new(|| watch::Sender::new(is_seeded()));
/// How often the generator is looked at where no thread can wait for it.
const LOOK: Duration = Duration::from_secs(1);
/// Somebody waits for it, which the log has said.
static WAITING: AtomicBool = AtomicBool::new(false);

/// Returns once the kernel's generator is seeded. The log says when that has to be waited for, once for all receivers.
pub async fn seeded() {
    let mut seeded = SEEDED.subscribe();
    if *seeded.borrow_and_update() {
        return;
    }
    if !WAITING.swap(true, Ordering::Relaxed) {
        warn!(
            "the kernel's random number generator is not seeded yet: exports over TLS wait for it, and requests are spooled; \
             counting, the Prometheus page and exports without TLS go on"
        );
        // A thread of its own: the runtime's would be waited for at the end.
        if let Err(error) = thread::Builder::new().name("entropy".to_owned()).spawn(wait) {
            warn!(
                "no thread to wait for the random number generator with: {error}; it is looked at once a second"
            );
            tokio::spawn(poll());
        }
    }
    // The sender is a static: it is never gone.
    let _: Result<_, watch::error::RecvError> = seeded.wait_for(|seeded| *seeded).await;
}

fn wait() {
    while draw(0).is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {}
    begin();
}

async fn poll() {
    while !is_seeded() {
        tokio::time::sleep(LOOK).await;
    }
    begin();
}

fn begin() {
    info!("the kernel's random number generator is seeded: exports over TLS begin");
    SEEDED.send_replace(true);
}

/// Whether getrandom(2) gives numbers without waiting. A kernel that lacks the call, or a filter that refuses it, says nothing
/// about the seed: TLS itself finds out then.
fn is_seeded() -> bool {
    !draw(libc::GRND_NONBLOCK).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

fn draw(flags: libc::c_uint) -> io::Result<()> {
    let mut byte = 0_u8;
    // SAFETY: one byte is written at most, to a place of one byte (getrandom(2)).
    let drawn = unsafe { libc::getrandom((&raw mut byte).cast(), 1, flags) };
    if drawn < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
