//! What `filtered` does: a filter as a container runtime installs it.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Command, exit},
};

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Becomes the program; returns only if it cannot.
pub fn run(args: &[String]) {
    let middle = args
        .iter()
        .position(|arg| arg == "--")
        .expect("a -- before the program");
    let error: u32 = args[0].parse().expect("an error's number");
    let calls = args[1..middle].iter().map(|name| number(name));
    let instruction = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![instruction(LOAD, 0, 0, 0)];
    for call in calls {
        program.push(instruction(IF_EQUAL, call, 0, 1));
        program.push(instruction(RETURN, libc::SECCOMP_RET_ERRNO | error, 0, 0));
    }
    program.push(instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("a short program"),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the program lives until the call returns; root needs no no_new_privs.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const filter,
        )
    };
    assert_eq!(result, 0, "seccomp: {}", io::Error::last_os_error());
    let error = Command::new(&args[middle + 1]).args(&args[middle + 2..]).exec();
    eprintln!("{}: {error}", args[middle + 1]);
    exit(1);
}

fn number(name: &str) -> u32 {
    let number = match name {
        "landlock_create_ruleset" => libc::SYS_landlock_create_ruleset,
        "seccomp" => libc::SYS_seccomp,
        "capset" => libc::SYS_capset,
        "setgroups" => libc::SYS_setgroups,
        other => panic!("no number for {other:?}"),
    };
    u32::try_from(number).expect("a number of 32 bits")
}
