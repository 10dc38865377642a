//! The terminal: taken for the time of one guard, and given back as it was found.
//!
//! Keys, SIGTERM, SIGINT, SIGHUP and SIGQUIT end the caller's loop, and with it the guard. Ctrl-Z and a SIGTSTP from outside give the
//! terminal back, stop this process as the shell expects it, and take the terminal again after SIGCONT. What nobody can catch leaves
//! raw mode and the other screen: SIGKILL, for which `reset` is the remedy, and SIGSTOP until the SIGCONT that follows it. So do the
//! signals of a crash (SIGSEGV, SIGABRT and the like).
//!
//! A panic of any thread gives it back before its message is written, which would vanish with the screen otherwise.

use std::{
    io::{self, BufWriter, Stdout, Write, stdout},
    mem, panic,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, Result};
use ratatui::{
    Terminal,
    backend::{Backend, CrosstermBackend},
    crossterm::{
        cursor::Show,
        event::{self, DisableMouseCapture, EnableMouseCapture, Event},
        execute,
        style::force_color_output,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use tokio::sync::mpsc;

use super::{
    state::State,
    view::{self, Look},
};

/// Events of the terminal that wait at most.
const WAITING: usize = 256;
/// Bytes of a screen that are written at once: a full one of 200 columns and 50 lines has about as many.
const WRITTEN_AT_ONCE: usize = 64 << 10;

/// Gives the terminal back, once.
struct Giver {
    is_taken: AtomicBool,
    has_mouse: bool,
}

impl Giver {
    fn take(&self) -> io::Result<()> {
        self.is_taken.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen)?;
        if self.has_mouse {
            execute!(stdout(), EnableMouseCapture)?;
        }
        Ok(())
    }

    /// Nothing can be done about a terminal that is gone.
    fn give_back(&self) {
        if !self.is_taken.swap(false, Ordering::SeqCst) {
            return;
        }
        let mut out = stdout();
        if self.has_mouse {
            let _: io::Result<()> = execute!(out, DisableMouseCapture);
        }
        let _: io::Result<()> = execute!(out, LeaveAlternateScreen, Show);
        let _: io::Result<()> = disable_raw_mode();
        let _: io::Result<()> = out.flush();
    }
}

/// The terminal, while it is kevmon's.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    giver: Arc<Giver>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It is none, or cannot be set.
    pub(super) fn enter(has_mouse: bool, has_colours: bool) -> Result<Self> {
        // NO_COLOR has been considered with --color.
        force_color_output(has_colours);
        let giver = Arc::new(Giver {
            is_taken: AtomicBool::new(false),
            has_mouse,
        });
        let before = panic::take_hook();
        let of_panic = Arc::clone(&giver);
        panic::set_hook(Box::new(move |info| {
            of_panic.give_back();
            before(info);
        }));
        let out = BufWriter::with_capacity(WRITTEN_AT_ONCE, stdout());
        let taken = giver
            .take()
            .and_then(|()| Terminal::new(CrosstermBackend::new(out)));
        match taken {
            Ok(terminal) => Ok(Self { terminal, giver }),
            Err(error) => {
                giver.give_back();
                Err(error).context("the terminal")
            }
        }
    }

    /// Draws the state.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn draw(&mut self, state: &mut State, look: Look) -> Result<()> {
        let drawn = self.terminal.draw(|frame| {
            state.fit(view::table_height(frame.area(), state));
            view::draw(frame.buffer_mut(), state, look);
        });
        drawn.map(drop).context("the terminal")
    }

    /// Gives the terminal back, stops this process as Ctrl-Z does, and takes the terminal again when it goes on.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn suspend(&mut self) -> Result<()> {
        self.giver.give_back();
        // The shell takes over until it continues this process.
        stop().context("SIGTSTP")?;
        self.retake()
    }

    /// Takes the terminal again after SIGCONT: whoever had it meanwhile may have set it.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn retake(&mut self) -> Result<()> {
        // Modes are set only by one who does not have them yet.
        self.giver.give_back();
        self.giver.take().context("the terminal")?;
        // Not Terminal::clear, which asks the terminal for the cursor's place: the thread that reads keys has the answer.
        self.terminal.backend_mut().clear().context("the terminal")?;
        self.terminal.swap_buffers();
        Ok(())
    }
}

/// Stops this process as SIGTSTP does where nobody catches it; not at all where no shell could continue it (an orphaned process
/// group, setpgid(2)), in which SIGSTOP would stop it for good. Returns once it goes on.
fn stop() -> io::Result<()> {
    let set = |action: &libc::sigaction, before: *mut libc::sigaction| {
        // SAFETY: `action` is whole, and `before` is null or has room for one.
        match unsafe { libc::sigaction(libc::SIGTSTP, action, before) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: all zeros are a valid `sigaction`: the default action, no flags and an empty mask.
    let (default, mut caught): (libc::sigaction, libc::sigaction) = unsafe { (mem::zeroed(), mem::zeroed()) };
    set(&default, &raw mut caught)?;
    // To this thread: it has stopped, and gone on, once this returns.
    // SAFETY: takes a number alone.
    unsafe { libc::raise(libc::SIGTSTP) };
    set(&caught, std::ptr::null_mut())
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.giver.give_back();
    }
}

/// Keys and the like, read on a thread of their own.
pub(super) struct Input(mpsc::Receiver<Event>);

impl Input {
    /// Begins to read.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start() -> Result<Self> {
        let (sender, events) = mpsc::channel(WAITING);
        thread::Builder::new()
            .name("kevmon-keys".to_owned())
            .spawn(move || {
                // Ends with the terminal, or with whoever takes the events.
                while let Ok(event) = event::read() {
                    if sender.blocking_send(event).is_err() {
                        return;
                    }
                }
            })
            .context("a thread for keys")?;
        Ok(Self(events))
    }

    /// The next event; `None`: the terminal is gone.
    pub(super) async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

#[cfg(test)]
mod tests;
