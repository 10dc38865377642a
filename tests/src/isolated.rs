//! A child that has the host's name and files of the host to itself, so that nobody else notices a change of them.

use std::{ffi::CString, io, os::unix::process::CommandExt, path::Path, process::Command};

/// Gives the child a UTS and a mount namespace of its own, a host name, and `files` over files of the host.
pub fn isolate(command: &mut Command, name: &str, files: &[(&Path, &str)]) {
    let text = |text: &str| CString::new(text).expect("no NUL");
    let name = text(name);
    let files: Vec<(CString, CString)> = files
        .iter()
        .filter(|(_, over)| Path::new(over).exists())
        .map(|(file, over)| (text(file.to_str().expect("UTF-8")), text(over)))
        .collect();
    let checked = |result: i32| match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: system calls alone, on strings made before the fork.
    unsafe {
        command.pre_exec(move || {
            checked(libc::unshare(libc::CLONE_NEWUTS | libc::CLONE_NEWNS))?;
            checked(libc::sethostname(name.as_ptr(), name.count_bytes()))?;
            let mount = |from: *const libc::c_char, to: *const libc::c_char, flags| {
                checked(libc::mount(from, to, std::ptr::null(), flags, std::ptr::null()))
            };
            mount(c"none".as_ptr(), c"/".as_ptr(), libc::MS_REC | libc::MS_PRIVATE)?;
            for (file, over) in &files {
                mount(file.as_ptr(), over.as_ptr(), libc::MS_BIND)?;
            }
            Ok(())
        });
    }
}
