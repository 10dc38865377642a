//! Whose a process is and where it runs, as far as a few loads tell; userspace finds the names.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use kevmon_common::Facts;

use crate::task::{ABSENT, Kernel, Task, load, offset};

/// `PROC_PID_INIT_INO` (include/linux/proc_ns.h, all versions): the namespace at level 0 is always that one.
const INITIAL_PID_NAMESPACE: u32 = 0xEFFF_FFFC;
/// `struct upid { int nr; struct pid_namespace *ns; }` (include/linux/pid.h, all versions).
const UPID: usize = 16;

/// Of a process, by its leader or by a thread that runs in it.
#[inline(always)]
pub(crate) fn of(task: Task) -> Facts {
    Facts {
        cgroup: cgroup(task),
        euid: euid(task),
        pid_namespace: pid_namespace(task),
    }
}

#[inline(always)]
fn euid(task: Task) -> u32 {
    if offset!(task_real_cred) == ABSENT || offset!(cred_euid) == ABSENT {
        return Facts::UNKNOWN.euid;
    }
    // SAFETY: a task_struct, whose credentials go with it (kernel/fork.c, __put_task_struct).
    unsafe {
        let cred: Kernel = load(task.0, offset!(task_real_cred));
        if cred.is_null() {
            return Facts::UNKNOWN.euid;
        }
        load(cred, offset!(cred_euid))
    }
}

/// It stays with a process that has ended until its task_struct goes (kernel/cgroup/cgroup.c, cgroup_free).
#[inline(always)]
fn cgroup(task: Task) -> u64 {
    if offset!(task_cgroups) == ABSENT
        || offset!(css_set_dfl_cgrp) == ABSENT
        || offset!(cgroup_kn) == ABSENT
        || offset!(kernfs_node_id) == ABSENT
    {
        return Facts::UNKNOWN.cgroup;
    }
    // SAFETY: a task_struct; its css_set and cgroup are never null.
    unsafe {
        let set: Kernel = load(task.0, offset!(task_cgroups));
        let cgroup: Kernel = load(set, offset!(css_set_dfl_cgrp));
        id(cgroup)
    }
}

/// The id of a cgroup; called where the kernel has the fields.
///
/// # Safety
/// `cgroup` is a BTF pointer to a cgroup.
#[inline(always)]
pub(crate) unsafe fn id(cgroup: Kernel) -> u64 {
    // SAFETY: the caller vouches for it; its node lives as long as it does.
    unsafe {
        let node: Kernel = load(cgroup, offset!(cgroup_kn));
        load(node, offset!(kernfs_node_id))
    }
}

/// task_active_pid_ns (kernel/pid.c): that of the deepest number which it has.
#[inline(always)]
fn pid_namespace(task: Task) -> u32 {
    if offset!(task_thread_pid) == ABSENT
        || offset!(pid_level) == ABSENT
        || offset!(pid_numbers) == ABSENT
        || offset!(upid_ns) == ABSENT
        || offset!(pid_namespace_inum) == ABSENT
    {
        return Facts::UNKNOWN.pid_namespace;
    }
    // SAFETY: a task_struct; a `struct pid` lives at least as long as it is a task's.
    unsafe {
        let pid: Kernel = load(task.0, offset!(task_thread_pid));
        if pid.is_null() {
            return Facts::UNKNOWN.pid_namespace; // reaped
        }
        let level: u32 = load(pid, offset!(pid_level));
        if level == 0 {
            return INITIAL_PID_NAMESPACE;
        }
        // An address that is not constant is for the helper to check.
        let number =
            pid.add(offset!(pid_numbers) as usize + level as usize * UPID + offset!(upid_ns) as usize);
        let mut namespace: Kernel = core::ptr::null();
        let (into, size) = (&raw mut namespace, size_of::<Kernel>() as u32);
        if bpf_probe_read_kernel(into.cast(), size, number.cast()) != 0 {
            return Facts::UNKNOWN.pid_namespace;
        }
        let inode = namespace.wrapping_add(offset!(pid_namespace_inum) as usize);
        let mut number = Facts::UNKNOWN.pid_namespace;
        if bpf_probe_read_kernel((&raw mut number).cast(), size_of::<u32>() as u32, inode.cast()) != 0 {
            return Facts::UNKNOWN.pid_namespace;
        }
        number
    }
}
