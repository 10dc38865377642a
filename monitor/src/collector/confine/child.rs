//! The confined process, from the fork to its work: every privilege is given up before anything of the plugin's is looked at.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs,
    io::{self, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use caps::CapSet;

use super::{
    FileOrder, Order,
    calls::Sockets,
    domain,
    filter::{self, Installed},
    reading,
    refusals::{self, Confined},
};

/// Processes of one user at once; files of one process; bytes of a file.
const PROCESSES: u64 = 512;
const FILES: u64 = 256;
const FILE_BYTES: u64 = 16 << 20;

/// What the supervisor gives its child.
pub(super) struct Wiring<'a> {
    pub(super) stdout: &'a OwnedFd,
    pub(super) stderr: &'a OwnedFd,
    /// Takes the filter's listener, and what is missing.
    pub(super) confined: &'a OwnedFd,
    /// No process outside of the child's own pid namespace can be named by a pid in it.
    pub(super) own_namespace: bool,
}

/// Why the work is not begun.
pub(super) enum Obstacle {
    /// Another process has the user id that was meant for this one alone.
    UserInUse,
    /// For a person.
    Reason(String),
}

impl From<String> for Obstacle {
    fn from(reason: String) -> Self {
        Self::Reason(reason)
    }
}

/// Runs the program; returns only if it cannot, with the reason.
pub(super) fn run(argv: &[String], environment: &BTreeMap<String, String>, folder: &Path) -> Obstacle {
    if let Err(error) = std::env::set_current_dir(folder) {
        return format!("{}: {error}", folder.display()).into();
    }
    execute(argv, environment.iter()).into()
}

/// Reads the files.
pub(super) fn read(files: &[FileOrder]) -> ! {
    let mut out = io::stdout().lock();
    for file in files {
        let told = serde_json::to_writer(&mut out, &reading::read(file)).map_err(io::Error::from);
        if told.and_then(|()| out.write_all(b"\n")).is_err() {
            break; // the supervisor has had enough
        }
    }
    let _: io::Result<()> = out.flush();
    // SAFETY: ends this process at once.
    unsafe { libc::_exit(0) }
}

/// Gives up what the order does not need.
///
/// # Errors
/// The process is not confined as it should be.
pub(super) fn prepare(order: &Order, wiring: &Wiring) -> Result<(), Obstacle> {
    // SAFETY: geteuid(2) has no arguments.
    let kevmon = unsafe { libc::geteuid() };
    let shares_user = order.user.is_none_or(|(uid, _)| uid == kevmon);
    wire(wiring.stdout, wiring.stderr)?;
    limit(order)?;
    give_up_privileges(order)?;
    if order.is_alone && !is_alone() {
        return Err(Obstacle::UserInUse);
    }
    let version = domain::version();
    let mut lacking = Vec::from_iter(domain::lacks(&version, shares_user && !wiring.own_namespace));
    if version.is_ok() {
        domain::enter(order)?;
    }
    let sockets = match (order.allow_network, shares_user) {
        (true, _) => Sockets::Network,
        (false, false) => Sockets::Local,
        (false, true) => Sockets::None,
    };
    let installed = filter::install(sockets);
    if let Err(error) = &installed {
        lacking.push(no_filter(error));
    }
    if !lacking.is_empty() && !order.allow_unconfined {
        let lacking = lacking.join("; ");
        return Err(format!("{lacking}; or write allow_unconfined = true if the program is trusted").into());
    }
    let listener = match installed {
        Ok(Installed::Reporting(listener)) => Some(listener),
        Ok(Installed::Silent(reason)) => {
            lacking.push(format!("system calls are refused without a word here: {reason}"));
            None
        }
        Err(_) => None,
    };
    refusals::send(wiring.confined, &Confined { lacking }, listener.as_ref())
        .map_err(|error| format!("the supervisor: {error}").into())
}

