//! kevmon on a /proc of its own, mounted with chosen options.

use std::{ffi::CString, io, os::unix::process::CommandExt, process::Command};

/// Gives what `command` starts a mount namespace in which /proc is mounted with `options`.
pub fn with_proc(command: &mut Command, options: &str) {
    let options = CString::new(options).expect("no NUL");
    let checked = |result: i32| match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: system calls alone, on strings made before the fork.
    unsafe {
        command.pre_exec(move || {
            checked(libc::unshare(libc::CLONE_NEWNS))?;
            let private = libc::MS_REC | libc::MS_PRIVATE;
            checked(libc::mount(
                c"none".as_ptr(),
                c"/".as_ptr(),
                std::ptr::null(),
                private,
                std::ptr::null(),
            ))?;
            checked(libc::mount(
                c"proc".as_ptr(),
                c"/proc".as_ptr(),
                c"proc".as_ptr(),
                0,
                options.as_ptr().cast(),
            ))
        });
    }
}
