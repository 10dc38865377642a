//! A panic gives the terminal back: this program runs one of its own tests in a terminal of its own.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use rustix::termios::{LocalModes, tcgetattr};

use super::*;

/// Both sides of a new terminal.
fn terminal() -> (File, OwnedFd) {
    let (mut outer, mut inner) = (0, 0);
    let size = libc::winsize {
        ws_row: 24,
        ws_col: 80,
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
    assert_eq!(opened, 0, "openpty: {}", io::Error::last_os_error());
    // SAFETY: openpty(3) has opened both, and nobody else knows them.
    unsafe { (File::from_raw_fd(outer), OwnedFd::from_raw_fd(inner)) }
}

/// Runs the ignored test `name` of this program in a terminal: what it wrote, and whether the terminal is in raw mode after it.
fn run_in_a_terminal(name: &str) -> (String, bool) {
    let (mut outer, inner) = terminal();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "--nocapture", "--test-threads=1", name])
        .env("TERM", "xterm")
        .stdin(Stdio::from(inner.try_clone().unwrap()))
        .stdout(Stdio::from(inner.try_clone().unwrap()))
        .stderr(Stdio::from(inner.try_clone().unwrap()));
    // SAFETY: setsid(2) and ioctl(2) may be called between fork and exec; standard input is the terminal by then.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            libc::ioctl(0, libc::TIOCSCTTY, 0);
            Ok(())
        });
    }
    let mut child = command.spawn().unwrap();
    drop(command);
    let reader = thread::spawn(move || {
        let mut written = Vec::new();
        let mut chunk = [0; 4096];
        // An error comes once nobody holds the other side any more.
        while let Ok(count @ 1..) = outer.read(&mut chunk) {
            written.extend_from_slice(&chunk[..count]);
        }
        String::from_utf8_lossy(&written).into_owned()
    });
    child.wait().unwrap();
    let modes = tcgetattr(&inner).unwrap().local_modes;
    let is_raw = !modes.contains(LocalModes::ICANON | LocalModes::ECHO);
    assert!(inner.as_raw_fd() >= 0);
    drop(inner);
    (reader.join().unwrap(), is_raw)
}

#[test]
fn a_panic_gives_the_terminal_back_before_it_is_told() {
    for name in ["panics", "panics_in_a_thread"] {
        let (written, is_raw) = run_in_a_terminal(&format!("app::top::terminal::tests::{name}"));
        let place = |text: &str| {
            written
                .find(text)
                .unwrap_or_else(|| panic!("no {text:?} in {written:?}"))
        };
        assert!(place("\x1b[?1049h") < place("\x1b[?1049l"), "{name}: {written:?}");
        assert!(
            place("\x1b[?1049l") < place("on purpose"),
            "the message stays: {written:?}"
        );
        assert!(
            place("\x1b[?25h") < place("on purpose"),
            "the cursor is shown: {written:?}"
        );
        assert!(!is_raw, "{name}: raw mode is left");
    }
}

fn taken() -> Screen {
    let screen = Screen::enter(false, true).unwrap();
    let modes = tcgetattr(io::stdin()).unwrap().local_modes;
    assert!(
        !modes.contains(LocalModes::ICANON),
        "raw mode, while it is kevmon's"
    );
    screen
}

#[test]
#[ignore = "run by a_panic_gives_the_terminal_back_before_it_is_told"]
fn panics() {
    let _screen = taken();
    panic!("on purpose");
}

#[test]
#[ignore = "run by a_panic_gives_the_terminal_back_before_it_is_told"]
fn panics_in_a_thread() {
    let screen = taken();
    let told = thread::spawn(|| panic!("on purpose")).join();
    assert!(told.is_err());
    // Not dropped: the hook alone has to do it.
    std::mem::forget(screen);
}
