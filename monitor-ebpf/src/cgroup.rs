//! cgroup_mkdir: a cgroup is made in the unified hierarchy. Its path is told then, because it may be gone by the time
//! that somebody asks what an id meant: systemd removes a unit's cgroup with its last process.

use aya_ebpf::{
    helpers::bpf_probe_read_kernel_str_bytes, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use kevmon_common::{CgroupRecord, Failure, Header, Key, Kind};

use crate::{
    facts, maps,
    task::{self, ABSENT, Kernel, load, offset},
};

/// `TP_PROTO(struct cgroup *cgrp, const char *path)`, 5.10 to 6.18 (include/trace/events/cgroup.h). Runs in the process
/// that makes it, before any other can be put there (kernel/cgroup/cgroup.c, cgroup_mkdir).
#[btf_tracepoint(function = "cgroup_mkdir")]
fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    if !maps::is_watched() {
        return 0;
    }
    try_mkdir(ctx.arg(0), ctx.arg(1));
    0
}

#[inline(always)]
fn try_mkdir(cgroup: Kernel, path: Kernel) {
    if offset!(cgroup_root) == ABSENT
        || offset!(cgroup_root_hierarchy_id) == ABSENT
        || offset!(cgroup_kn) == ABSENT
        || offset!(kernfs_node_id) == ABSENT
    {
        return;
    }
    // SAFETY: the tracepoint's cgroup, whose hierarchy outlives it.
    let (hierarchy, id) = unsafe {
        let root: Kernel = load(cgroup, offset!(cgroup_root));
        let hierarchy: u32 = load(root, offset!(cgroup_root_hierarchy_id));
        (hierarchy, facts::id(cgroup))
    };
    if hierarchy != 0 {
        return; // another hierarchy's ids are of its own
    }
    let Some(mut entry) = maps::reserve::<CgroupRecord>(Failure::CgroupReserve) else {
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: reserved ring space of this size; of the path only the bytes that its length covers are read by userspace.
    unsafe {
        let head = &raw mut (*record).head;
        (*head).header = Header {
            kind: Kind::Cgroup as u32,
            flags: 0,
            time: task::now(),
            key: Key {
                start_boottime: 0,
                tgid: 0,
                pad: 0,
            },
        };
        (*head).id = id;
        (*head).pad = 0;
        (*head).path_len = match bpf_probe_read_kernel_str_bytes(path, &mut (*record).path) {
            Ok(copied) => copied.len() as u32,
            Err(_) => 0,
        };
    }
    entry.submit(maps::wake_up());
}
