//! Reading the ring: by commands, while the daemon writes, and by the daemon for incidents.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    ops::RangeInclusive,
    path::Path,
};

use super::{
    Event, Fault, Flags, Group, Trigger,
    decode::{self, Decoder, Item, Refused},
    encode::HEADER,
    names,
    ring::{PREFIX, SUFFIX},
    values::Values,
};
use crate::files::{Accepts, Folder, Missing, Open};

/// Bytes of a file that are read at most. Segments and incidents are shorter.
pub(super) const LONGEST_FILE: u64 = 32 << 20;
/// Fewer distances than this tell nothing of what is usual.
const TELLING: usize = 4;

/// The values of some groups at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Unix ns.
    pub time: u64,
    /// What is to be known of its values.
    pub flags: Flags,
    /// By the group's place in [`Recording::groups`].
    pub groups: Vec<(usize, Values)>,
}

/// Steps or events that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// Before when, Unix ns.
    pub time: u64,
    /// How many.
    pub steps: u64,
}

/// What was recorded in a range of time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recording {
    /// The groups, each once.
    pub groups: Vec<Group>,
    /// In the order in which they were written.
    pub steps: Vec<Step>,
    /// What happened, by the group's place in `groups`, in the order in which it was told.
    pub events: Vec<(usize, Event)>,
    /// What was lost.
    pub gaps: Vec<Gap>,
    /// Incidents that began, by the group's place in `groups`.
    pub triggers: Vec<(usize, Trigger)>,
    /// Events that were left out of an incident for their number.
    pub left_out: u64,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

impl Recording {
    /// The place of a group, which is added where it is new.
    pub(super) fn place(&mut self, group: Group) -> usize {
        match self.groups.iter().position(|known| known.key == group.key) {
            Some(place) => {
                self.groups[place] = group;
                place
            }
            None => {
                self.groups.push(group);
                self.groups.len() - 1
            }
        }
    }

    /// Takes what `items` say of `range`. Returns whether they end with [`Item::End`].
    pub(super) fn take(
        &mut self,
        items: impl Iterator<Item = Item>,
        range: &RangeInclusive<u64>,
        wanted: &dyn Fn(&Group) -> bool,
    ) -> bool {
        let mut places: Vec<(usize, usize)> = Vec::new();
        let mut is_whole = false;
        let find = |places: &[(usize, usize)], index| {
            let known = places.iter().find(|(known, _)| *known == index);
            known.map(|(_, place)| *place)
        };
        for item in items {
            match item {
                Item::Group(index, group) => {
                    places.retain(|(known, _)| *known != index);
                    if wanted(&group) {
                        places.push((index, self.place(group)));
                    }
                }
                Item::Step { time, flags, groups } if range.contains(&time) => {
                    let groups = groups.into_iter();
                    let groups = groups.filter_map(|(index, values)| Some((find(&places, index)?, values)));
                    let groups: Vec<_> = groups.collect();
                    if !groups.is_empty() {
                        self.steps.push(Step { time, flags, groups });
                    }
                }
                Item::Event(index, event) if range.contains(&event.time) => {
                    self.events
                        .extend(find(&places, index).map(|place| (place, event)));
                }
                Item::Gap { time, steps } if range.contains(&time) => self.gaps.push(Gap { time, steps }),
                Item::Trigger(index, trigger) if range.contains(&trigger.time) => {
                    self.triggers
                        .extend(find(&places, index).map(|place| (place, trigger)));
                }
                Item::End => is_whole = true,
                Item::LeftOut(events) => self.left_out = self.left_out.max(events),
                Item::Step { .. } | Item::Event(..) | Item::Gap { .. } | Item::Trigger(..) => {}
            }
        }
        is_whole
    }
}

/// What the ring in the folder `path` holds of `range` (Unix ns, both ends included); empty where there is no ring. The daemon
/// may write meanwhile.
///
/// # Errors
/// The folder cannot be looked at: what the system said, or a [`crate::files::Refusal`].
pub fn read(path: &Path, range: RangeInclusive<u64>) -> io::Result<Recording> {
    read_of(path, &range, &|_| true)
}

/// The same of the groups that are `wanted`.
///
/// # Errors
/// As [`read`].
pub(super) fn read_of(
    path: &Path,
    range: &RangeInclusive<u64>,
    wanted: &dyn Fn(&Group) -> bool,
) -> io::Result<Recording> {
    let mut recording = Recording::default();
    let Some(folder) = existing(path)? else {
        return Ok(recording);
    };
    let found = names(folder.path(), PREFIX, SUFFIX)?;
    let created: Vec<Option<u64>> = found.iter().map(|(name, _)| created(&folder, name)).collect();
    for (place, (name, _)) in found.iter().enumerate() {
        // One that the next one followed before the range began. Where the clock was set back, nothing is left out.
        let (own, next) = (created[place], created.get(place + 1).copied().flatten());
        let is_before = own
            .zip(next)
            .is_some_and(|(own, next)| own <= next && next < *range.start());
        let is_after = own.is_some_and(|own| own > *range.end());
        if !is_before && !is_after {
            let is_newest = place + 1 == found.len();
            let fault = take_file(&folder, name, is_newest, |items| {
                recording.take(items, range, wanted);
            });
            recording.faults.extend(fault);
        }
    }
    Ok(recording)
}

