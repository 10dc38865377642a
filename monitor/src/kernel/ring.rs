//! Reads the ring. The loop takes the records itself as long as it comes by in time; while it does something else, a
//! thread of the ring's own takes them out, so that the ring does not fill up.
//!
//! The thread waits for the kernel side's call, and never for anything else: it holds the lock for no longer than reading takes. A
//! call comes once a quarter of the ring is waiting, and with the first record after the loop went to sleep; that one the thread
//! leaves to the loop, which a ring that has been emptied meanwhile would not wake (epoll(7) looks once more before it tells).
//!
//! Where the ring outlives kevmon, a record's space is given back once the state has what the record told, so that the next
//! kevmon finds in the ring what this one had read and not kept ([`Ring::release`]). A storm does not wait for that: once an
//! eighth of the ring is held so, all that was read is given back at once, and a kill in that moment loses it. The kernel side
//! calls at a quarter, and what is held counts there.

use std::{
    collections::VecDeque,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use rustix::event::{EventfdFlags, epoll, eventfd};
use tracing::warn;

use super::{
    decode::{self, Blind},
    held_arguments::HeldArguments,
    ring_memory::RingMemory,
};
use crate::{
    health::{Pulse, Vital},
    process::{Event, FactIds},
};

/// Records that the thread takes in one go: between two of them the loop may take its turn.
const AT_ONCE: usize = 256;
/// Records that the loop takes in one go. Few, so that the texts of short lives are freed while the allocator still has
/// their places at hand: it keeps seven of each size (malloc(3), glibc.malloc.tcache_count).
const AT_ONCE_IN_LOOP: usize = 8;
/// Bytes that the thread holds at most, and as many may be on their way through the loop: some 100,000 ends, or as many
/// execs with short arguments. More waits in the ring, and what finds no room there is kept in the kernel side's maps.
const HELD: usize = 48 << 20;
/// At most one part of so many of the ring is held for the state.
const UNRELEASED: u64 = 8;
/// Once one part of so many of that is held, the state is asked to hurry: a sixteenth of the ring.
const PRESSED: u64 = 2;
/// A queue of more than this is given back once it is empty.
const KEPT: usize = 4096;
/// What wakes the thread: the ring, its end, or the question whether it still moves.
const RING: u64 = 0;
const END: u64 = 1;
const ASKED: u64 = 2;

/// The content of a record of the ring.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "all but a few are events, which are moved once"
)]
pub enum Told {
    /// An event of a process, with its user, cgroup and pid namespace.
    Event(Event, FactIds),
    /// A cgroup was made.
    Cgroup {
        /// Inode of its directory, which is its id.
        id: u64,
        /// Path below the hierarchy's root.
        path: String,
    },
}

impl Told {
    /// Memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        /// Of each text: its place, and what an allocator adds.
        const TEXT: usize = size_of::<String>() + 16;
        let texts = match self {
            Self::Event(Event::Exec { identity, .. }, _) => {
                let others = [&identity.comm, &identity.exe, &identity.filename];
                let all = identity.argv.iter().chain(others).chain(&identity.cut);
                all.map(|text| text.len() + TEXT).sum()
            }
            Self::Event(..) => 0,
            Self::Cgroup { path, .. } => path.len() + TEXT,
        };
        size_of::<Self>() + texts
    }
}

/// Counts of records taken from the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// All records taken, also those that could not be decoded.
    pub received: u64,
    /// Records that could not be decoded.
    pub undecodable: u64,
}

/// How far a ring has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reached {
    /// Position in the ring, bytes since it was made.
    pub position: u64,
    /// Records before that position that this kevmon has taken.
    pub received: u64,
}

/// A record, and how far the ring had been read with it.
struct Taken {
    told: Told,
    reached: Reached,
}

