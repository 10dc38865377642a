//! The ring: segments that are appended to, one after the other, and removed once the ring is full or they are too old.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use super::{
    Event, Fault, Flags, Group, Trigger,
    decode::{self, Decoder, Refused},
    encode::{self, Encoder, HEADER, Kind},
    names,
    values::Values,
};
use crate::{
    episode::Episode,
    files::{self, Accepts, Folder, Missing, Open},
    limits,
};

pub(super) const PREFIX: &str = "ring-";
pub(super) const SUFFIX: &str = ".kfr";

/// Segments that a full ring has, by bytes and by age.
const SEGMENTS_BY_BYTES: u64 = 16;
const SEGMENTS_BY_AGE: u32 = 12;
/// Bytes of a segment at least and at most: it is read as a whole.
const SEGMENT: std::ops::RangeInclusive<u64> = (64 << 10)..=(8 << 20);
/// Groups in a block, so that it stays shorter than the longest that a reader takes: each has 200 bytes at most.
const GROUPS: usize = 4096;
/// What could not be written is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// How much the ring holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of all segments together.
    pub bytes: u64,
    /// Age of the oldest step.
    pub age: Duration,
}

impl Bounds {
    fn segment_bytes(&self) -> u64 {
        (self.bytes / SEGMENTS_BY_BYTES).clamp(*SEGMENT.start(), *SEGMENT.end())
    }