/// The incidents that began in the newest `segments` of the ring, with their groups.
///
/// # Errors
/// As [`read`].
pub fn triggers(path: &Path, segments: usize) -> io::Result<Vec<(Group, Trigger)>> {
    let Some(folder) = existing(path)? else {
        return Ok(Vec::new());
    };
    let mut recording = Recording::default();
    for (name, _) in names(folder.path(), PREFIX, SUFFIX)?.iter().rev().take(segments) {
        take_file(&folder, name, false, |items| {
            recording.take(
                items.filter(|item| !matches!(item, Item::Step { .. } | Item::Event(..))),
                &(0..=u64::MAX),
                &|_| true,
            );
        });
    }
    let Recording { groups, triggers, .. } = recording;
    let group = |place: usize| groups.get(place).cloned();
    Ok(triggers
        .into_iter()
        .filter_map(|(place, trigger)| Some((group(place)?, trigger)))
        .collect())
}

/// The folder; `None` where there is none.
pub(super) fn existing(path: &Path) -> io::Result<Option<Folder>> {
    match Folder::holding(&path.join("x"), Missing::Fail) {
        Ok((folder, _)) => Ok(Some(folder)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn created(folder: &Folder, name: &str) -> Option<u64> {
    let file = folder
        .open(OsStr::new(name), Open::to_read(), Accepts::File)
        .ok()?;
    let mut bytes = Vec::new();
    file.take(HEADER as u64).read_to_end(&mut bytes).ok()?;
    decode::header(&bytes).ok().map(|header| header.created)
}

/// A file of the recorder whose header was believed.
pub(super) struct Opened {
    /// Where it lies, for messages.
    pub(super) path: String,
    pub(super) file: File,
    /// The header.
    pub(super) bytes: Vec<u8>,
}

impl Opened {
    /// `None` where there is no file, or one without a byte: made a moment ago, or by a run that was killed before it wrote
    /// the header.
    pub(super) fn new(folder: &Folder, name: &str) -> Result<Option<Self>, Fault> {
        let path = folder.path().join(name).display().to_string();
        let mut bytes = Vec::new();
        let read = folder
            .open(OsStr::new(name), Open::to_read(), Accepts::File)
            .and_then(|mut file| {
                file.by_ref().take(HEADER as u64).read_to_end(&mut bytes)?;
                Ok((file.metadata()?.len(), file))
            });
        let (left, file) = match read {
            Ok(read) => read,
            // The ring has gone on meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let error = error.to_string();
                return Err(Fault::Unreadable { path, error });
            }
        };
        match decode::header(&bytes) {
            Ok(_) => Ok(Some(Self { path, file, bytes })),
            Err(_) if bytes.is_empty() => Ok(None),
            Err(Refused::Foreign) => Err(Fault::Foreign { path }),
            Err(Refused::Version(version)) => Err(Fault::Version { path, version }),
            Err(Refused::Damaged) => Err(Fault::Damaged { path, at: 0, left }),
        }
    }

    /// Reads on, up to so many bytes of the file.
    pub(super) fn read(&mut self, most: u64) -> io::Result<()> {
        let rest = most.saturating_sub(self.bytes.len() as u64);
        self.file
            .by_ref()
            .take(rest)
            .read_to_end(&mut self.bytes)
            .map(drop)
    }
}

/// Has `of` take the blocks of a file. Returns what keeps it, or its end, from being read. `is_written`: the daemon may be about
/// to append to it, so that a last block that is not all there is none yet.
pub(super) fn take_file(
    folder: &Folder,
    name: &str,
    is_written: bool,
    of: impl FnOnce(&mut dyn Iterator<Item = Item>),
) -> Option<Fault> {
    let mut opened = match Opened::new(folder, name) {
        Ok(opened) => opened?,
        Err(fault) => {
            return Some(fault).filter(|fault| !(is_written && matches!(fault, Fault::Damaged { .. })));
        }
    };
    let read = opened
        .read(LONGEST_FILE)
        .and_then(|()| Ok(opened.file.metadata()?.len()));
    let Opened { path, bytes, .. } = opened;
    let read = read.map_err(|error| error.to_string());
    let (size, mut blocks) = match (read, Decoder::new(&bytes)) {
        (Ok(size), Ok((_, blocks))) => (size, blocks),
        (Err(error), _) => return Some(Fault::Unreadable { path, error }),
        (Ok(_), Err(_)) => return Some(Fault::Foreign { path }),
    };
    of(&mut blocks);
    let at = blocks.good() as u64;
    // What was appended since is none of it.
    let is_all = (bytes.len() as u64) < LONGEST_FILE;
    let end = if is_all { bytes.len() as u64 } else { size };
    let is_whole = end <= at || (is_written && is_all && blocks.is_cut());
    (!is_whole).then(|| Fault::Damaged {
        path,
        at,
        left: end - at,
    })
}

/// Time between steps that were made at `times`, ns: that which was asked for, or the usual one (the median) where steps are further
/// apart, as they are where reading takes long.
pub fn spacing(asked: u64, times: impl Iterator<Item = u64> + Clone) -> u64 {
    let pairs = times.clone().zip(times.skip(1));
    let mut apart: Vec<u64> = pairs.map(|(one, next)| next.saturating_sub(one)).collect();
    if apart.len() < TELLING {
        return asked;
    }
    let middle = apart.len() / 2;
    let (_, median, _) = apart.select_nth_unstable(middle);
    asked.max(*median)
}
