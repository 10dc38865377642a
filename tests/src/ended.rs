//! Logs of kevmons that have ended: a test that fails afterwards shows them.

use std::{cell::RefCell, panic, sync::Once, thread};

/// Logs that are kept of each test.
const KEPT: usize = 4;

thread_local! {
    /// Of the test that runs on this thread, oldest first.
    static LOGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the log of a kevmon that has ended, where it is not empty. Does nothing while the thread panics: its owner shows the log itself then.
pub(crate) fn keep(log: String) {
    static HOOK: Once = Once::new();
    if thread::panicking() || log.is_empty() {
        return;
    }
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |information| {
            before(information);
            show();
        }));
    });
    LOGS.with_borrow_mut(|logs| {
        logs.push(log);
        let surplus = logs.len().saturating_sub(KEPT);
        logs.drain(..surplus);
    });
}

/// The thread may be at its end, or hold the list.
fn show() {
    let _ = LOGS.try_with(|logs| {
        for log in logs.try_borrow().iter().flat_map(|logs| logs.iter()) {
            eprintln!("--- stderr of a kevmon that had ended ---\n{log}");
        }
    });
}
