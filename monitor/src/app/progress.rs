//! What a command is at, on standard error, for whatever takes longer than a second. Only a terminal is shown it.

use std::{
    io::{IsTerminal, Write},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::export::span;

/// What takes no longer than this is not worth a word.
const QUICK: Duration = Duration::from_secs(1);
/// The line is written again this often.
const AGAIN: Duration = Duration::from_millis(500);
/// Clears the line that the cursor is on, and stays at its beginning.
const CLEAR: &str = "\r\x1b[K";

/// Shows the line for as long as it lives.
#[derive(Debug)]
pub(super) struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// `what` is being done, nobody knows for how long.
    pub(super) fn start(what: &'static str) -> Self {
        Self::shown(std::io::stderr(), std::io::stderr().is_terminal(), what, None)
    }

    /// `what` is being done, and takes `length` or somewhat longer.
    pub(super) fn of(what: &'static str, length: Duration) -> Self {
        Self::shown(
            std::io::stderr(),
            std::io::stderr().is_terminal(),
            what,
            Some(length),
        )
    }

    fn shown(
        mut to: impl Write + Send + 'static,
        is_terminal: bool,
        what: &'static str,
        length: Option<Duration>,
    ) -> Self {
        if !is_terminal {
            return Self(None);
        }
        let (done, is_done) = mpsc::channel::<()>();
        let began = Instant::now();
        let thread = thread::Builder::new().name("progress".to_owned()).spawn(move || {
            let mut wait = QUICK;
            while let Err(RecvTimeoutError::Timeout) = is_done.recv_timeout(wait) {
                wait = AGAIN;
                // The cursor stays at the beginning: a line of the log takes this one's place.
                let text = format!("{CLEAR}{}\r", text(what, length, began.elapsed()));
                let _: std::io::Result<()> = to.write_all(text.as_bytes()).and_then(|()| to.flush());
            }
            if wait == AGAIN {
                let _: std::io::Result<()> = to.write_all(CLEAR.as_bytes()).and_then(|()| to.flush());
            }
        });
        // Without a thread there is no line, and nothing else is missing.
        Self(thread.ok().map(|thread| (done, thread)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((done, thread)) = self.0.take() {
            drop(done);
            // It has nothing to wait for but a slow terminal.
            let _: thread::Result<()> = thread.join();
        }
    }
}

fn text(what: &str, length: Option<Duration>, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    match length {
        Some(length) if elapsed < length => format!("{what}: {seconds} s of {}", span(length)),
        Some(_) => format!("{what}: {seconds} s, done soon"),
        None => format!("{what}: {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_a_terminal_and_only_what_takes_long() {
        let shown = |is_terminal, length: Duration| {
            let screen = Screen::default();
            let progress = Progress::shown(screen.clone(), is_terminal, "measuring", Some(length));
            thread::sleep(length);
            drop(progress);
            let written = screen.0.lock().unwrap().clone();
            String::from_utf8(written).unwrap()
        };
        assert_eq!(shown(true, Duration::from_millis(100)), "");
        assert_eq!(shown(false, Duration::from_millis(1_200)), "");
        let long = shown(true, Duration::from_millis(1_400));
        assert!(
            long.contains("measuring: 1 s of 1.400 s\r") && long.ends_with(CLEAR),
            "{long:?}"
        );
    }
}
