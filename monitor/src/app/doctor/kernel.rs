//! The kernel: whether the programs load and attach, and what of its settings speaks for or against that.

use std::{fs, path::Path};

use super::{Check, Finding, fault, fine, warning};
use crate::{
    kernel::{KernelSource, Settings},
    procfs::Hidden,
};

/// The least ring: nothing is read from it here.
const RING_BYTES: u32 = 1 << 16;
const BTF: &str = "/sys/kernel/btf/vmlinux";

pub(super) fn checks() -> Vec<Finding> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut findings = vec![kernel(&release), btf(), programs()];
    findings.extend(namespaces());
    findings.push(lockdown());
    findings.extend([Check::UnprivilegedBpf, Check::PerfEventParanoid].map(sysctl));
    findings.push(landlock());
    findings.push(hidepid());
    findings.push(cgroups());
    findings
}

fn kernel(release: &str) -> Finding {
    /// The first kernel that the programs run on.
    const LEAST: (u32, u32) = (5, 10);
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || numbers.next()?.parse::<u32>().ok();
    match next().zip(next()) {
        Some(version) if version < LEAST => warning(
            Check::Kernel,
            release,
            "eBPF needs Linux 5.10 or newer; until then the source is /proc, which misses short lives",
        ),
        _ => fine(Check::Kernel, release),
    }
}

fn btf() -> Finding {
    match fs::File::open(BTF) {
        Ok(_) => fine(Check::Btf, BTF),
        Err(error) => fault(
            Check::Btf,
            format!("{BTF}: {error}"),
            "eBPF needs a kernel with CONFIG_DEBUG_INFO_BTF=y, and a unit that does not hide /sys/kernel/btf",
        ),
    }
}

/// Loads and attaches all of them for a moment. The refusal is the line that the log has at a start.
fn programs() -> Finding {
    let settings = Settings {
        ring_bytes: RING_BYTES,
        links: 1,
        pinning: None,
        threads: false,
        gives_up_rights: false,
    };
    match KernelSource::attach(settings) {
        Ok(source) => fine(
            Check::Programs,
            format!("load and attach: {}", source.programs().join(", ")),
        ),
        Err(refusal) => fault(
            Check::Programs,
            refusal.to_string(),
            "until then the source is /proc, which misses short lives",
        ),
    }
}

/// The initial ones' inodes (include/linux/proc_ns.h).
const INITIAL: [(Check, &str, &str, &str); 2] = [
    (
        Check::PidNamespace,
        "pid",
        "pid:[4026531836]",
        "run kevmon on the host (docker: --pid=host)",
    ),
    (
        Check::UserNamespace,
        "user",
        "user:[4026531837]",
        "eBPF needs the initial one (systemd: PrivateUsers=no; docker: no userns-remap)",
    ),
];

fn namespaces() -> impl Iterator<Item = Finding> {
    INITIAL.into_iter().map(|(check, kind, initial, remedy)| {
        match fs::read_link(format!("/proc/self/ns/{kind}")) {
            Ok(own) if own == Path::new(initial) => fine(check, "the initial one"),
            Ok(own) => fault(check, format!("{} is not the initial one", own.display()), remedy),
            Err(error) => warning(check, format!("not known: {error}"), "mount /proc"),
        }
    })
}

fn lockdown() -> Finding {
    const FILE: &str = "/sys/kernel/security/lockdown";
    match fs::read_to_string(FILE) {
        Ok(text) if text.contains("[confidentiality]") => fault(
            Check::Lockdown,
            text.trim_end(),
            "it forbids eBPF to read the kernel: boot with lockdown=integrity or none",
        ),
        Ok(text) => fine(Check::Lockdown, text.trim_end()),
        Err(_) => fine(Check::Lockdown, "this kernel has none, or does not show it"),
    }
}

/// Neither keeps a kevmon with CAP_BPF and CAP_PERFMON from anything: shown because it is asked for first.
fn sysctl(check: Check) -> Finding {
    let file = check.name().replace('.', "/");
    match fs::read_to_string(format!("/proc/sys/{file}")) {
        Ok(value) => fine(
            check,
            format!("{} (kevmon does not depend on it)", value.trim_end()),
        ),
        Err(error) => fine(
            check,
            format!("not known: {error} (kevmon does not depend on it)"),
        ),
    }
}

fn landlock() -> Finding {
    let modules = fs::read_to_string("/sys/kernel/security/lsm");
    let modules = modules.as_deref().map_or("", str::trim_end);
    if modules.split(',').any(|module| module == "landlock") {
        return fine(Check::SecurityModules, modules);
    }
    let found = if modules.is_empty() {
        "not shown (securityfs is not mounted)"
    } else {
        modules
    };
    warning(
        Check::SecurityModules,
        found,
        "command and file collectors need landlock: add it to lsm= on the kernel's command line; nothing else does",
    )
}

fn hidepid() -> Finding {
    match Hidden::from(Path::new("/proc")) {
        None => fine(Check::Proc, "shows the processes of all users"),
        Some(hidden) => warning(Check::Proc, hidden.to_string(), ""),
    }
}

fn cgroups() -> Finding {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return fine(Check::Cgroups, "version 2");
    }
    warning(
        Check::Cgroups,
        "version 1, or none at /sys/fs/cgroup",
        "units and containers are read from /proc then, as long as the process is there: boot with systemd.unified_cgroup_hierarchy=1",
    )
}
