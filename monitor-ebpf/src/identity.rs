//! Who a process is, as its mark keeps it: the sequence that verdicts name, the executable's base name, and whether
//! userspace has been told.

use core::mem::MaybeUninit;

use kevmon_common::{
    EXE_LEN, HeldRename, Key, MARK_EXE_CUT, MARK_EXE_LEN, MARK_FORKED, MARK_HELD, MARK_JUDGED_BEFORE,
    MARK_KNOWN, MARK_RENAMED, MARK_TOLD, Mark,
};

use crate::{
    maps,
    task::{self, Kernel},
};

const WORDS: usize = MARK_EXE_LEN / 8;

/// An executable's base name, as far as a mark holds it. What lies behind its length is undefined.
pub(crate) struct Name {
    words: [u64; WORDS],
    len: u32,
    cut: bool,
}

impl Name {
    /// Reads it from an open file; of none it is empty.
    #[inline(always)]
    pub(crate) fn of_file(file: Kernel) -> Self {
        let mut words = MaybeUninit::<[u64; WORDS]>::uninit();
        // SAFETY: integers as the bytes they are made of, and no byte behind the length is used as one. The verifier takes all of
        // them as written by the helper: to have them zero before would be a call of `memset`, whose frame counts against
        // the verifier's 512 bytes of stack.
        let (words, len) = unsafe {
            let len = task::file_name(file, &mut *words.as_mut_ptr().cast::<[u8; MARK_EXE_LEN]>());
            (words.assume_init(), len)
        };
        Self {
            words,
            len,
            cut: task::file_name_len(file) >= MARK_EXE_LEN as u32,
        }
    }

    /// Takes it from a record that holds `len` bytes of it.
    ///
    /// # Safety
    /// `text` points to that many readable bytes, aligned to eight.
    #[inline(always)]
    pub(crate) unsafe fn of_record(text: *const [u8; EXE_LEN], len: u32) -> Self {
        // The last byte is the NUL's: as many are kept as a copy that ends with one would have.
        const KEPT: u32 = MARK_EXE_LEN as u32 - 1;
        Self {
            // SAFETY: the first words of the array that the caller vouches for.
            words: unsafe { core::ptr::read(text.cast()) },
            len: if len > KEPT { KEPT } else { len },
            cut: len > KEPT,
        }
    }

    /// # Safety
    /// `mark` is a live map value.
    #[inline(always)]
    unsafe fn of_mark(mark: *const Mark) -> Self {
        // SAFETY: `exe` is aligned to eight (asserted in kevmon-common), and the caller vouches for the rest.
        unsafe {
            Self {
                words: core::ptr::read((&raw const (*mark).exe).cast()),
                len: (*mark).exe_len,
                cut: (*mark).flags & MARK_EXE_CUT != 0,
            }
        }
    }

    /// # Safety
    /// `mark` is a live map value or a local one.
    #[inline(always)]
    unsafe fn store(&self, mark: *mut Mark) {
        // SAFETY: as for `of_mark`.
        unsafe {
            core::ptr::write((&raw mut (*mark).exe).cast(), self.words);
            (*mark).exe_len = self.len;
        }
    }

    #[inline(always)]
    fn flags(&self) -> u32 {
        if self.cut { MARK_EXE_CUT } else { 0 }
    }

    /// A mark with this name.
    #[inline(always)]
    fn mark(&self, sequence: u64, flags: u32) -> Mark {
        let mut mark = Mark::NEW;
        mark.sequence = sequence;
        mark.flags = flags | self.flags();
        // SAFETY: a local.
        unsafe { self.store(&raw mut mark) };
        mark
    }
}

/// The flags of an identity whose record has (`told`) or has not got its ring space.
#[inline(always)]
fn told_flags(told: bool) -> u32 {
    if told { MARK_TOLD | MARK_KNOWN } else { 0 }
}

/// Gives a process another identity. `kept` are the flags that outlive the present one. Userspace may know the process
/// without having been told of it: by its answer to the identity that ends here.
///
/// # Safety
/// `mark` is the live mark of `key`, the process that runs this: nobody else writes these fields.
#[inline(always)]
unsafe fn change(key: &Key, mark: *mut Mark, sequence: u64, told: bool, kept: u32, added: u32) {
    // SAFETY: the caller vouches for `mark`.
    unsafe {
        let before = (*mark).sequence;
        if (*mark).flags & MARK_HELD != 0 {
            maps::lose_held_name(key);
        }
        let mut flags = (*mark).flags & (MARK_KNOWN | MARK_JUDGED_BEFORE | kept) | told_flags(told) | added;
        (*mark).sequence = sequence;
        maps::barrier();
        if maps::may_be_judged(before) {
            flags |= MARK_JUDGED_BEFORE;
        }
        if flags & MARK_KNOWN == 0 {
            if maps::verdict(key, before) == Some(true) {
                flags |= MARK_KNOWN;
            }
        }
        (*mark).flags = flags;
    }
}