/// Reads the ring `EVENTS`, with a thread that takes over while the loop is busy.
pub struct Ring {
    shared: Arc<Mutex<Reader>>,
    /// Taken by the loop, and not asked for yet.
    batch: VecDeque<Taken>,
    /// How far the ring had been read with the last record that was asked for.
    reached: Reached,
    descriptor: OwnedFd,
    /// The thread, which ends with this value; `None` where none could be started.
    taker: Option<Taker>,
}

struct Reader {
    ring: RingMemory,
    /// Whether records stay in the ring until they are released.
    is_held: bool,
    records: Records,
    /// Records that the thread has taken, for the loop.
    waiting: VecDeque<Taken>,
    /// Bytes that `waiting` takes, about.
    held: usize,
    tally: Tally,
}

/// Reads one record after the other.
pub(super) struct Records {
    /// Parts of arguments whose exec's record is still to come.
    arguments: HeldArguments,
    blind: Blind,
}

/// A record that this kevmon does not understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Undecodable;

impl Records {
    pub(super) fn new(blind: Blind) -> Self {
        Self {
            arguments: HeldArguments::default(),
            blind,
        }
    }

    /// What the next record tells; `None` for one that tells nothing by itself, such as a part of arguments.
    ///
    /// # Errors
    /// The bytes are no record.
    pub(super) fn read(&mut self, record: &[u8]) -> Result<Option<Told>, Undecodable> {
        if decode::is_of_a_cgroup(record) {
            return Ok(decode::made_cgroup(record).map(|(id, path)| Told::Cgroup {
                id,
                path: path.to_owned(),
            }));
        }
        if let Some(part) = decode::part_of_arguments(record) {
            self.arguments.hold(&part);
            return Ok(None);
        }
        let before = match decode::executes_or_is_freed(record) {
            Some(key) => self.arguments.take(key),
            None => Vec::new(),
        };
        let event = self.blind.event(record, &before).ok_or(Undecodable)?;
        Ok(Some(Told::Event(event, decode::facts(record))))
    }
}

/// The thread, which ends with it.
struct Taker {
    thread: Option<JoinHandle<()>>,
    end: OwnedFd,
    asked: OwnedFd,
    pulse: Pulse,
}

impl Ring {
    /// Over the memory, whose records are decoded by `blind`. `is_held`: they stay in the ring until they are released.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(ring: RingMemory, blind: Blind, is_held: bool) -> io::Result<Self> {
        let descriptor = ring.descriptor().try_clone_to_owned()?;
        let reached = Reached {
            position: ring.position(),
            received: 0,
        };
        let shared = Arc::new(Mutex::new(Reader {
            ring,
            is_held,
            records: Records::new(blind),
            waiting: VecDeque::new(),
            held: 0,
            tally: Tally::default(),
        }));
        let taker = Taker::start(&shared, &descriptor)
            .inspect_err(|error| {
                warn!("no thread to read the ring while kevmon collects: {error}; a storm may lose records");
            })
            .ok();
        Ok(Self {
            shared,
            batch: VecDeque::new(),
            reached,
            descriptor,
            taker,
        })
    }

    /// A descriptor that is readable once the kernel side has called.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.descriptor.try_clone()
    }

    /// Asks the thread whether it still moves; `None` where there is no thread.
    pub fn ask_thread(&self) -> Option<Pulse> {
        let taker = self.taker.as_ref()?;
        if taker.pulse.ask() {
            // An eventfd takes eight bytes, always.
            let _: rustix::io::Result<usize> = rustix::io::write(&taker.asked, &1_u64.to_ne_bytes());
        }
        if taker.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            taker.pulse.answer(); // it has said that the loop reads alone
        }
        Some(taker.pulse.clone())
    }

    /// The next record, in the order in which the kernel side told them; `None` where nothing waits.
    pub fn next(&mut self) -> Option<Told> {
        if self.batch.is_empty() {
            if self.batch.capacity() > KEPT {
                self.batch = VecDeque::new();
            }
            let mut reader = lock(&self.shared);
            if reader.waiting.is_empty() {
                // Some records tell nothing by themselves, such as parts of arguments.
                while self.batch.is_empty() && reader.take(&mut self.batch, AT_ONCE_IN_LOOP) > 0 {}
            } else {
                // As they were told: what the thread took comes before what is in the ring.
                std::mem::swap(&mut self.batch, &mut reader.waiting);
                reader.held = 0;
            }
        }
        let taken = self.batch.pop_front()?;
        self.reached = taken.reached;
        Some(taken.told)
    }

    /// How far the ring has been read, all of which has been handed out by [`Ring::next`].
    pub fn reached(&self) -> Reached {
        let reader = lock(&self.shared);
        if self.batch.is_empty() && reader.waiting.is_empty() {
            reader.reached()
        } else {
            self.reached
        }
    }

    /// The position up to which the kernel side has taken space.
    pub fn produced(&self) -> u64 {
        lock(&self.shared).ring.produced()
    }

    /// Whether everything up to `position` has been taken and handed out, and nothing has come since.
    pub fn ends_at(&self, position: u64) -> bool {
        let reader = lock(&self.shared);
        let is_empty = self.batch.is_empty() && reader.waiting.is_empty();
        is_empty && reader.ring.position() == position && reader.ring.produced() == position
    }

    /// Records that have come since this reader began, those that wait in the ring among them.
    pub fn come(&self) -> u64 {
        let reader = lock(&self.shared);
        reader.tally.received + reader.ring.waiting()
    }

    /// Whether so much of the ring is held for the state that the next commit should come at once.
    pub fn is_pressed(&self) -> bool {
        let reader = lock(&self.shared);
        let ring = &reader.ring;
        reader.is_held && ring.position() - ring.released() > ring.size() / UNRELEASED / PRESSED
    }

    /// Gives back the space before `position`, as the state has those records.
    pub fn release(&mut self, position: u64) {
        lock(&self.shared).ring.release(position);
    }

    /// Counts of all records taken so far, by either thread.
    pub fn tally(&self) -> Tally {
        lock(&self.shared).tally
    }
}

