//! One thread of a process, stopped in its tracks (ptrace(2)) while all others go on.

use std::fs;

use crate::{process::state_of_thread, wait};

/// Stopped until it goes out of scope. The thread that made it has to drop it.
#[derive(Debug)]
pub struct HeldThread {
    tid: i32,
}

impl HeldThread {
    /// Stops the thread `name` (its comm) of the process.
    pub fn of(pid: u32, name: &str) -> Self {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a live process");
        let tids = tasks.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let is_named = |tid: &i32| {
            let comm = fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm"));
            comm.is_ok_and(|comm| comm.trim_end() == name)
        };
        let tid = tids
            .filter(|tid| name != "kevmon" || u32::try_from(*tid) == Ok(pid))
            .find(is_named)
            .unwrap_or_else(|| panic!("no thread {name} in {pid}"));
        ptrace(libc::PTRACE_SEIZE, tid);
        ptrace(libc::PTRACE_INTERRUPT, tid);
        wait::until("the thread to stand still", wait::SOON, || {
            (state_of_thread(pid, tid)? == 't').then_some(())
        });
        Self { tid }
    }
}

impl Drop for HeldThread {
    fn drop(&mut self) {
        let mut status = 0;
        // SAFETY: a tracee of this thread, which is stopped.
        unsafe { libc::waitpid(self.tid, &raw mut status, libc::__WALL) };
        ptrace(libc::PTRACE_DETACH, self.tid);
    }
}

fn ptrace(request: libc::c_uint, tid: i32) {
    // SAFETY: requests without an address and data.
    let result = unsafe { libc::ptrace(request, tid, 0_usize, 0_usize) };
    assert_eq!(
        result,
        0,
        "missing prerequisite: ptrace: {}",
        std::io::Error::last_os_error()
    );
}
