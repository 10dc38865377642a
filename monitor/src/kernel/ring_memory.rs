//! The memory of a ring buffer, read without giving the space of a record back at once.
//!
//! aya's reader moves the consumer's position with each record that it hands out. Whoever takes the ring over from a kevmon that was
//! killed has to find what that one had read and not yet kept. So reading and releasing are two steps here: the kernel sees the
//! position that was released, and everything from there on stays in the ring.
//!
//! Layout (kernel/bpf/ringbuf.c, 5.10 to 6.18): a page with the consumer's position, writable; a page with the producer's
//! position; the data, mapped twice in a row, so that a record never wraps. A record has a header of eight bytes, whose
//! first word is its length and two flags.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    slice,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use aya::maps::MapData;

/// `BPF_RINGBUF_BUSY_BIT`: reserved and not submitted yet.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: reserved, and given back unused.
const DISCARDED: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`: bytes of a record's header.
const HEADER: u64 = 8;

/// A ring buffer map, mapped into memory and read from there.
pub struct RingMemory {
    descriptor: OwnedFd,
    consumer: Mapping,
    /// The producer's page and the data, twice.
    producer: Mapping,
    page: usize,
    /// Bytes of data: a power of two.
    size: u64,
    /// The position up to which records have been read.
    read: u64,
}

impl RingMemory {
    /// Maps the ring; reading begins where it was released.
    ///
    /// # Errors
    /// mmap(2) refuses, or the map is no ring.
    pub fn new(map: MapData) -> io::Result<Self> {
        let size = map.info().map_err(io::Error::other)?.max_entries();
        Self::of(map.fd().as_fd().try_clone_to_owned()?, size)
    }

    /// Maps the ring behind `descriptor`, which has `size` bytes of data.
    fn of(descriptor: OwnedFd, size: u32) -> io::Result<Self> {
        let page = rustix::param::page_size();
        if !size.is_power_of_two() {
            return Err(io::Error::other("the ring's size is not a power of two"));
        }
        let length = page + 2 * size as usize;
        let consumer = Mapping::new(descriptor.as_fd(), 0, page, libc::PROT_READ | libc::PROT_WRITE)?;
        let producer = Mapping::new(descriptor.as_fd(), page, length, libc::PROT_READ)?;
        let mut ring = Self {
            descriptor,
            consumer,
            producer,
            page,
            size: u64::from(size),
            read: 0,
        };
        ring.read = ring.released();
        Ok(ring)
    }

    /// The ring's descriptor.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Size of the ring, bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The position up to which records have been read.
    pub fn position(&self) -> u64 {
        self.read
    }

    /// The position up to which space has been given back.
    pub fn released(&self) -> u64 {
        self.consumer.position().load(Ordering::Acquire)
    }

    /// The position up to which the kernel side has taken space, for records that it may still be writing.
    pub fn produced(&self) -> u64 {
        self.producer.position().load(Ordering::Acquire)
    }

    /// Begins to read at `position`, which an earlier reader had reached; false where that is not in the ring.
    pub fn seek(&mut self, position: u64) -> bool {
        let (released, produced) = (self.released(), self.produced());
        if !position.is_multiple_of(8) || position > produced || produced - released.min(produced) > self.size
        {
            return false;
        }
        // What was released and not kept is gone: reading goes on behind it.
        self.read = position.max(released);
        true
    }

    /// The next record; `None` where none waits, or where the next one is still being written.
    pub fn next(&mut self) -> Option<&[u8]> {
        loop {
            let (state, length) = self.header(self.read)?;
            if state & BUSY != 0 {
                return None;
            }
            let begins = self.read;
            self.read += length;
            if state & DISCARDED == 0 {
                let length = (state & !(BUSY | DISCARDED)) as usize;
                let data = self.data(begins)?;
                // SAFETY: the producer's position, which `header` compared with, says that the record is whole; the data are
                // mapped twice, so that it does not wrap; the kernel writes nothing there before it is released, which needs
                // `&mut self`.
                return Some(unsafe { slice::from_raw_parts(data.add(HEADER as usize).as_ptr(), length) });
            }
        }
    }

    /// Records that wait, those that are being written among them.
    pub fn waiting(&self) -> u64 {
        let (mut at, mut waiting) = (self.read, 0);
        while let Some((state, length)) = self.header(at) {
            waiting += u64::from(state & DISCARDED == 0);
            at += length;
        }
        waiting
    }

    /// Gives back everything before `position`.
    pub fn release(&mut self, position: u64) {
        if position > self.released() && position <= self.read {
            // Paired with the kernel's acquiring load before it reuses the space (bpf_ringbuf_reserve).
            self.consumer.position().store(position, Ordering::Release);
        }
    }

    /// The header's first word and the space of the record at `position`; `None` at the end, and for what cannot be one.
    fn header(&self, position: u64) -> Option<(u32, u64)> {
        let left = self.produced().checked_sub(position).filter(|left| *left > 0)?;
        let data = self.data(position)?;
        // SAFETY: records begin at multiples of eight within the mapping; the kernel writes the word atomically.
        let state = unsafe { data.cast::<AtomicU32>().as_ref() }.load(Ordering::Acquire);
        let length = u64::from(state & !(BUSY | DISCARDED)) + HEADER;
        let length = length.next_multiple_of(8);
        (length <= left && length <= self.size).then_some((state, length))
    }

    /// The memory at `position`, with at least `size` bytes behind it.
    fn data(&self, position: u64) -> Option<NonNull<u8>> {
        let offset = usize::try_from(position & (self.size - 1)).ok()?;
        // SAFETY: the mapping is a page and twice the size long.
        Some(unsafe { self.producer.start.add(self.page + offset) })
    }
}

/// Memory shared with the kernel.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory belongs to no thread; what is written to it is atomic.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(map: BorrowedFd<'_>, offset: usize, length: usize, access: libc::c_int) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                access,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                offset,
            )
        };
        match NonNull::new(start.cast::<u8>()) {
            Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => Ok(Self { start, length }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The position at its start (`unsigned long`, which has 64 bits on every architecture that the programs run on).
    fn position(&self) -> &AtomicU64 {
        // SAFETY: a mapped page, aligned; the kernel reads and writes the word atomically.
        unsafe { self.start.cast().as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
#[path = "ring_memory_tests.rs"]
pub(super) mod tests;