impl Reader {
    /// A quarter of the ring is not released, which is when the kernel side calls a loop that does not sleep.
    fn is_filling(&self) -> bool {
        self.ring.produced().saturating_sub(self.ring.released()) >= self.ring.size() / 4
    }

    /// Takes some records out for the loop; returns whether there may be more, and room for them.
    fn hold(&mut self) -> bool {
        if self.held >= HELD {
            return false;
        }
        let mut taken = VecDeque::new();
        let count = self.take(&mut taken, AT_ONCE);
        self.held += taken.iter().map(|taken| taken.told.bytes()).sum::<usize>();
        self.waiting.append(&mut taken);
        count == AT_ONCE
    }

    fn reached(&self) -> Reached {
        Reached {
            position: self.ring.position(),
            received: self.tally.received,
        }
    }

    /// Moves up to `most` records from the ring into `into`; returns how many went.
    fn take(&mut self, into: &mut VecDeque<Taken>, most: usize) -> usize {
        let mut taken = 0;
        while taken < most
            && let Some(record) = self.ring.next()
        {
            self.tally.received += 1;
            taken += 1;
            let told = match self.records.read(record) {
                Ok(told) => told,
                Err(Undecodable) => {
                    self.tally.undecodable += 1;
                    None
                }
            };
            let reached = self.reached();
            into.extend(told.map(|told| Taken { told, reached }));
            let position = self.ring.position();
            if !self.is_held || position - self.ring.released() > self.ring.size() / UNRELEASED {
                self.ring.release(position);
            }
        }
        taken
    }
}

