//! The capabilities that loading eBPF programs needs. What kevmon does once they are attached needs none of them, so it
//! gives them up: whoever takes kevmon over then cannot load programs that read the kernel's memory.

use std::io;

use caps::{CapSet, Capability, errors::CapsError};
use tracing::{debug, info, warn};

/// Capabilities that loading needs and that are given up after it.
const LOADING: [Capability; 2] = [Capability::CAP_BPF, Capability::CAP_PERFMON];

/// Whether this process can load again once it has given them up and executed its program again. capabilities(7): root gets what
/// its bounding set has, but nothing new under no_new_privs; what an ambient set gave is gone with it.
fn come_back() -> bool {
    let has = |set, capability| caps::has_cap(None, set, capability).unwrap_or(false);
    let is_bound = rustix::thread::no_new_privs().unwrap_or(true);
    let is_root = rustix::process::geteuid().is_root();
    let gets =
        |capability| has(CapSet::Bounding, capability) && (is_root || !has(CapSet::Ambient, capability));
    has(CapSet::Permitted, Capability::CAP_SYS_ADMIN) || (!is_bound && LOADING.into_iter().all(gets))
}

/// Gives them up, for this thread and all that it starts from now on, unless the kernel wants them for more than loading.
/// `look` asks the kernel for what is asked for later. Returns whether this process could load the programs once it has executed
/// kevmon again.
///
/// Linux before 5.19 refuses each bpf(2) of a process without CAP_BPF where `kernel.unprivileged_bpf_disabled` is set; since
/// then, those that make maps and load programs (kernel/bpf/syscall.c, __sys_bpf). CAP_SYS_ADMIN includes both.
pub(super) fn give_up(look: impl FnOnce() -> io::Result<()>) -> bool {
    let come_back = come_back();
    let held = |capability: &Capability| caps::has_cap(None, CapSet::Permitted, *capability).unwrap_or(false);
    let held: Vec<Capability> = LOADING.into_iter().filter(held).collect();
    if held.is_empty() {
        return true; // as much as now
    }
    match give_up_these(&held, look) {
        Ok(None) => {
            debug!("{}: given up, as the programs are attached", names(&held));
            return come_back;
        }
        Ok(Some(refusal)) => info!(
            "{}: kept, as this kernel wants them for each look at a map ({refusal}); Linux 5.19 and newer do not",
            names(&held)
        ),
        Err(error) => warn!(
            "{}: cannot be given up: {error}; a seccomp filter, such as a container's, has to let capset pass",
            names(&held)
        ),
    }
    true
}

/// Returns why they are kept.
fn give_up_these(
    held: &[Capability],
    look: impl FnOnce() -> io::Result<()>,
) -> Result<Option<io::Error>, CapsError> {
    let mut effective = caps::read(None, CapSet::Effective)?;
    let before = effective.clone();
    effective.retain(|capability| !held.contains(capability));
    caps::set(None, CapSet::Effective, &effective)?;
    if let Err(refusal) = look() {
        caps::set(None, CapSet::Effective, &before)?;
        return Ok(Some(refusal));
    }
    // The ambient set loses what the inheritable one does.
    for set in [CapSet::Inheritable, CapSet::Permitted] {
        let mut left = caps::read(None, set)?;
        left.retain(|capability| !held.contains(capability));
        caps::set(None, set, &left)?;
    }
    Ok(None)
}

fn names(capabilities: &[Capability]) -> String {
    let names: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
    names.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETS: [CapSet; 4] = [
        CapSet::Effective,
        CapSet::Permitted,
        CapSet::Inheritable,
        CapSet::Ambient,
    ];

    /// Whether any of the two is held, by set, on a thread that held both in all sets and gave them up.
    fn after(look: impl FnOnce() -> io::Result<()> + Send) -> [bool; 4] {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                for capability in LOADING {
                    caps::raise(None, CapSet::Inheritable, capability).unwrap();
                    caps::raise(None, CapSet::Ambient, capability).unwrap();
                }
                give_up(look);
                let holds = |set| LOADING.map(|capability| caps::has_cap(None, set, capability).unwrap());
                SETS.map(|set| holds(set).contains(&true))
            });
            thread.join().unwrap()
        })
    }

    #[test]
    fn they_go_from_every_set_unless_the_kernel_wants_them() {
        if !rustix::process::geteuid().is_root() {
            return; // it has none
        }
        assert!(come_back(), "root gets them again");
        assert_eq!(after(|| Ok(())), [false; 4]);
        assert_eq!(
            after(|| Err(io::Error::from_raw_os_error(libc::EPERM))),
            [true; 4]
        );
    }
}
