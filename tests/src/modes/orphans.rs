//! Orphans: processes whose parent has ended, so that process 1 or a subreaper reaps them (prctl(2),
//! PR_SET_CHILD_SUBREAPER).

use std::{collections::HashSet, ffi::CString, io::BufRead, mem::MaybeUninit};

use super::{Args, checked, hold, ready, say};
use crate::truth::{self, Truth};

/// `orphans N (init|subreaper) PROGRAM ARGS…`: at the first line of its input it makes N orphans, as fast as it can, that
/// execute the program. With `subreaper` this process reaps them; otherwise process 1 does. It answers as
/// `storm` does: with `init` only the count is known, and the rest is 0.
pub(super) fn orphans(args: &Args<'_>) -> i32 {
    let (count, reaper) = (args.number(0), args.positional(1));
    let own = reaper == "subreaper";
    assert!(
        own || reaper == "init",
        "{reaper:?} is neither init nor subreaper"
    );
    let arguments: Vec<CString> = args.0[2..]
        .iter()
        .map(|argument| CString::new(argument.as_str()).expect("no NUL"))
        .collect();
    ready();
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .expect("the harness writes text");
    if own {
        // SAFETY: prctl takes plain integers.
        checked(
            unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) },
            "PR_SET_CHILD_SUBREAPER",
        );
    }
    let mut sum = Truth::default();
    let mut parents = HashSet::new();
    for _ in 0..count {
        let parent = make_orphan(&arguments);
        parents.insert(parent);
        // An orphan that has ended already may come first.
        while reap(if own { -1 } else { parent }, &parents, &mut sum) != parent {}
    }
    while own && sum.count < count {
        reap(-1, &parents, &mut sum);
    }
    let Truth {
        cpu_ns,
        voluntary,
        involuntary,
        read_bytes,
        write_bytes,
        ..
    } = sum;
    say(&format!(
        "{count} {cpu_ns} {voluntary} {involuntary} {read_bytes} {write_bytes}"
    ));
    hold();
    0
}

/// Makes a process that makes the orphan and ends; returns that process's pid.
fn make_orphan(arguments: &[CString]) -> i32 {
    let mut pointers: Vec<*const libc::c_char> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let environment = [std::ptr::null()];
    // SAFETY: this process has one thread, so its child may do all that it may. The pointers live across the exec, and
    // both arrays end with a null.
    unsafe {
        match checked(libc::fork(), "fork") {
            0 => {
                if libc::fork() == 0 {
                    libc::execve(pointers[0], pointers.as_ptr(), environment.as_ptr());
                    libc::_exit(127);
                }
                libc::_exit(0)
            }
            pid => pid,
        }
    }
}

/// Reaps `pid`, or any child for -1, and adds what it used unless it is one of `parents`. Returns its pid.
fn reap(pid: i32, parents: &HashSet<i32>, sum: &mut Truth) -> i32 {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are valid for what wait4 writes; zeroed is a valid rusage.
    let (reaped, usage) = unsafe {
        let reaped = libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr());
        (checked(reaped, "wait4"), usage.assume_init())
    };
    if !parents.contains(&reaped) {
        *sum += Truth {
            count: 1,
            ..truth::from_rusage(&usage)
        };
    }
    reaped
}
