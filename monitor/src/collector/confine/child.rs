//! The confined process, from the fork to its work: every privilege is given up before anything of the plugin's is looked at.

use std::{
    ffi::CString,
    fs,
    io::{self, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use caps::CapSet;
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::{Job, Order, reading};

/// Files of /etc that hold secrets, beside what the order denies.
const SECRETS: [&str; 9] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssh",
    "/etc/ssl/private",
    "/root",
];
/// What may be written to.
const WRITABLE: [&str; 2] = ["/dev/null", "/dev/zero"];
/// Processes of one user at once; files of one process; bytes of a file.
const PROCESSES: u64 = 512;
const FILES: u64 = 256;
const FILE_BYTES: u64 = 16 << 20;

/// Does what `order` says; returns only if it cannot, with the reason.
pub(super) fn become_it(order: &Order, stdout: &OwnedFd, stderr: &OwnedFd) -> String {
    let prepared = wire(stdout, stderr)
        .and_then(|()| limit(order))
        .and_then(|()| give_up_privileges(order))
        .and_then(|()| restrict_files(order));
    match prepared {
        Err(reason) => reason,
        Ok(()) => match &order.job {
            Job::Run {
                argv,
                environment,
                folder,
            } => {
                if let Err(error) = std::env::set_current_dir(folder) {
                    return format!("{}: {error}", folder.display());
                }
                execute(argv, environment.iter())
            }
            Job::Read(files) => {
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
        },
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
    // SAFETY: close_range(2) with CLOSE_RANGE_CLOEXEC marks descriptors, and closes none now.
    if unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) } == -1 {
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
        (libc::RLIMIT_CORE, 0, "RLIMIT_CORE"),
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
            check("setgroups", libc::setgroups(0, std::ptr::null()))?;
            check("setgid", libc::setresgid(gid, gid, gid))?;
            check("setuid", libc::setresuid(uid, uid, uid))?;
        }
    }
    for set in [
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ] {
        caps::clear(None, set).map_err(|error| format!("capabilities: {error}"))?;
    }
    rustix::thread::set_no_new_privs(true).map_err(|error| format!("no_new_privs: {error}"))?;
    // A change of user undid it.
    // SAFETY: prctl(2) with plain integers.
    check("PR_SET_PDEATHSIG", unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)
    })
}

fn restrict_files(order: &Order) -> Result<(), String> {
    let said = |error: landlock::RulesetError| format!("Landlock: {error}");
    let all = AccessFs::from_all(ABI::V5);
    let read = AccessFs::from_read(ABI::V5);
    // Linux 6.2 and later: before, a file that may not be written may be truncated all the same.
    let is_enough = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V3))
        .is_ok();
    if !is_enough && !order.allow_unconfined {
        return Err(
            "this kernel has no Landlock as of Linux 6.2, which keeps kevmon's state and secrets out of reach; write              allow_unconfined = true if the program is trusted all the same"
                .to_owned(),
        );
    }
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)
        .map_err(said)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)
        .map_err(said)?;
    let mut ruleset = ruleset.create().map_err(said)?;
    let denied: Vec<PathBuf> = order
        .denied
        .iter()
        .cloned()
        .chain(SECRETS.iter().map(PathBuf::from))
        .flat_map(|path| [path.canonicalize().unwrap_or_else(|_| path.clone()), path])
        .collect();
    let readable: Vec<PathBuf> = match &order.job {
        Job::Run { .. } => {
            let mut readable = Vec::new();
            reachable(Path::new("/"), &denied, &mut readable);
            for granted in &order.granted {
                // Also below what is denied, but not what is denied below it.
                let below: Vec<PathBuf> = denied
                    .iter()
                    .filter(|denied| *denied != granted && denied.starts_with(granted))
                    .cloned()
                    .collect();
                if below.is_empty() {
                    readable.push(granted.clone());
                } else {
                    reachable(granted, &below, &mut readable);
                }
            }
            readable
        }
        Job::Read(files) => files
            .iter()
            .map(|file| match file.process {
                Some((pid, _)) => file.proc.join(pid.to_string()),
                None => file.path.clone(),
            })
            .filter(|path| !denied.iter().any(|denied| path.starts_with(denied)))
            .collect(),
    };
    let rules = readable.iter().map(|path| (path.as_path(), read));
    let writes = AccessFs::ReadFile | AccessFs::WriteFile;
    let rules = rules.chain(WRITABLE.iter().map(|path| (Path::new(*path), writes)));
    for (path, access) in rules {
        // What has gone, or may not even be looked at, is out of reach anyway.
        let (Ok(fd), Ok(metadata)) = (PathFd::new(path), fs::metadata(path)) else {
            continue;
        };
        let access = if metadata.is_dir() {
            access
        } else {
            access & AccessFs::from_file(ABI::V5)
        };
        ruleset = ruleset.add_rule(PathBeneath::new(fd, access)).map_err(said)?;
    }
    let status = ruleset.restrict_self().map_err(said)?;
    if status.ruleset == RulesetStatus::NotEnforced && !order.allow_unconfined {
        return Err("Landlock is not enforced; look at the kernel's log".to_owned());
    }
    Ok(())
}

/// The largest trees below `folder` that hold nothing of what is denied.
fn reachable(folder: &Path, denied: &[PathBuf], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // A link needs no rule: what it leads to is reached by its own path, or is out of reach. A rule for the link would be
        // one for its target, whatever that holds (/var/run).
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if is_link || denied.contains(&path) {
            continue;
        }
        if denied.iter().any(|denied| denied.starts_with(&path)) && path.is_dir() {
            reachable(&path, denied, found);
        } else {
            found.push(path);
        }
    }
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