impl Taker {
    fn start(shared: &Arc<Mutex<Reader>>, ring: &OwnedFd) -> io::Result<Self> {
        let end = eventfd(0, EventfdFlags::CLOEXEC)?;
        let asked = eventfd(0, EventfdFlags::CLOEXEC)?;
        let wakers = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // By edges: a record alone makes the ring readable, and only the kernel side's call is to wake the thread.
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&wakers, ring, epoll::EventData::new_u64(RING), edges)?;
        epoll::add(
            &wakers,
            &end,
            epoll::EventData::new_u64(END),
            epoll::EventFlags::IN,
        )?;
        epoll::add(&wakers, &asked, epoll::EventData::new_u64(ASKED), edges)?;
        let shared = Arc::clone(shared);
        let pulse = Pulse::default();
        let answers = pulse.clone();
        let thread = thread::Builder::new()
            .name("kevmon-ring".to_owned())
            .spawn(move || keep_room(&shared, &wakers, &answers))?;
        Ok(Self {
            thread: Some(thread),
            end,
            asked,
            pulse,
        })
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        // An eventfd takes eight bytes, always.
        let told = rustix::io::write(&self.end, &1_u64.to_ne_bytes()).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| told) {
            let _ = thread.join(); // a panic of it has been told
        }
    }
}

/// Takes records out whenever a quarter of the ring is waiting, until it is told to end.
fn keep_room(shared: &Mutex<Reader>, wakers: &OwnedFd, pulse: &Pulse) {
    let _vital = Vital("kevmon-ring");
    let mut woken = Vec::with_capacity(3);
    loop {
        woken.clear();
        match epoll::wait(wakers, rustix::buffer::spare_capacity(&mut woken), None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => {
                warn!("the ring is read by the loop alone from now on: {error}");
                return;
            }
        }
        let is_woken_by = |by| woken.iter().any(|event| event.data.u64() == by);
        if is_woken_by(END) {
            return;
        }
        if is_woken_by(ASKED) {
            // By edges: the counter need not be read.
            pulse.answer();
        }
        if !is_woken_by(RING) {
            continue;
        }
        if !lock(shared).is_filling() {
            continue;
        }
        while lock(shared).hold() {
            // The lock is not fair by itself.
            thread::yield_now();
        }
    }
}

/// Whoever panics with it ends kevmon.
fn lock(shared: &Mutex<Reader>) -> std::sync::MutexGuard<'_, Reader> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{super::ring_memory::tests::Producer, *};

    const SIZE: u32 = 64 << 10;
    const BLIND: Blind = Blind {
        run_delay: false,
        io: false,
        page_size: 4096,
    };

    /// With its thread, which waits for a call that never comes: records are no records of kevmon's, and count all the same.
    fn read(ring: &mut Ring, producer: &mut Producer, bytes: u64) {
        const RECORD: [u8; 248] = [0xff; 248];
        for _ in 0..bytes / 256 {
            producer.write(&RECORD, 0);
            assert!(ring.next().is_none());
        }
    }

    fn released(ring: &Ring) -> u64 {
        lock(&ring.shared).ring.released()
    }

    #[test]
    fn what_is_held_for_the_state_is_bounded_and_calls_for_a_commit() {
        let size = u64::from(SIZE);
        let (mut producer, memory) = Producer::new(SIZE, 0);
        let mut ring = Ring::new(memory, BLIND, true).unwrap();
        read(&mut ring, &mut producer, size / 16);
        assert!(!ring.is_pressed());
        read(&mut ring, &mut producer, 256);
        assert!(ring.is_pressed(), "more than a sixteenth is held");
        let Reached { position, received } = ring.reached();
        assert_eq!((position, received), (size / 16 + 256, size / 16 / 256 + 1));
        ring.release(position);
        assert!(!ring.is_pressed(), "the state has it");
        // A storm does not wait for the state.
        read(&mut ring, &mut producer, size / 8);
        assert_eq!(released(&ring), position);
        read(&mut ring, &mut producer, 256);
        assert_eq!(released(&ring), ring.reached().position);
        assert_eq!(ring.tally().received, ring.come());
    }

    #[test]
    fn what_is_not_held_is_given_back_at_once() {
        let (mut producer, memory) = Producer::new(SIZE, 0);
        let mut ring = Ring::new(memory, BLIND, false).unwrap();
        read(&mut ring, &mut producer, 1024);
        assert_eq!(released(&ring), 1024);
        assert!(!ring.is_pressed());
    }
}
