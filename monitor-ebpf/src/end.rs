//! What the two records of an end, exit and free, have in common.

use kevmon_common::{END_OOM, EndRecord, Header, Key, Kind, Mark, Usage};

use crate::{facts, task::Task};

/// Fills a record of the end of `task`'s process.
///
/// # Safety
/// `record` is writable as a whole, and `mark` readable.
#[inline(always)]
pub(crate) unsafe fn fill(
    record: *mut EndRecord,
    kind: Kind,
    time: u64,
    key: &Key,
    task: Task,
    mark: *const Mark,
    usage: Usage,
) {
    // SAFETY: the caller vouches for both pointers.
    unsafe {
        (*record).header = Header {
            kind: kind as u32,
            flags: if (*mark).oom != 0 { END_OOM } else { 0 },
            time,
            key: *key,
        };
        (*record).status = task.exit_status();
        (*record).pad = 0;
        (*record).sender = (*mark).sender;
        (*record).ended = (*mark).ended;
        (*record).usage = usage;
        (*record).facts = facts::of(task.leader());
        (*record).peak_rss = (*mark).peak_rss;
    }
}