/// The process that runs this has executed `name`.
#[inline(always)]
pub(crate) fn executed(key: &Key, mark: Option<*mut Mark>, sequence: u64, told: bool, name: &Name) {
    let Some(mark) = mark else {
        maps::insert_mark(key, &name.mark(sequence, told_flags(told)));
        return;
    };
    // SAFETY: a live map value.
    unsafe {
        change(key, mark, sequence, told, 0, name.flags());
        name.store(mark);
    }
}

/// The process that runs this has another `comm`; its executable is open as `file`. Returns whether userspace has heard
/// of what it was before. If not, a record of the new `comm` does not tell it all: its names stay untold.
#[inline(always)]
pub(crate) fn renamed(key: &Key, mark: Option<*mut Mark>, sequence: u64, told: bool, file: Kernel) -> bool {
    let Some(mark) = mark else {
        let name = Name::of_file(file);
        maps::insert_mark(key, &name.mark(sequence, MARK_RENAMED | told_flags(told)));
        return true;
    };
    // SAFETY: a live map value.
    unsafe {
        let heard = is_heard(key, mark);
        let kept = MARK_EXE_CUT | MARK_FORKED | MARK_RENAMED;
        let added = if heard { MARK_RENAMED } else { 0 };
        change(key, mark, sequence, told, kept, added);
        if !heard {
            (*mark).flags &= !MARK_TOLD;
        }
        heard
    }
}

/// Whether userspace knows, or is about to read, what the process is called now.
///
/// # Safety
/// `mark` is the live mark of `key`.
#[inline(always)]
unsafe fn is_heard(key: &Key, mark: *const Mark) -> bool {
    // SAFETY: the caller vouches for `mark`.
    unsafe { (*mark).flags & (MARK_TOLD | MARK_HELD) != 0 || maps::verdict(key, (*mark).sequence).is_some() }
}

/// The process that runs this has another `comm`, which is held for userspace instead of being sent.
///
/// # Safety
/// `mark` is the live mark of `key`, the process that runs this.
#[inline(always)]
pub(crate) unsafe fn held(key: &Key, mark: *mut Mark, rename: &HeldRename) {
    // SAFETY: the caller vouches for `mark`.
    unsafe {
        // Where the record of what it was before is lost, `comm` is not all that has to be told: a snapshot, which that
        // loss calls for, or its end tells its names.
        let heard = is_heard(key, mark);
        let kept = MARK_EXE_CUT | MARK_FORKED | MARK_RENAMED;
        let added = if heard { MARK_RENAMED | MARK_HELD } else { 0 };
        change(key, mark, rename.sequence, false, kept, added);
    }
    // The mark first: userspace takes the name for the present one only where the mark says so.
    maps::hold(key, rename);
}

/// A process with the mark `parent` has made `child`.
///
/// # Safety
/// `parent` is a live map value.
#[inline(always)]
pub(crate) unsafe fn forked(child: &Key, parent: *const Mark, sequence: u64, told: bool) {
    // SAFETY: the caller vouches for `parent`.
    let name = unsafe { Name::of_mark(parent) };
    maps::insert_mark(child, &name.mark(sequence, MARK_FORKED | told_flags(told)));
}

/// The name of `parent` is still held when it forks `child`, whose record userspace will read with the parent's earlier
/// name: the child's is held, too. `sequence` is that of the fork.
#[inline(always)]
pub(crate) fn inherit_held(parent: &Key, child: &Key, sequence: u64) {
    let Some(comm) = maps::held_name(parent) else {
        return; // userspace has taken it, and so before it reads the fork
    };
    let Some(mark) = maps::mark(child) else { return };
    // SAFETY: a live map value; the child does not run yet.
    unsafe { (*mark).flags |= MARK_HELD };
    let rename = HeldRename {
        sequence,
        parent: *parent,
        comm,
    };
    maps::hold(child, &rename);
}

/// Marks a process that a snapshot showed to userspace, and that userspace asked for.
#[inline(always)]
pub(crate) fn found(key: &Key, name: &Name) {
    if maps::mark(key).is_none() && maps::verdict(key, 0) == Some(true) {
        maps::insert_missing_mark(key, &name.mark(0, MARK_TOLD | MARK_KNOWN));
    }
}
