//! System calls that no collector needs, and the arguments that others may not have.
//!
//! The list is of what Landlock and an own user id do not cover: calls that reach other processes, the kernel's own
//! configuration, or parts of the kernel in which most of its faults were found. A collector cannot write a file, so the
//! calls that change a file's metadata by its path, which Landlock leaves alone, are here as well.

use libc::c_long;

/// What of a call is refused.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refused {
    /// All of it.
    Always,
    /// All but those calls whose arguments all have one of these values.
    Unless(&'static [(u8, &'static [u32])]),
    /// Those with this argument at one of these values.
    With(u8, &'static [u32]),
    /// Those with one of these bits in this argument.
    Bits(u8, u32),
    /// All of it, with this error, as on a kernel that lacks the call: the C library has another way. It is not reported.
    Missing(i32),
}

/// A system call by its name, its number, and what of it is refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// As syscalls(2) has it.
    pub(super) name: &'static str,
    pub(super) number: c_long,
    pub(super) refused: Refused,
}

const fn never(name: &'static str, number: c_long) -> Rule {
    rule(name, number, Refused::Always)
}

const fn rule(name: &'static str, number: c_long, refused: Refused) -> Rule {
    Rule {
        name,
        number,
        refused,
    }
}

/// Own process or thread: pid 0.
const OWN: Refused = Refused::Unless(&[(0, &[0])]);
/// Every flag of clone(2) that makes a namespace, but CLONE_NEWTIME, which clone(2) cannot take.
const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;
/// Input that a terminal takes for its user's (ioctl_tty(2)), and taking a terminal.
const TERMINAL: &[u32] = &[
    libc::TIOCSTI as u32,
    libc::TIOCLINUX as u32,
    libc::TIOCSCTTY as u32,
];
const IOPRIO_WHO_PROCESS: u32 = 1;
/// getpriority(2). The C libraries give it different types.
const PRIO_PROCESS: u32 = 0;

/// Numbers that are the same on every architecture, and that the libc crate does not have on all of them.
const FCHMODAT2: c_long = 452;
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const OPEN_TREE_ATTR: c_long = 467;
const FILE_SETATTR: c_long = 469;

/// The libc crate lacks it for musl on arm64.
#[cfg(target_arch = "x86_64")]
const KEXEC_FILE_LOAD: c_long = 320;
#[cfg(not(target_arch = "x86_64"))]
const KEXEC_FILE_LOAD: c_long = 294;

/// The rules of every architecture, in no particular order. `socket` is not among them: it depends on the collector.
#[rustfmt::skip]
const COMMON: &[Rule] = &[
    // Other processes.
    never("ptrace", libc::SYS_ptrace),
    never("process_vm_readv", libc::SYS_process_vm_readv),
    never("process_vm_writev", libc::SYS_process_vm_writev),
    never("process_madvise", libc::SYS_process_madvise),
    never("process_mrelease", libc::SYS_process_mrelease),
    never("pidfd_getfd", libc::SYS_pidfd_getfd),
    never("kcmp", libc::SYS_kcmp),
    never("move_pages", libc::SYS_move_pages),
    never("migrate_pages", libc::SYS_migrate_pages),
    rule("prlimit64", libc::SYS_prlimit64, OWN),
    rule("sched_setaffinity", libc::SYS_sched_setaffinity, OWN),
    rule("sched_setattr", libc::SYS_sched_setattr, OWN),
    rule("sched_setparam", libc::SYS_sched_setparam, OWN),
    rule("sched_setscheduler", libc::SYS_sched_setscheduler, OWN),
    rule("setpriority", libc::SYS_setpriority, Refused::Unless(&[(0, &[PRIO_PROCESS]), (1, &[0])])),
    rule("ioprio_set", libc::SYS_ioprio_set, Refused::Unless(&[(0, &[IOPRIO_WHO_PROCESS]), (1, &[0])])),
    // Namespaces and mounts.
    rule("clone", libc::SYS_clone, Refused::Bits(0, NAMESPACES)),
    // Its flags lie in memory, where a filter cannot look.
    rule("clone3", libc::SYS_clone3, Refused::Missing(libc::ENOSYS)),
    never("unshare", libc::SYS_unshare),
    never("setns", libc::SYS_setns),
    never("mount", libc::SYS_mount),
    never("umount2", libc::SYS_umount2),
    never("pivot_root", libc::SYS_pivot_root),
    never("chroot", libc::SYS_chroot),
    never("open_tree", libc::SYS_open_tree),
    never("open_tree_attr", OPEN_TREE_ATTR),
    never("move_mount", libc::SYS_move_mount),
    never("mount_setattr", libc::SYS_mount_setattr),
    never("fsopen", libc::SYS_fsopen),
    never("fsconfig", libc::SYS_fsconfig),
    never("fsmount", libc::SYS_fsmount),
    never("fspick", libc::SYS_fspick),
    // The kernel: programs, events, keys, rings, faults.
    never("bpf", libc::SYS_bpf),
    never("perf_event_open", libc::SYS_perf_event_open),
    never("add_key", libc::SYS_add_key),
    never("request_key", libc::SYS_request_key),
    never("keyctl", libc::SYS_keyctl),
    never("io_uring_setup", libc::SYS_io_uring_setup),
    never("io_uring_enter", libc::SYS_io_uring_enter),
    never("io_uring_register", libc::SYS_io_uring_register),
    never("userfaultfd", libc::SYS_userfaultfd),
    never("fanotify_init", libc::SYS_fanotify_init),
    never("open_by_handle_at", libc::SYS_open_by_handle_at),
    // The host.
    never("kexec_load", libc::SYS_kexec_load),
    never("kexec_file_load", KEXEC_FILE_LOAD),
    never("init_module", libc::SYS_init_module),
    never("finit_module", libc::SYS_finit_module),
    never("delete_module", libc::SYS_delete_module),
    never("reboot", libc::SYS_reboot),
    never("swapon", libc::SYS_swapon),
    never("swapoff", libc::SYS_swapoff),
    never("acct", libc::SYS_acct),
    never("quotactl", libc::SYS_quotactl),
    never("quotactl_fd", libc::SYS_quotactl_fd),
    never("settimeofday", libc::SYS_settimeofday),
    never("clock_settime", libc::SYS_clock_settime),
    never("sethostname", libc::SYS_sethostname),
    never("setdomainname", libc::SYS_setdomainname),
    never("vhangup", libc::SYS_vhangup),
    never("nfsservctl", libc::SYS_nfsservctl),
    rule("ioctl", libc::SYS_ioctl, Refused::With(1, TERMINAL)),
    // Files' metadata: a collector with kevmon's user id owns kevmon's files.
    never("fchmod", libc::SYS_fchmod),
    never("fchmodat", libc::SYS_fchmodat),
    never("fchmodat2", FCHMODAT2),
    never("fchown", libc::SYS_fchown),
    never("fchownat", libc::SYS_fchownat),
    never("utimensat", libc::SYS_utimensat),
    never("setxattr", libc::SYS_setxattr),
    never("lsetxattr", libc::SYS_lsetxattr),
    never("fsetxattr", libc::SYS_fsetxattr),
    never("setxattrat", SETXATTRAT),
    never("removexattr", libc::SYS_removexattr),
    never("lremovexattr", libc::SYS_lremovexattr),
    never("fremovexattr", libc::SYS_fremovexattr),
    never("removexattrat", REMOVEXATTRAT),
    never("file_setattr", FILE_SETATTR),
];