/// Why there is no seccomp filter, and what to do about it.
fn no_filter(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "a seccomp filter, such as a container's, refuses another one; let it pass seccomp".to_owned()
        }
        Some(libc::ENOSYS | libc::EINVAL) => {
            "this kernel has no seccomp filters, or a container's filter hides them; run one with CONFIG_SECCOMP_FILTER, or let \
             the filter pass seccomp"
                .to_owned()
        }
        _ => format!("seccomp: {error}"),
    }
}

/// Whether no other process has this one's user id: with RLIMIT_NPROC at two, a second process of the user starts, and a
/// third does not (setrlimit(2)). The kernel counts atomically, so that of two who ask at once none is told that it is alone.
fn is_alone() -> bool {
    let mut before = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit(2) fills the struct; setrlimit(2) reads it, and the hard limit stays as it was.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NPROC, &raw mut before);
        let two = libc::rlimit {
            rlim_cur: 2,
            ..before
        };
        libc::setrlimit(libc::RLIMIT_NPROC, &raw const two);
        let pid = libc::fork();
        if pid == 0 {
            libc::_exit(0);
        }
        if pid > 0 {
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
        libc::setrlimit(libc::RLIMIT_NPROC, &raw const before);
        pid > 0
    }
}

fn check(what: &str, result: libc::c_int) -> Result<(), String> {
    if result == -1 {
        Err(format!("{what}: {}", io::Error::last_os_error()))
    } else {
        Ok(())
    }
}

