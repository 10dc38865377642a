//! Two processes of one pid, one right after the other: clone3(2) gives a child the pid that was asked
//! for, where waiting for the counter to come round would take as many processes as the machine has pids.

use std::{ffi::CString, os::unix::ffi::OsStrExt};

use crate::{truth::Spawned, workload::Program};

/// Starts `program` with `args` as process `pid` of the initial pid namespace, which must be free. Needs
/// Linux 5.5 and CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE.
pub fn spawn(pid: u32, program: &Program, args: &[&str]) -> Spawned {
    let text = |bytes: &[u8]| CString::new(bytes).expect("no NUL");
    let path = text(program.path().as_os_str().as_bytes());
    let argv: Vec<CString> = std::iter::once(path.clone())
        .chain(args.iter().map(|arg| text(arg.as_bytes())))
        .collect();
    let mut argv: Vec<*const libc::c_char> = argv.iter().map(|arg| arg.as_ptr()).collect();
    argv.push(std::ptr::null());
    let environment = [std::ptr::null()];
    let mut pid_wanted = i32::try_from(pid).expect("a pid");
    // SAFETY: all zeros is a valid clone_args.
    let mut request: libc::clone_args = unsafe { std::mem::zeroed() };
    request.exit_signal = libc::SIGCHLD as u64;
    request.set_tid = (&raw mut pid_wanted) as u64;
    request.set_tid_size = 1;
    // SAFETY: without CLONE_VM the child has a copy of everything, `argv` and the texts it points to
    // included. It makes two system calls and touches nothing that another thread may have locked.
    let child = unsafe {
        let child = libc::syscall(libc::SYS_clone3, &raw mut request, size_of::<libc::clone_args>());
        if child == 0 {
            libc::execve(path.as_ptr(), argv.as_ptr(), environment.as_ptr());
            libc::_exit(127);
        }
        child
    };
    assert_eq!(
        child,
        i64::from(pid),
        "missing prerequisite: clone3 with a pid of our choice: {}",
        std::io::Error::last_os_error()
    );
    Spawned::own(pid)
}
