//! What a hostile collector tries. Each attack says whether it succeeded; none does harm where it does.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs::{self, OpenOptions},
    io::Write,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::Command,
};

/// Where an attack aims.
#[derive(Debug)]
pub struct Target {
    values: BTreeMap<String, String>,
    /// The kevmon whose command line has the mark; 0: none was found.
    pid: i32,
}

impl Target {
    fn path(&self, name: &str) -> &Path {
        Path::new(&self.values[name])
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.pid)
    }
}

/// A name, and what says whether it succeeded.
pub type Attack = (&'static str, fn(&Target) -> bool);

/// Every attack, by its name.
pub const ATTACKS: &[Attack] = &[
    ("read_state", |target| fs::read(target.path("state")).is_ok()),
    ("read_header", |target| fs::read(target.path("header")).is_ok()),
    ("write_state", |target| {
        OpenOptions::new().append(true).open(target.path("state")).is_ok()
    }),
    ("truncate_state", |target| truncates(target.path("decoy"))),
    ("chmod_state", |target| chmods(target.path("decoy"))),
    ("touch_state", |target| touches(target.path("decoy"))),
    ("create_beside_state", |target| {
        creates(&target.path("decoy").with_extension("new"))
    }),
    ("write_tmp", |_| {
        creates(Path::new(&format!("/tmp/kvt-attack-{}", std::process::id())))
    }),
    ("read_environ", |target| fs::read(target.proc("environ")).is_ok()),
    ("read_memory", |target| fs::File::open(target.proc("mem")).is_ok()),
    ("list_descriptors", |target| {
        fs::read_dir(target.proc("fd")).is_ok()
    }),
    ("signal", |target| signals(target.pid)),
    ("ptrace", |target| traces(target.pid)),
    ("process_vm_readv", |target| reads_memory(target.pid)),
    ("renice", |target| {
        succeeds(libc::SYS_setpriority, [0, pid(target), 0])
    }),
    ("prlimit", |target| limits(target.pid)),
    ("affinity", |target| binds(target.pid)),
    ("tcp_connect", |target| {
        TcpStream::connect(&target.values["tcp"]).is_ok()
    }),
    ("tcp_bind", |_| TcpListener::bind("127.0.0.1:0").is_ok()),
    ("udp", |_| UdpSocket::bind("127.0.0.1:0").is_ok()),
    ("netlink", |_| socket(libc::AF_NETLINK, libc::SOCK_RAW)),
    ("abstract_unix", |target| connects(&target.values["abstract"])),
    ("bpf", |_| makes_map()),
    ("perf_event_open", |_| opens_event()),
    ("mount", |target| mounts(target.path("decoy"))),
    ("keyctl", |_| succeeds(libc::SYS_keyctl, [1, 0, 0])),
    ("add_key", |_| adds_key()),
    ("io_uring", |_| makes_ring()),
    ("userfaultfd", |_| succeeds(libc::SYS_userfaultfd, [1, 0, 0])), // user mode only
    ("open_by_handle", |target| opens_by_handle(target.path("state"))),
    ("core_dump", |_| may_dump_core()),
    ("setuid_program", |target| gains_root(target)),
    // The last one: where it succeeds, this process is no longer who it was.
    ("unshare_user", |_| {
        succeeds(libc::SYS_unshare, [libc::CLONE_NEWUSER as u64, 0, 0])
    }),
];

/// Tries them all, or those that `only=A,B` names.
pub fn run(args: &[String]) {
    let values: BTreeMap<String, String> = args
        .iter()
        .filter_map(|arg| arg.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if values.contains_key("root") {
        // The program that has the set-user-id bit.
        // SAFETY: geteuid(2) has no arguments.
        std::process::exit(i32::from(unsafe { libc::geteuid() } != 0));
    }
    let given = values.get("pid").and_then(|pid| pid.parse().ok());
    let target = Target {
        pid: given.or_else(|| found(&values["mark"])).unwrap_or(0),
        values,
    };
    println!("attack.target {}", i32::from(target.pid > 0));
    let only: Option<Vec<&str>> = target.values.get("only").map(|only| only.split(',').collect());
    for (name, attack) in ATTACKS {
        if only.as_ref().is_none_or(|only| only.contains(name)) {
            println!("attack.{name} {}", i32::from(attack(&target)));
        }
    }
}

/// The pid, as /proc has it, of the kevmon that has `mark` in its command line.
fn found(mark: &str) -> Option<i32> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = String::from_utf8_lossy(&fs::read(entry.path().join("cmdline")).ok()?).into_owned();
        let first = line.split('\0').next()?;
        (first.ends_with("/kevmon") && line.contains(mark)).then_some(pid)
    })
}

fn pid(target: &Target) -> u64 {
    target.pid as u64
}

fn succeeds(call: libc::c_long, [a, b, c]: [u64; 3]) -> bool {
    // SAFETY: integers alone.
    unsafe { libc::syscall(call, a, b, c, 0, 0, 0) >= 0 }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_encoded_bytes()).expect("a path without NUL")
}

fn truncates(path: &Path) -> bool {
    // SAFETY: a NUL-terminated path.
    unsafe { libc::truncate(c_path(path).as_ptr(), 1) == 0 }
}