/// Standard input is empty, the others lead to the supervisor, and nothing else is open after an exec.
fn wire(stdout: &OwnedFd, stderr: &OwnedFd) -> Result<(), String> {
    let null = fs::File::open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
    for (from, to) in [
        (null.as_raw_fd(), 0),
        (stdout.as_raw_fd(), 1),
        (stderr.as_raw_fd(), 2),
    ] {
        // SAFETY: both are descriptors; what `to` was belongs to nobody in this process.
        check("dup2", unsafe { libc::dup2(from, to) })?;
    }
    // Everything here was opened with O_CLOEXEC; this is for what a parent of kevmon's left open. Kernels before 5.11 do not
    // know the flag, and have no Landlock either.
    // SAFETY: close_range(2) with CLOSE_RANGE_CLOEXEC marks descriptors, and closes none now. musl has no function for it.
    let marked = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if marked == -1 {
        mark_one_by_one()?;
    }
    // SAFETY: umask(2) and signal(2) with default dispositions; kevmon's were inherited.
    unsafe {
        libc::umask(0o077);
        for signal in 1..32 {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    Ok(())
}

fn mark_one_by_one() -> Result<(), String> {
    let folder = fs::read_dir("/proc/self/fd").map_err(|error| format!("/proc/self/fd: {error}"))?;
    let all = folder
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for fd in all.filter(|fd: &i32| *fd > 2) {
        // SAFETY: fcntl(2) takes plain integers; one that was closed meanwhile has nothing to mark.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

fn limit(order: &Order) -> Result<(), String> {
    let limits = [
        (libc::RLIMIT_AS, order.memory, "RLIMIT_AS"),
        // One byte: no file is that small, and a program of kernel.core_pattern, which is not bound by 0, is not started for 1
        // (fs/coredump.c).
        (libc::RLIMIT_CORE, 1, "RLIMIT_CORE"),
        (libc::RLIMIT_NPROC, PROCESSES, "RLIMIT_NPROC"),
        (libc::RLIMIT_NOFILE, FILES, "RLIMIT_NOFILE"),
        (libc::RLIMIT_FSIZE, FILE_BYTES, "RLIMIT_FSIZE"),
    ];
    for (resource, most, name) in limits {
        // kevmon's own limit may be lower, and only root can raise that.
        let mut own = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: getrlimit(2) fills the struct.
        check(name, unsafe { libc::getrlimit(resource, &raw mut own) })?;
        let most = most.min(own.rlim_max);
        let limit = libc::rlimit {
            rlim_cur: most,
            rlim_max: most,
        };
        // SAFETY: setrlimit(2) reads the struct.
        check(name, unsafe { libc::setrlimit(resource, &raw const limit) })?;
    }
    Ok(())
}

fn give_up_privileges(order: &Order) -> Result<(), String> {
    // The bounding set first, while that is allowed; without CAP_SETPCAP, no_new_privs keeps it from mattering.
    for capability in caps::all() {
        let _: Result<(), caps::errors::CapsError> = caps::drop(None, CapSet::Bounding, capability);
    }
    if let Some((uid, gid)) = order.user {
        // SAFETY: plain integers, and no groups at all; the order matters, as the user gives up the right to the rest.
        unsafe {
            change("setgroups", libc::setgroups(0, std::ptr::null()))?;
            change("setresgid", libc::setresgid(gid, gid, gid))?;
            change("setresuid", libc::setresuid(uid, uid, uid))?;
        }
    }
    for set in [
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ] {
        // What is empty needs no call, which a filter might refuse.
        if caps::read(None, set).is_ok_and(|present| present.is_empty()) {
            continue;
        }
        caps::clear(None, set).map_err(|error| {
            format!(
                "kevmon's capabilities cannot be given up: {error}; a seccomp filter, such as a container's, has to let capset \
                 and prctl pass"
            )
        })?;
    }
    rustix::thread::set_no_new_privs(true).map_err(|error| {
        format!("no_new_privs: {error}; a seccomp filter, such as a container's, has to let prctl pass")
    })?;
    // A change of user undid it.
    // SAFETY: prctl(2) with plain integers.
    check("PR_SET_PDEATHSIG", unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)
    })
}

/// Of a call that changes the user.
fn change(what: &str, result: libc::c_int) -> Result<(), String> {
    check(what, result).map_err(|error| {
        format!(
            "{error}; kevmon is root without CAP_SETUID and CAP_SETGID, or a seccomp filter refuses the call: grant both \
             (systemd: CapabilityBoundingSet=; docker: --cap-add), or run kevmon as an ordinary user"
        )
    })
}

fn execute<'a>(argv: &[String], environment: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let text = |text: &str| CString::new(text).map_err(|_| "an argument holds a NUL".to_owned());
    let arguments: Result<Vec<CString>, String> = argv.iter().map(|argument| text(argument)).collect();
    let variables: Result<Vec<CString>, String> = environment
        .map(|(name, value)| text(&format!("{name}={value}")))
        .collect();
    let (arguments, variables) = match (arguments, variables) {
        (Ok(arguments), Ok(variables)) => (arguments, variables),
        (Err(reason), _) | (_, Err(reason)) => return reason,
    };
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts
            .iter()
            .map(|text| text.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (Some(program), argv, envp) = (arguments.first(), pointers(&arguments), pointers(&variables)) else {
        return "there is no program".to_owned();
    };
    // SAFETY: NUL-terminated texts and NULL-terminated lists that live until the exec, or beyond its failure.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    format!("{}: {}", program.to_string_lossy(), io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exit status of a child with this user id: 0 where it is alone. Needs root.
    fn alone_as(uid: u32) -> i32 {
        // SAFETY: the child of a process with threads calls what is async-signal-safe alone; it has one thread, so that
        // setresuid(2) concerns no other.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                if libc::syscall(libc::SYS_setresuid, uid, uid, uid) != 0 {
                    libc::_exit(2);
                }
                libc::_exit(i32::from(!is_alone()));
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
            libc::WEXITSTATUS(status)
        }
    }

    #[test]
    fn a_user_id_that_any_process_has_is_noticed() {
        use std::os::unix::process::CommandExt;
        let uid = 60_650;
        assert_eq!(alone_as(uid), 0);
        let mut other = std::process::Command::new("sleep")
            .arg("60")
            .uid(uid)
            .spawn()
            .unwrap();
        assert_eq!(alone_as(uid), 1);
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(alone_as(uid), 0);
    }
}
