//! The Landlock domain of a collector: which files it may read, and that it reaches no process, no abstract socket and no
//! TCP port outside.
//!
//! A process in a domain can neither trace a process outside of it nor look into one's memory, descriptors or environment
//! through /proc, whatever user ids they have (ptrace access checks, Linux 5.13). Signals and abstract sockets follow in Linux
//! 6.12 (ABI 6), TCP in 6.7 (ABI 4).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::{Job, Order};

/// Files that hold secrets of the host.
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
/// Without ABI 3 (Linux 6.2), a file that may not be written may be truncated all the same.
const LEAST: i32 = 3;
/// Signals and abstract sockets (Linux 6.12).
const SCOPED: i32 = 6;

/// What the kernel says of Landlock: the version of its interface, or why there is none.
///
/// # Errors
/// ENOSYS, EOPNOTSUPP, or whatever a seccomp filter answers.
pub(super) fn version() -> Result<i32, io::Error> {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: landlock_create_ruleset(2) takes no attributes with this flag, and makes nothing.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    if version < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(version).unwrap_or(i32::MAX))
}

/// What is missing of the Landlock that a collector needs, and what to do about it. `shares_user`: the collector has the
/// user id of kevmon and no pid namespace, so that Landlock alone keeps its signals away.
pub(super) fn lacks(version: &Result<i32, io::Error>, shares_user: bool) -> Option<String> {
    let error = match version {
        Ok(found) if *found < LEAST => {
            return Some(format!(
                "Landlock is too old (ABI {found}; ABI {LEAST} keeps files from being truncated); run Linux 6.2 or later"
            ));
        }
        Ok(found) if *found < SCOPED && shares_user => {
            return Some(format!(
                "Landlock is too old (ABI {found}; ABI {SCOPED} keeps signals from processes of the same user, kevmon among \
                 them); run Linux 6.12 or later, or run kevmon as root, which gives collectors a user of their own"
            ));
        }
        Ok(_) => return None,
        Err(error) => error,
    };
    Some(match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => {
            "Landlock is not switched on; add landlock to the list of lsm= on the kernel's command line \
             (/sys/kernel/security/lsm has the present one)"
                .to_owned()
        }
        Some(libc::ENOSYS) => "this kernel has no Landlock, or a container's seccomp filter hides it; run Linux 6.2 or later \
                               with CONFIG_SECURITY_LANDLOCK, or let the filter pass landlock_create_ruleset, \
                               landlock_add_rule and landlock_restrict_self"
            .to_owned(),
        Some(libc::EPERM | libc::EACCES) => {
            "a seccomp filter, such as a container's, refuses Landlock; let it pass landlock_create_ruleset, \
             landlock_add_rule and landlock_restrict_self"
                .to_owned()
        }
        _ => format!("Landlock cannot be used: {error}; look at the kernel's log"),
    })
}

/// Enters the domain that `order` describes, as far as the kernel can; [`lacks`] says how far that is.
///
/// # Errors
/// The kernel has Landlock and refuses this domain.
pub(super) fn enter(order: &Order) -> Result<(), String> {
    let said = |error: landlock::RulesetError| format!("Landlock: {error}");
    let read = AccessFs::from_read(ABI::V5);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))
        .map_err(said)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)
        .map_err(said)?;
    if !order.allow_network {
        // What is handled and granted by no rule is denied: TCP, and UDP where the kernel knows it.
        ruleset = ruleset
            .handle_access(AccessNet::from_all(ABI::V10))
            .map_err(said)?;
    }
    let mut ruleset = ruleset.create().map_err(said)?;
    let readable = readable(order);
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

/// What may be read, and executed: everything but what is denied, or the files that are to be read.
fn readable(order: &Order) -> Vec<PathBuf> {
    let denied: Vec<PathBuf> = order
        .denied
        .iter()
        .cloned()
        .chain(SECRETS.iter().map(PathBuf::from))
        .flat_map(|path| [path.canonicalize().unwrap_or_else(|_| path.clone()), path])
        .collect();
    match &order.job {
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
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let error = |number| Err(io::Error::from_raw_os_error(number));
        let cases: [(Result<i32, io::Error>, bool, Option<&str>); 11] = [
            (Ok(2), false, Some("too old (ABI 2; ABI 3")),
            (Ok(2), true, Some("too old (ABI 2; ABI 3")),
            (Ok(3), false, None),
            (Ok(3), true, Some("too old (ABI 3; ABI 6")),
            (
                Ok(5),
                true,
                Some("run Linux 6.12 or later, or run kevmon as root"),
            ),
            (Ok(6), true, None),
            (Ok(99), true, None),
            (error(libc::ENOSYS), false, Some("CONFIG_SECURITY_LANDLOCK")),
            (error(libc::EOPNOTSUPP), false, Some("lsm=")),
            (error(libc::EPERM), false, Some("seccomp filter")),
            (
                error(libc::ENOMEM),
                false,
                Some("Landlock cannot be used: Cannot allocate memory"),
            ),
        ];
        for (version, shares_user, expected) in cases {
            let found = lacks(&version, shares_user);
            match expected {
                None => assert_eq!(found, None, "{version:?} {shares_user}"),
                Some(expected) => {
                    let found = found.unwrap_or_default();
                    assert!(found.contains(expected), "{expected:?} in {found:?}");
                }
            }
        }
    }
}