    fn age_nanos(&self) -> u64 {
        u64::try_from(self.age.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A segment that is not written any more.
#[derive(Debug)]
struct Old {
    name: String,
    bytes: u64,
    /// Unix ns.
    created: u64,
}

/// The segment that is written.
#[derive(Debug)]
struct Segment {
    name: String,
    file: File,
    encoder: Encoder,
    bytes: u64,
    created: u64,
}

/// The ring, for its only writer.
#[derive(Debug)]
pub struct Ring {
    path: PathBuf,
    bounds: Bounds,
    groups: BTreeMap<usize, Group>,
    /// Groups that have had a step in this run.
    begun: BTreeSet<usize>,
    open: Option<Segment>,
    old: VecDeque<Old>,
    next: u64,
    /// The segments of earlier runs are in `old`.
    is_taken_in: bool,
    /// Steps and events since the last that was written.
    lost: u64,
    trouble: Episode,
    retry_at: Option<Instant>,
}

impl Ring {
    /// The ring in the folder `path`. A torn end of the newest segment is cut off; what is not the recorder's stays where it is. Each
    /// is said once.
    pub fn open(path: &Path, bounds: Bounds) -> Self {
        let mut ring = Self {
            path: path.to_owned(),
            bounds,
            groups: BTreeMap::new(),
            begun: BTreeSet::new(),
            open: None,
            old: VecDeque::new(),
            next: 1,
            is_taken_in: false,
            lost: 0,
            trouble: Episode::default(),
            retry_at: None,
        };
        if let Err(error) = ring.take_in() {
            ring.fails(&error);
        }
        ring
    }

    fn folder(&self) -> io::Result<Folder> {
        Ok(Folder::holding(&self.path.join("x"), Missing::Make(0o700))?.0)
    }

    /// Notes the segments of earlier runs, and says what is wrong with them. Before that worked once, nothing is written: their
    /// numbers and bytes are not known.
    fn take_in(&mut self) -> io::Result<()> {
        if self.is_taken_in {
            return Ok(());
        }
        let folder = self.folder()?;
        let found = names(folder.path(), PREFIX, SUFFIX)?;
        let newest = found.last().map(|(name, _)| name.clone());
        let mut faults = Vec::new();
        for (name, sequence) in found {
            let is_newest = newest.as_ref() == Some(&name);
            if let Ok(sequence) = sequence.parse::<u64>() {
                self.next = self.next.max(sequence.saturating_add(1));
            }
            match known(&folder, &name, is_newest) {
                Ok((old, fault)) => {
                    self.old.extend(old);
                    faults.extend(fault);
                }
                Err(error) => faults.push(Fault::Unreadable {
                    path: folder.path().join(&name).display().to_string(),
                    error: error.to_string(),
                }),
            }
        }
        faults.iter().for_each(|fault| warn!("flight recorder: {fault}"));
        self.is_taken_in = true;
        Ok(())
    }

    /// These groups are recorded from now on, each under its number.
    pub fn plan(&mut self, groups: impl IntoIterator<Item = (usize, Group)>) {
        let before = std::mem::replace(&mut self.groups, groups.into_iter().collect());
        self.begun
            .retain(|index| self.groups.get(index) == before.get(index));
        // A number may stand for another group now.
        self.close();
    }

    /// The group of this number.
    pub fn group(&self, index: usize) -> Option<&Group> {
        self.groups.get(&index)
    }

    /// So many steps were lost before they came here.
    pub fn note_lost(&mut self, steps: u64) {
        self.lost = self.lost.saturating_add(steps);
    }

    /// Appends the values of groups at `time`, Unix ns; those of groups that are not recorded any more are left out. `is_lossy`:
    /// records were lost since the step before.
    pub fn step(&mut self, time: u64, is_lossy: bool, groups: &[(usize, Values)]) {
        let known = groups.iter().copied();
        let known = known.filter(|(index, _)| self.groups.contains_key(index));
        let (on, first): (Vec<_>, Vec<_>) = known.partition(|(index, _)| self.begun.contains(index));
        for (begins, groups) in [(false, on), (true, first)] {
            for groups in groups.chunks(GROUPS) {
                let told = groups.iter().map(|(index, _)| *index);
                let flags = Flags { is_lossy, begins };
                if self.append(time, 1, told.clone(), |encoder| encoder.step(time, flags, groups)) {
                    self.begun.extend(told);
                }
            }
        }
    }

    /// Appends what happened to members of groups, each with the group's number, with one write. Events of groups that are not
    /// recorded any more are left out.
    pub fn events(&mut self, events: &[(usize, Event)]) {
        let known = events.iter();
        let known = known.filter(|(index, _)| self.groups.contains_key(index));
        let known: Vec<&(usize, Event)> = known.collect();
        let Some((_, first)) = known.first() else { return };
        let told = known.iter().map(|(index, _)| *index);
        self.append(first.time, known.len() as u64, told, |_| {
            let blocks = known.iter().map(|(index, event)| encode::event(*index, event));
            blocks.flatten().collect()
        });
    }

    /// Appends that an incident of the group `index` begins.
    pub fn trigger(&mut self, index: usize, trigger: &Trigger) {
        if self.groups.contains_key(&index) {
            let block = |_: &mut Encoder| encode::trigger(index, trigger);
            self.append(trigger.time, 1, std::iter::once(index), block);
        }
    }

    /// Appends a block, or some, of `count` steps and events of groups that are all recorded. True where that worked.
    fn append(
        &mut self,
        time: u64,
        count: u64,
        groups: impl Iterator<Item = usize>,
        block: impl FnOnce(&mut Encoder) -> Vec<u8>,
    ) -> bool {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            self.note_lost(count);
            return false;
        }
        match self.try_append(time, groups, block) {
            Ok(()) => {
                self.lost = 0;
                self.retry_at = None;
                if let Some(failures) = self.trouble.works(Instant::now()) {
                    info!(
                        "flight recorder {}: written again; it could not be {failures} times, and the steps of that time are \
                         missing",
                        self.path.display()
                    );
                }
                true
            }
            Err(error) => {
                self.fails(&error);
                self.note_lost(count);
                false
            }
        }
    }

    fn try_append(
        &mut self,
        time: u64,
        groups: impl Iterator<Item = usize>,
        block: impl FnOnce(&mut Encoder) -> Vec<u8>,
    ) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|open| self.is_full(open, time)) {
            self.close();
        }
        if self.open.is_none() {
            self.begin(time)?;
        }
        let Some(open) = &mut self.open else {
            return Err(io::ErrorKind::NotFound.into());
        };
        // All that the encoder makes is written, or the segment ends: later blocks build on earlier ones.
        let mut bytes = Vec::new();
        if self.lost > 0 {
            bytes.extend(encode::gap(time, self.lost));
        }
        for index in groups {
            if let Some(group) = self.groups.get(&index).filter(|_| !open.encoder.knows(index)) {
                bytes.extend(open.encoder.group(index, group));
            }
        }
        bytes.extend(block(&mut open.encoder));
        let written = open.file.write_all(&bytes);
        if written.is_ok() {
            open.bytes += bytes.len() as u64;
            return written;
        }
        // What could not be written whole is cut off. Differences go on from a step that is not there: no more is appended.
        let _: io::Result<()> = open.file.set_len(open.bytes);
        self.close();
        written
    }

