//! A panic gives the terminal back: this program runs one of its own tests in a terminal of its own.

use std::{process::Command, time::Duration};

use kevmon_tests::pty::Pty;
use rustix::termios::{LocalModes, tcgetattr};

use super::*;

#[test]
fn a_panic_gives_the_terminal_back_before_it_is_told() {
    for name in ["panics", "panics_in_a_thread"] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", "--nocapture", "--test-threads=1"])
            .arg(format!("app::top::terminal::tests::{name}"));
        let mut pty = Pty::start(command, (80, 24));
        pty.ended(Duration::from_secs(30));
        let written = pty.written();
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
        let (now, before) = pty.modes();
        assert_eq!(now, before, "{name}: the terminal's modes");
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
