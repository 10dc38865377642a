//! Positions, records and releases, over a file with the layout of a ring.

use std::{fs::File, os::unix::fs::FileExt};

use rustix::fs::{MemfdFlags, memfd_create};

use super::*;

/// Writes as the kernel does.
pub struct Producer {
    file: File,
    page: u64,
    size: u64,
    position: u64,
}

impl Producer {
    /// A ring of `size` bytes, of which everything before `position` has been given back, and who writes to it.
    pub fn new(size: u32, position: u64) -> (Self, RingMemory) {
        let file = File::from(memfd_create("ring", MemfdFlags::CLOEXEC).unwrap());
        let page = rustix::param::page_size() as u64;
        file.set_len(2 * page + 2 * u64::from(size)).unwrap();
        file.write_all_at(&position.to_ne_bytes(), 0).unwrap();
        file.write_all_at(&position.to_ne_bytes(), page).unwrap();
        let ring = RingMemory::of(file.try_clone().unwrap().into(), size).unwrap();
        let producer = Self {
            file,
            page,
            size: u64::from(size),
            position,
        };
        (producer, ring)
    }

    /// The data lie there twice.
    fn put(&self, at: u64, bytes: &[u8]) {
        for (position, byte) in (at..).zip(bytes) {
            let offset = 2 * self.page + position % self.size;
            self.file.write_all_at(&[*byte], offset).unwrap();
            self.file.write_all_at(&[*byte], offset + self.size).unwrap();
        }
    }

    /// Writes a record with these flags; returns where it begins.
    pub fn write(&mut self, record: &[u8], flags: u32) -> u64 {
        let begins = self.position;
        self.put(begins, &(record.len() as u32 | flags).to_ne_bytes());
        self.put(begins + HEADER, record);
        self.position += (record.len() as u64 + HEADER).next_multiple_of(8);
        self.file
            .write_all_at(&self.position.to_ne_bytes(), self.page)
            .unwrap();
        begins
    }

    fn submit(&self, begins: u64, record: &[u8]) {
        self.put(begins, &(record.len() as u32).to_ne_bytes());
    }
}

const SIZE: u32 = 4096;

#[test]
fn a_record_stays_until_it_is_released() {
    let (mut producer, mut ring) = Producer::new(SIZE, 0);
    assert_eq!(ring.next(), None);
    producer.write(b"one", 0);
    producer.write(b"given back", DISCARDED);
    producer.write(b"two", 0);
    let busy = producer.write(b"three", BUSY);
    producer.write(b"four", 0);
    assert_eq!(ring.waiting(), 4, "those that are being written among them");
    assert_eq!(ring.next(), Some(&b"one"[..]));
    let first = ring.position();
    assert_eq!(ring.next(), Some(&b"two"[..]));
    assert_eq!(
        ring.next(),
        None,
        "what comes behind one that is being written waits for it"
    );
    assert_eq!((ring.released(), ring.waiting()), (0, 2));
    producer.submit(busy, b"three");
    assert_eq!(ring.next(), Some(&b"three"[..]));
    ring.release(first);
    assert_eq!(ring.released(), first);
    ring.release(0);
    assert_eq!(ring.released(), first, "never back");
    ring.release(ring.position() + 8);
    assert_eq!(ring.released(), first, "never what has not been read");
    assert_eq!(ring.next(), Some(&b"four"[..]));
}

/// Who comes after a kill reads from where the state is, and that is where records begin, or nowhere.
#[test]
fn the_next_reader_goes_on_where_the_state_is() {
    let begin = 10 * u64::from(SIZE) - 16; // the second record wraps
    let (mut producer, mut first) = Producer::new(SIZE, begin);
    for record in [b"one", b"two", b"six"] {
        producer.write(record, 0);
    }
    first.next();
    let kept = first.position();
    first.next();
    drop(first);
    let reader = || RingMemory::of(producer.file.try_clone().unwrap().into(), SIZE).unwrap();
    let mut second = reader();
    assert!(second.seek(kept));
    assert_eq!(second.next(), Some(&b"two"[..]));
    assert_eq!(second.next(), Some(&b"six"[..]));
    // Released and not kept: what is left comes behind it.
    second.release(second.position());
    let mut third = reader();
    assert!(third.seek(kept));
    assert_eq!((third.position(), third.next()), (producer.position, None));
    for nowhere in [kept + 1, producer.position + 8] {
        assert!(!reader().seek(nowhere), "{nowhere}");
    }
    // Positions that no kernel wrote.
    producer
        .file
        .write_all_at(
            &(producer.position + 2 * u64::from(SIZE)).to_ne_bytes(),
            producer.page,
        )
        .unwrap();
    assert!(!reader().seek(producer.position));
}

#[test]
fn what_cannot_be_a_record_is_not_read() {
    let (mut producer, mut ring) = Producer::new(SIZE, 0);
    producer.write(&[7; 64], 0);
    producer.put(0, &4_000_u32.to_ne_bytes());
    assert_eq!(
        (ring.waiting(), ring.next()),
        (0, None),
        "longer than what was written"
    );
}