    fn is_full(&self, open: &Segment, time: u64) -> bool {
        open.bytes >= self.bounds.segment_bytes()
            || time.saturating_sub(open.created) >= self.bounds.age_nanos() / u64::from(SEGMENTS_BY_AGE)
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.old.push_back(Old {
                name: open.name,
                bytes: open.bytes,
                created: open.created,
            });
        }
    }

    /// Begins a segment, once there is room for it.
    fn begin(&mut self, time: u64) -> io::Result<()> {
        self.take_in()?;
        let folder = self.folder()?;
        self.make_room(&folder, time)?;
        let sequence = self.next;
        self.next += 1;
        let name = format!("{PREFIX}{sequence:016}{SUFFIX}");
        let mut file = folder.create(OsStr::new(&name))?;
        let header = encode::header(Kind::Ring, time, sequence);
        if let Err(error) = file.write_all(&header) {
            let _: io::Result<bool> = folder.remove(OsStr::new(&name));
            return Err(error);
        }
        self.open = Some(Segment {
            name,
            file,
            encoder: Encoder::new(time),
            bytes: HEADER as u64,
            created: time,
        });
        Ok(())
    }

    /// Removes the oldest segments while they are too many for one more, or too old.
    fn make_room(&mut self, folder: &Folder, time: u64) -> io::Result<()> {
        let most = self.bounds.bytes.saturating_sub(self.bounds.segment_bytes());
        loop {
            let sizes = self.old.iter().map(|old| old.bytes);
            let bytes = sizes.fold(0, u64::saturating_add);
            // What follows it began when it ended.
            let ended = self.old.get(1).map_or(time, |next| next.created);
            let is_over = time.saturating_sub(ended) > self.bounds.age_nanos();
            let Some(oldest) = self.old.front().filter(|_| bytes > most || is_over) else {
                return Ok(());
            };
            folder.remove(OsStr::new(&oldest.name))?;
            self.old.pop_front();
        }
    }

    fn fails(&mut self, error: &io::Error) {
        let now = Instant::now();
        self.retry_at = Some(now + RETRY);
        if self.trouble.fails(now) {
            let remedy = match error.raw_os_error() {
                Some(libc::ENOSPC | libc::EDQUOT) => Some("make room there, or lower [recorder] max_bytes"),
                Some(libc::EROFS) => Some("its file system is mounted read-only"),
                _ => limits::remedy(error),
            };
            let remedy = remedy.map_or_else(String::new, |remedy| format!("; {remedy}"));
            error!(
                "flight recorder {}: {error}{remedy}; steps are lost until it can be written, everything else goes on",
                self.path.display()
            );
        }
    }
}

/// What an earlier run's segment is: something to be removed in time, and what is wrong with it.
fn known(folder: &Folder, name: &str, is_newest: bool) -> io::Result<(Option<Old>, Option<Fault>)> {
    let path = || folder.path().join(name).display().to_string();
    let mut file = match folder.open(OsStr::new(name), Open::to_write(), Accepts::File) {
        Err(error) if files::refusal(&error).is_none() => {
            // On a read-only disk nothing can be cut off.
            folder.open(OsStr::new(name), Open::to_read(), Accepts::File)?
        }
        file => file?,
    };
    let there = file.metadata()?;
    let modified = u64::try_from(there.mtime())
        .unwrap_or(0)
        .saturating_mul(1_000_000_000);
    let mut bytes = Vec::new();
    let wanted = if is_newest {
        *SEGMENT.end() * 2
    } else {
        HEADER as u64
    };
    Read::by_ref(&mut file).take(wanted).read_to_end(&mut bytes)?;
    let mut old = Old {
        name: name.to_owned(),
        bytes: there.size(),
        created: modified,
    };
    let fault = match decode::header(&bytes) {
        Ok(header) => {
            old.created = header.created;
            is_newest.then(|| cut(&mut old, &file, &bytes, path())).flatten()
        }
        Err(Refused::Foreign) if !bytes.is_empty() => {
            return Ok((None, Some(Fault::Foreign { path: path() })));
        }
        Err(Refused::Version(version)) => Some(Fault::Version {
            path: path(),
            version,
        }),
        // A run that was killed before the header was written leaves a file of no bytes.
        Err(Refused::Damaged | Refused::Foreign) => (!bytes.is_empty()).then(|| Fault::Damaged {
            path: path(),
            at: 0,
            left: there.size(),
        }),
    };
    Ok((Some(old), fault))
}

/// Cuts a torn end off.
fn cut(old: &mut Old, file: &File, bytes: &[u8], path: String) -> Option<Fault> {
    let (_, mut blocks) = Decoder::new(bytes).ok()?;
    blocks.by_ref().for_each(drop);
    let good = blocks.good() as u64;
    let left = old.bytes.saturating_sub(good);
    if left == 0 {
        return None;
    }
    if file.set_len(good).is_ok() {
        old.bytes = good;
    }
    Some(Fault::Damaged { path, at: good, left })
}
