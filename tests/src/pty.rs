//! A program in a terminal of its own, and what its screen shows: enough of a terminal for what kevmon top writes.

use std::{
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{kevmon::KillOnDrop, wait};

/// What a terminal is set to: input, output, control and local modes.
pub type Modes = [u32; 4];

/// A program in its terminal.
#[derive(Debug)]
pub struct Pty {
    child: KillOnDrop,
    /// The terminal as its user has it: keys go in, what is shown comes out.
    outer: File,
    /// The terminal as the program has it, kept to look at its modes.
    inner: OwnedFd,
    written: Arc<Mutex<Vec<u8>>>,
    size: (u16, u16),
    before: Modes,
}

impl Pty {
    /// Starts `command` in a terminal of so many columns and lines, with `TERM=xterm`.
    pub fn start(mut command: Command, (columns, lines): (u16, u16)) -> Self {
        let (mut outer, mut inner) = (0, 0);
        let size = libc::winsize {
            ws_row: lines,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the descriptors and the size live until the call returns; a null name and null modes are allowed.
        let opened = unsafe {
            libc::openpty(
                &raw mut outer,
                &raw mut inner,
                std::ptr::null_mut(),
                std::ptr::null(),
                &raw const size,
            )
        };
        assert_eq!(opened, 0, "openpty: {}", std::io::Error::last_os_error());
        // SAFETY: openpty(3) has opened both, and nobody else knows them.
        let (outer, inner) = unsafe { (File::from_raw_fd(outer), OwnedFd::from_raw_fd(inner)) };
        for fd in [outer.as_raw_fd(), inner.as_raw_fd()] {
            // SAFETY: takes integers alone.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        let stream = || Stdio::from(inner.try_clone().expect("a descriptor"));
        command
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(stream())
            .stdout(stream())
            .stderr(stream());
        // SAFETY: setsid(2) and ioctl(2) may be called between fork and exec; standard input is the terminal by then.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let before = modes(&inner);
        let child = KillOnDrop(command.spawn().expect("the program starts"));
        drop(command);
        let written = Arc::new(Mutex::new(Vec::new()));
        let (mut from, to) = (outer.try_clone().expect("a descriptor"), Arc::clone(&written));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut chunk) {
                to.lock().expect("no panic").extend_from_slice(&chunk[..count]);
            }
        });
        Self {
            child,
            outer,
            inner,
            written,
            size: (columns, lines),
            before,
        }
    }

    /// The program's pid.
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// What the terminal is set to now, and before the program started.
    pub fn modes(&self) -> (Modes, Modes) {
        (modes(&self.inner), self.before)
    }

    /// Everything that was written so far.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().expect("no panic")).into_owned()
    }

    /// What the screen shows now, line by line.
    pub fn screen(&self) -> Vec<String> {
        screen(&self.written(), self.size)
    }

    /// Types these keys.
    pub fn press(&mut self, keys: &str) {
        self.outer.write_all(keys.as_bytes()).expect("the terminal");
    }

    /// Sends a signal to the program.
    pub fn send(&self, signal: i32) {
        let pid = i32::try_from(self.pid()).expect("a pid");
        // SAFETY: kill(2) takes plain integers; the child has not been reaped.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Waits until the screen shows `text`, and returns that line.
    pub fn shows(&self, text: &str, limit: Duration) -> String {
        self.line(text, limit, |line| line.contains(text))
    }

    /// Waits until a line of the screen is as wanted.
    pub fn line(&self, what: &str, limit: Duration, is_wanted: impl Fn(&str) -> bool) -> String {
        let deadline = std::time::Instant::now() + wait::patiently(limit);
        loop {
            let screen = self.screen();
            if let Some(line) = screen.iter().find(|line| is_wanted(line)) {
                return line.clone();
            }
            assert!(
                std::time::Instant::now() < deadline,
                "no line with {what}:\n{}",
                screen.join("\n")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the program's end, and for all that it wrote.
    pub fn ended(&mut self, limit: Duration) -> ExitStatus {
        // A sequence that no terminal knows: what comes before it has been read once it has.
        const LAST: &[u8] = b"\x1b]kvt-last\x07";
        let status = wait::until("the program to end", limit, || {
            self.child.0.try_wait().expect("our child")
        });
        let inner = self.inner.try_clone().expect("a descriptor");
        File::from(inner).write_all(LAST).expect("a terminal");
        wait::until("what it wrote", limit, || {
            let mut written = self.written.lock().expect("no panic");
            let at = written.len().checked_sub(LAST.len())?;
            (&written[at..] == LAST).then(|| written.truncate(at))
        });
        status
    }
}

fn modes(terminal: &OwnedFd) -> Modes {
    let mut modes = std::mem::MaybeUninit::<libc::termios>::uninit();
    // SAFETY: a valid descriptor, and room for what is written.
    let told = unsafe { libc::tcgetattr(terminal.as_raw_fd(), modes.as_mut_ptr()) };
    assert_eq!(told, 0, "tcgetattr: {}", std::io::Error::last_os_error());
    // SAFETY: tcgetattr(3) has filled it.
    let modes = unsafe { modes.assume_init() };
    [modes.c_iflag, modes.c_oflag, modes.c_cflag, modes.c_lflag]
}

/// Plays what was written: cursor addresses, clearing and text. Other sequences change no text.
fn screen(written: &str, (columns, lines): (u16, u16)) -> Vec<String> {
    let (columns, lines) = (usize::from(columns), usize::from(lines));
    let mut cells = vec![vec![' '; columns]; lines];
    let (mut x, mut y) = (0, 0);
    let mut letters = written.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\x1b' => {
                if letters.next() != Some('[') {
                    continue;
                }
                let mut parameters = String::new();
                let last = letters
                    .by_ref()
                    .find(|letter| {
                        let is_last = ('@'..='~').contains(letter);
                        if !is_last {
                            parameters.push(*letter);
                        }
                        is_last
                    })
                    .unwrap_or(' ');
                match last {
                    'H' => {
                        let mut numbers = parameters
                            .split(';')
                            .map(|number| number.parse::<usize>().unwrap_or(1) - 1);
                        y = numbers.next().unwrap_or(0);
                        x = numbers.next().unwrap_or(0);
                    }
                    'J' => cells = vec![vec![' '; columns]; lines],
                    // The other screen begins at its top, and so does what is written once it is left.
                    'h' | 'l' if parameters == "?1049" => {
                        cells = vec![vec![' '; columns]; lines];
                        (x, y) = (0, 0);
                    }
                    _ => {}
                }
            }
            '\r' => x = 0,
            '\n' => y += 1,
            letter => {
                if let Some(cell) = cells.get_mut(y).and_then(|line| line.get_mut(x)) {
                    *cell = letter;
                }
                x += 1;
            }
        }
    }
    cells
        .into_iter()
        .map(|line| line.into_iter().collect::<String>().trim_end().to_owned())
        .collect()
}