/// Calls that x86-64 alone has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OF_ARCHITECTURE: &[Rule] = &[
    never("chmod", libc::SYS_chmod),
    never("chown", libc::SYS_chown),
    never("lchown", libc::SYS_lchown),
    never("utime", libc::SYS_utime),
    never("utimes", libc::SYS_utimes),
    never("futimesat", libc::SYS_futimesat),
    never("iopl", libc::SYS_iopl),
    never("ioperm", libc::SYS_ioperm),
    never("modify_ldt", libc::SYS_modify_ldt),
    never("uselib", libc::SYS_uselib),
];
#[cfg(not(target_arch = "x86_64"))]
const OF_ARCHITECTURE: &[Rule] = &[];

/// The domains of socket(2) without the network, where the collector's user id is its own.
const LOCAL: Refused = Refused::Unless(&[(0, &[libc::AF_UNIX as u32])]);
/// … with it.
const NETWORK: Refused = Refused::Unless(&[(
    0,
    &[libc::AF_UNIX as u32, libc::AF_INET as u32, libc::AF_INET6 as u32],
)]);

/// Which sockets a collector may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sockets {
    /// None: services on this host would take it for kevmon, whose user id it has.
    None,
    /// Unix domain sockets.
    Local,
    /// Those, and IPv4 and IPv6.
    Network,
}

/// Every rule for a collector with such sockets.
pub(super) fn rules(sockets: Sockets) -> Vec<Rule> {
    let sockets = match sockets {
        Sockets::None => Refused::Always,
        Sockets::Local => LOCAL,
        Sockets::Network => NETWORK,
    };
    let socket = rule("socket", libc::SYS_socket, sockets);
    [&[socket], COMMON, OF_ARCHITECTURE].concat()
}

/// The name of a call for a person, with its family where it is `socket`.
pub(super) fn described(number: c_long, first: u64) -> String {
    if number == libc::SYS_socket {
        // An int: the kernel takes its lower half.
        return format!("socket({})", family(first as u32 as i32));
    }
    let rules = COMMON.iter().chain(OF_ARCHITECTURE);
    let known = rules.into_iter().find(|rule| rule.number == number);
    known.map_or_else(|| format!("system call {number}"), |rule| rule.name.to_owned())
}

fn family(number: i32) -> String {
    let known = match number {
        libc::AF_UNIX => "AF_UNIX",
        libc::AF_INET => "AF_INET",
        libc::AF_INET6 => "AF_INET6",
        libc::AF_NETLINK => "AF_NETLINK",
        libc::AF_PACKET => "AF_PACKET",
        libc::AF_VSOCK => "AF_VSOCK",
        libc::AF_ALG => "AF_ALG",
        other => return format!("address family {other}"),
    };
    known.to_owned()
}
