//! How many descriptors a process has open: the bits that are set in its table's map, as `stat` of /proc/PID/fd tells since
//! 6.2 (fs/proc/fd.c, proc_readfd_count).

use aya_ebpf::{helpers::generated::bpf_probe_read_kernel, macros::map, maps::PerCpuArray};
use kevmon_common::{FDS_COUNTED, FDS_UNKNOWN};

use crate::task::{ABSENT, Kernel, Task, load, offset};

const WORDS: usize = FDS_COUNTED as usize / 64;

/// A copy of the map: more than the stack has room for.
#[map]
static OPEN_FDS: PerCpuArray<[u64; WORDS]> = PerCpuArray::with_max_entries(1, 0);

/// Of the thread's process; [`FDS_UNKNOWN`] from any but its leader, unless the leader has ended before it.
#[inline(always)]
pub(crate) fn open_descriptors(task: Task) -> u32 {
    if offset!(task_files) == ABSENT
        || offset!(files_fdt) == ABSENT
        || offset!(fdt_max_fds) == ABSENT
        || offset!(fdt_open_fds) == ABSENT
    {
        return FDS_UNKNOWN;
    }
    if !task.is_leader() && !task.leader().files().is_null() {
        return FDS_UNKNOWN;
    }
    let files = task.files();
    if files.is_null() {
        return FDS_UNKNOWN;
    }
    let Some(words) = OPEN_FDS.get_ptr_mut(0) else {
        return FDS_UNKNOWN;
    };
    // SAFETY: a non-null files_struct; the iterator runs in an RCU read section, which keeps a table that is replaced
    // meanwhile. The map's words are this CPU's own while it runs.
    let count = unsafe {
        let fdt: Kernel = load(files, offset!(files_fdt));
        if fdt.is_null() {
            return FDS_UNKNOWN;
        }
        let bits: u32 = load(fdt, offset!(fdt_max_fds));
        let map: Kernel = load(fdt, offset!(fdt_open_fds));
        let bytes = bits >> 3;
        if bytes > FDS_COUNTED / 8 {
            return FDS_UNKNOWN;
        }
        if bpf_probe_read_kernel(words.cast(), bytes, map.cast()) != 0 {
            return FDS_UNKNOWN;
        }
        let mut count = 0;
        for index in 0..WORDS {
            if index as u32 >= bytes >> 3 {
                break;
            }
            count += (*words)[index].count_ones();
        }
        count
    };
    // Of a process that exited meanwhile, the table may have been another's (kernel/exit.c, exit_files, takes it away
    // before it is freed).
    if task.files() == files { count } else { FDS_UNKNOWN }
}