fn chmods(path: &Path) -> bool {
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).is_ok()
}

fn touches(path: &Path) -> bool {
    // SAFETY: a NUL-terminated path; without times, now.
    unsafe { libc::utimensat(libc::AT_FDCWD, c_path(path).as_ptr(), std::ptr::null(), 0) == 0 }
}

fn creates(path: &Path) -> bool {
    let created = fs::File::create(path).is_ok_and(|mut file| file.write_all(b"x").is_ok());
    let _ = fs::remove_file(path);
    created
}

fn signals(pid: i32) -> bool {
    // SIGURG is ignored unless somebody asks for it.
    // SAFETY: kill(2) takes integers.
    pid > 0 && unsafe { libc::kill(pid, libc::SIGURG) == 0 }
}

fn traces(pid: i32) -> bool {
    // SAFETY: seizing does not stop; this process's end lets go.
    pid > 0 && unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) == 0 }
}

fn reads_memory(pid: i32) -> bool {
    // The beginning of the stack or of the program lies in its maps. The first place may be one that nobody reads: musl guards its
    // heap with one.
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mut readable = maps.lines().filter(|line| line.contains(" r"));
    let first = readable
        .next()
        .and_then(|line| usize::from_str_radix(line.split('-').next()?, 16).ok());
    let mut buffer = [0_u8; 1];
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: 1,
    };
    let remote = libc::iovec {
        iov_base: first.unwrap_or(0x1000) as *mut libc::c_void,
        iov_len: 1,
    };
    // SAFETY: one byte into the buffer.
    unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) == 1 }
}

fn limits(pid: i32) -> bool {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads the limit of another process into the struct, and sets it to the same.
    unsafe {
        pid > 0
            && libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limit) == 0
            && libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) == 0
    }
}

fn binds(pid: i32) -> bool {
    // SAFETY: a set of zeros is a valid one; the process gets back the set that it has.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        pid > 0
            && libc::sched_getaffinity(pid, size, &raw mut set) == 0
            && libc::sched_setaffinity(pid, size, &raw const set) == 0
    }
}

fn socket(family: i32, kind: i32) -> bool {
    // SAFETY: socket(2) takes integers; the end of the process closes it.
    unsafe { libc::socket(family, kind, 0) >= 0 }
}

fn connects(name: &str) -> bool {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).expect("a short name");
    UnixStream::connect_addr(&address).is_ok()
}

fn makes_map() -> bool {
    // union bpf_attr: an array of one value of four bytes.
    let mut attributes = [0_u32; 32];
    attributes[..4].copy_from_slice(&[2, 4, 4, 1]);
    // SAFETY: the kernel reads 128 bytes.
    unsafe { libc::syscall(libc::SYS_bpf, 0, attributes.as_ptr(), 128) >= 0 }
}

fn opens_event() -> bool {
    // struct perf_event_attr: software, 64 bytes, CPU clock, without the kernel.
    let mut attributes = [0_u64; 8];
    attributes[0] = 1 | 64 << 32;
    attributes[5] = 1 << 5 | 1 << 6;
    // SAFETY: the kernel reads 64 bytes.
    unsafe { libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), 0, -1, -1, 0) >= 0 }
}

fn mounts(path: &Path) -> bool {
    let path = c_path(path);
    // SAFETY: NUL-terminated paths; a bind mount of a file over itself, in the control's own mount namespace.
    unsafe {
        libc::mount(
            path.as_ptr(),
            path.as_ptr(),
            std::ptr::null(),
            libc::MS_BIND,
            std::ptr::null(),
        ) == 0
    }
}

fn adds_key() -> bool {
    // SAFETY: NUL-terminated texts and one byte; -1 is the thread's own keyring.
    unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"user".as_ptr(),
            c"kvt".as_ptr(),
            c"x".as_ptr(),
            1,
            -1_i32,
        ) >= 0
    }
}

fn makes_ring() -> bool {
    let mut parameters = [0_u8; 256];
    // SAFETY: struct io_uring_params has fewer bytes.
    unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) >= 0 }
}

fn opens_by_handle(path: &Path) -> bool {
    // struct file_handle: the space, a type, and the handle.
    let mut handle = [0_u32; 34];
    handle[0] = 128;
    let mut mount = 0;
    let path = c_path(path);
    // SAFETY: the handle has the space that it says; the descriptor is of this process.
    unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            handle.as_mut_ptr(),
            &raw mut mount,
            0,
        ) == 0
            && {
                let folder = libc::open(c"/var/tmp".as_ptr(), libc::O_RDONLY);
                libc::syscall(libc::SYS_open_by_handle_at, folder, handle.as_ptr(), 0) >= 0
            }
    }
}

fn may_dump_core() -> bool {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: fills the struct, and reads it.
    unsafe {
        libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_CORE, &raw const limit);
    }
    limit.rlim_cur > 1
}

fn gains_root(target: &Target) -> bool {
    let mut command = Command::new(target.path("setuid"));
    command.arg("root=").status().is_ok_and(|status| status.success())
}
