//! The argument vector of a process that executes: its beginning goes into the exec's own record, the rest into records that
//! come before it.

use aya_ebpf::helpers::generated::{bpf_probe_read_user, bpf_probe_read_user_str};
use kevmon_common::{
    ARGUMENTS_LEN, ARGUMENTS_LONG_LEN, ARGUMENTS_LONG_MOST, ARGUMENTS_MOST, ARGV_LEN, ArgumentsHead,
    ArgumentsRecord, Failure, Header, Key, Kind,
};

use crate::{
    maps::{self, Scratch},
    task::{Kernel, load, offset},
};

/// Where an argument vector lies. Its pages were written a moment ago by the exec itself, so reads do not fault; one that
/// does all the same gives nothing.
pub(crate) struct Arguments {
    start: u64,
    len: u64,
}

impl Arguments {
    /// That of an address space.
    #[inline(always)]
    pub(crate) fn of(mm: Kernel) -> Self {
        if mm.is_null() {
            return Self { start: 0, len: 0 };
        }
        // SAFETY: a non-null mm_struct.
        let (start, end): (u64, u64) =
            unsafe { (load(mm, offset!(mm_arg_start)), load(mm, offset!(mm_arg_end))) };
        Self {
            start,
            len: end.wrapping_sub(start),
        }
    }

    /// Copies the beginning; returns how many bytes.
    #[inline(always)]
    pub(crate) fn read(&self, argv: &mut [u8; ARGV_LEN]) -> u32 {
        let len = at_most::<{ ARGV_LEN as i32 }>(self.len);
        // SAFETY: the helper checks the user address; `len` fits the array.
        match unsafe { bpf_probe_read_user(argv.as_mut_ptr().cast(), len as u32, self.start as *const _) } {
            0 => len as u32,
            _ => 0,
        }
    }

    /// Whether so many bytes in the exec's record, and so many before it, are not all.
    #[inline(always)]
    pub(crate) fn is_more_than(&self, read: u32, before: u32) -> bool {
        self.len > u64::from(read) + u64::from(before)
    }

    /// Sends what does not fit the exec's record, as far as userspace wants it; of an `argv[0]` that does not fit, all.
    /// Returns how many bytes.
    #[inline(always)]
    pub(crate) fn send_rest(&self, key: &Key, time: u64) -> u32 {
        if self.len <= ARGV_LEN as u64 {
            return 0; // all but always
        }
        let wanted = maps::argument_records() + self.first_is_long() * ARGUMENTS_MOST;
        if wanted == 0 {
            return 0;
        }
        let mut sent = 0;
        let mut offset = ARGV_LEN;
        if !self.send::<ARGUMENTS_LEN>(offset, key, time, &mut sent) {
            return sent;
        }
        offset += ARGUMENTS_LEN;
        for number in 0..ARGUMENTS_LONG_MOST {
            if number + 1 >= wanted || !self.send::<ARGUMENTS_LONG_LEN>(offset, key, time, &mut sent) {
                break;
            }
            offset += ARGUMENTS_LONG_LEN;
        }
        sent
    }

    /// Sends the part that begins at `offset`, and notes how many bytes behind the exec's record have been sent. Returns
    /// false when nothing more can be sent.
    #[inline(always)]
    fn send<const LEN: usize>(&self, offset: usize, key: &Key, time: u64, sent: &mut u32) -> bool {
        if offset as u64 >= self.len || maps::is_crowded() {
            return false;
        }
        let Some(mut entry) = maps::reserve::<ArgumentsRecord<LEN>>(Failure::ArgumentsReserve) else {
            return false;
        };
        let len = self.len - offset as u64;
        let len = match LEN {
            ARGUMENTS_LEN => at_most::<{ ARGUMENTS_LEN as i32 }>(len),
            _ => at_most::<{ ARGUMENTS_LONG_LEN as i32 }>(len),
        };
        let record = entry.as_mut_ptr();
        // SAFETY: reserved ring space of this size; of the text only the bytes that its length covers are read by
        // userspace. The helper checks the user address.
        let failed = unsafe {
            let text = (&raw mut (*record).text).cast();
            let from = self.start.wrapping_add(offset as u64);
            let failed = bpf_probe_read_user(text, len as u32, from as *const _) != 0;
            (*record).head = ArgumentsHead {
                header: Header {
                    kind: Kind::Arguments as u32,
                    flags: 0,
                    time,
                    key: *key,
                },
                offset: offset as u32,
                len: if failed { 0 } else { len as u32 },
            };
            failed
        };
        entry.submit(maps::wake_up());
        if !failed {
            *sent = (offset - ARGV_LEN) as u32 + len as u32;
        }
        !failed
    }

    /// 1 when `argv[0]` does not end within the part that the exec's record holds, else 0. A number, and no branches for
    /// the verifier to follow.
    #[inline(always)]
    fn first_is_long(&self) -> u32 {
        let Some(mut scratch) = Scratch::new() else {
            return 0;
        };
        let size = ARGV_LEN as u32 + 1;
        // SAFETY: the scratch is larger; the helper checks the user address, and ends what it copies with a NUL.
        let copied =
            unsafe { bpf_probe_read_user_str(scratch.as_mut_ptr().cast(), size, self.start as *const _) };
        scratch.discard();
        // The NUL counts: 513 when the first 512 bytes have none.
        ((copied as u64 / size as u64) & 1) as u32
    }
}

/// The smaller one of `len` and `MOST`. The comparison is of the very register that holds the result, and with a constant: where the
/// compiler compares a copy, the verifiers of Linux 5.10 and 6.1 do not see that the result is bounded, too, and refuse the helper's
/// call ("R2 min value is negative").
#[inline(always)]
fn at_most<const MOST: i32>(len: u64) -> u64 {
    let mut len = len;
    // SAFETY: a comparison and a move of registers.
    unsafe {
        core::arch::asm!(
            "if {len} <= {most} goto +1",
            "{len} = {most}",
            len = inout(reg) len,
            most = const MOST,
            options(pure, nomem, nostack),
        );
    }
    len
}
