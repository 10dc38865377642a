//! Incidents: what the ring holds of one group around a crash, in a file of its own.
//!
//! The ring has each step and each event first, and that an incident began ([`Trigger`]). So a file can be made at any time:
//! once when the incident begins, with the minute before, and once more when the minute after is over. It is written under another
//! name and renamed, so it is there whole or as it was. A kill in between costs nothing that the ring has: the next run, and whoever
//! reads the incident before, takes the rest from there ([`Incidents::read`], [`Incidents::unfinished`]).
//!
//! Bounds: [`MOST`] files and [`MOST_BYTES`] together, [`MOST_EVENTS`] events in each. Of the group that has most, the oldest makes
//! room, so that one that crashes all day leaves the others theirs.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsStr,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{
    Event, Fault, Flags, Group, Trigger,
    decode::{Decoder, Item},
    encode::{self, Encoder, Kind},
    is_id, names,
    read::{Gap, Opened, Recording, existing, read_of, take_file, triggers},
    values::Values,
};
use crate::files::{Folder, Missing};

const PREFIX: &str = "incident-";
const SUFFIX: &str = ".kfi";
/// The file in the making.
const NEW: &str = "incident.new";
/// Bytes of a file in which its header, group and trigger lie.
const HEAD: u64 = 8 << 10;

/// Incidents that are kept.
pub const MOST: usize = 50;
/// Bytes that they may take together.
pub const MOST_BYTES: u64 = 16 << 20;
/// Events of one: those before the trigger that are nearest to it, and as many after it.
pub const MOST_EVENTS: usize = 2_000;
/// Segments of the ring in which an incident can have begun that has no file yet.
const RECENT: usize = 3;

/// An incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// How it began, and what it covers.
    pub trigger: Trigger,
    /// Whose it is.
    pub group: Group,
    /// By time, Unix ns.
    pub steps: BTreeMap<u64, (Flags, Values)>,
    /// What happened, by time.
    pub events: Vec<Event>,
    /// What is missing.
    pub gaps: Vec<Gap>,
    /// Events that were left out for their number.
    pub left_out: u64,
    /// It has all that it can get.
    pub is_whole: bool,
    /// What is wrong with its file.
    pub damage: Option<Fault>,
}

/// The incidents in the recorder's folder.
#[derive(Debug)]
pub struct Incidents {
    folder: PathBuf,
}

/// All that can be read, the oldest first, and what cannot be.
#[derive(Debug, Default)]
pub struct Listed {
    /// With their steps.
    pub incidents: Vec<Incident>,
    /// What is wrong with others.
    pub faults: Vec<Fault>,
}

/// What earlier runs left.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// Incidents that are not whole, with their groups.
    pub open: Vec<(Group, Trigger)>,
    /// What is wrong with other files.
    pub faults: Vec<Fault>,
}

impl Incidents {
    /// Those in `folder`, which need not exist.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// All of them; also those that began a moment ago and have no file yet.
    ///
    /// # Errors
    /// The folder cannot be looked at.
    pub fn list(&self) -> io::Result<Listed> {
        let mut listed = Listed::default();
        let Some(folder) = existing(&self.folder)? else {
            return Ok(listed);
        };
        for (name, id) in names(folder.path(), PREFIX, SUFFIX)? {
            let (found, fault) = from_file(&folder, &name, &id);
            listed.incidents.extend(found);
            listed.faults.extend(fault);
        }
        for (group, trigger) in triggers(&self.folder, RECENT)? {
            if !listed
                .incidents
                .iter()
                .any(|known| known.trigger.id == trigger.id)
            {
                listed.incidents.push(Incident::of(group, trigger));
            }
        }
        for incident in &mut listed.incidents {
            if !incident.is_whole {
                incident.add_from_ring(&self.folder)?;
            }
        }
        listed.incidents.sort_by_key(|incident| incident.trigger.time);
        Ok(listed)
    }

    /// The one with this id; `None` where there is none.
    ///
    /// # Errors
    /// The folder cannot be looked at, or the incident's file cannot be read.
    pub fn read(&self, id: &str) -> io::Result<Option<Incident>> {
        let Some(folder) = existing(&self.folder)?.filter(|_| is_id(id)) else {
            return Ok(None);
        };
        let (found, fault) = from_file(&folder, &format!("{PREFIX}{id}{SUFFIX}"), id);
        let mut incident = match (found, fault) {
            (Some(incident), _) => incident,
            (None, Some(fault)) => return Err(io::Error::other(fault)),
            (None, None) => {
                let began = triggers(&self.folder, RECENT)?;
                let Some((group, trigger)) = began.into_iter().find(|(_, trigger)| trigger.id == id) else {
                    return Ok(None);
                };
                Incident::of(group, trigger)
            }
        };
        if !incident.is_whole {
            incident.add_from_ring(&self.folder)?;
        }
        Ok(Some(incident))
    }

    /// Those that a run before this one did not finish, with their groups, and what is wrong with others. A damaged one is as it is.
    ///
    /// # Errors
    /// The folder cannot be looked at.
    pub fn unfinished(&self) -> io::Result<Unfinished> {
        let mut unfinished = Unfinished::default();
        let Some(folder) = existing(&self.folder)? else {
            return Ok(unfinished);
        };
        let mut known = HashSet::new();
        for (name, id) in names(folder.path(), PREFIX, SUFFIX)? {
            match Head::read(&folder, &name, &id) {
                Ok(head) => {
                    let head = head.filter(|head| !head.is_whole);
                    unfinished
                        .open
                        .extend(head.map(|head| (head.group, head.trigger)));
                }
                Err(fault) => unfinished.faults.push(fault),
            }
            known.insert(id);
        }
        let began = triggers(&self.folder, RECENT)?;
        let began = began.into_iter();
        let began = began.filter(|(_, trigger)| !known.contains(&trigger.id));
        unfinished.open.extend(began);
        Ok(unfinished)
    }

    /// Writes what the ring and the file itself have of an incident. `is_whole`: no more will come.
    ///
    /// # Errors
    /// It cannot be written; what was there is as it was. What is damaged or not the recorder's is never written over.
    pub fn freeze(&self, group: &Group, trigger: &Trigger, is_whole: bool) -> io::Result<()> {
        let (folder, _) = Folder::holding(&self.folder.join(NEW), Missing::Make(0o700))?;
        let name = format!("{PREFIX}{}{SUFFIX}", trigger.id);
        let (found, fault) = from_file(&folder, &name, &trigger.id);
        if let Some(fault) = fault {
            return Err(io::Error::other(fault));
        }
        let mut incident = found.unwrap_or_else(|| Incident::of(group.clone(), trigger.clone()));
        if incident.is_whole {
            return Ok(());
        }
        incident.add_from_ring(&self.folder)?;
        incident.is_whole = is_whole;
        let bytes = incident.encoded();
        self.make_room(&folder, bytes.len() as u64, &name)?;
        folder.remove(OsStr::new(NEW))?;
        let mut file = folder.create(OsStr::new(NEW))?;
        let written = file.write_all(&bytes).and_then(|()| file.sync_data());
        if let Err(error) = written {
            let _: io::Result<bool> = folder.remove(OsStr::new(NEW));
            return Err(error);
        }
        folder.rename(OsStr::new(NEW), OsStr::new(&name))?;
        // The name is to outlive a power cut, too.
        folder.sync()
    }

    /// Removes incidents until one more of `bytes` keeps to the bounds. The one called `own` is about to be replaced. What is not
    /// the recorder's is not counted, and stays.
    fn make_room(&self, folder: &Folder, bytes: u64, own: &str) -> io::Result<()> {
        let mut kept: Vec<Kept> = Vec::new();
        for (name, id) in names(folder.path(), PREFIX, SUFFIX)? {
            if name == own {
                continue;
            }
            let (group, time) = match Head::read(folder, &name, &id) {
                Ok(Some(head)) => (Some(head.group.key), head.trigger.time),
                Ok(None) | Err(Fault::Damaged { .. } | Fault::Version { .. }) => (None, 0),
                Err(Fault::Foreign { .. } | Fault::Unreadable { .. }) => continue,
            };
            let stat = folder.look(OsStr::new(&name))?;
            let size = stat.map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
            kept.push(Kept {
                name,
                size,
                group,
                time,
            });
        }
        kept.sort_by_key(|kept| kept.time);
        let sum = |kept: &[Kept]| kept.iter().fold(bytes, |sum, kept| sum.saturating_add(kept.size));
        while kept.len() >= MOST || sum(&kept) > MOST_BYTES {
            let Some(place) = first_to_go(&kept) else { break };
            folder.remove(OsStr::new(&kept.remove(place).name))?;
        }
        Ok(())
    }
}

/// An incident's file, as its removal is decided.
struct Kept {
    name: String,
    size: u64,
    /// Key of its group; `None` where the file cannot be read.
    group: Option<String>,
    /// When it began, Unix ns.
    time: u64,
}

/// One that cannot be read, or else the oldest of the group that has most. `kept`: by time.
fn first_to_go(kept: &[Kept]) -> Option<usize> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for group in kept.iter().filter_map(|kept| kept.group.as_deref()) {
        *counts.entry(group).or_default() += 1;
    }
    let most = counts.values().max();
    let unreadable = kept.iter().position(|kept| kept.group.is_none());
    unreadable.or_else(|| {
        let count = |kept: &Kept| kept.group.as_deref().and_then(|group| counts.get(group));
        kept.iter().position(|kept| count(kept) == most)
    })
}

/// The beginning of an incident's file, and whether its end is there. What lies between is not read.
struct Head {
    group: Group,
    trigger: Trigger,
    is_whole: bool,
}

impl Head {
    /// `None` where there is no file, or one without a byte.
    fn read(folder: &Folder, name: &str, id: &str) -> Result<Option<Self>, Fault> {
        let Some(mut opened) = Opened::new(folder, name)? else {
            return Ok(None);
        };
        let end = encode::end();
        let mut last = vec![0; end.len()];
        let read = opened.read(HEAD).and_then(|()| {
            let length = opened.file.metadata()?.len();
            opened
                .file
                .seek(SeekFrom::Start(length.saturating_sub(end.len() as u64)))?;
            opened.file.read_exact(&mut last)?;
            Ok(length)
        });
        let Opened { path, bytes, .. } = opened;
        let left = match read {
            Ok(length) => length,
            Err(error) => {
                let error = error.to_string();
                return Err(Fault::Unreadable { path, error });
            }
        };
        let items = Decoder::new(&bytes).map(|(_, mut blocks)| (blocks.next(), blocks.next()));
        match items {
            Ok((Some(Item::Group(_, group)), Some(Item::Trigger(_, trigger)))) if trigger.id == id => {
                Ok(Some(Self {
                    group,
                    trigger,
                    is_whole: last == end,
                }))
            }
            Ok((Some(_), Some(_))) => Err(Fault::Foreign { path }),
            _ => Err(Fault::Damaged { path, at: 0, left }),
        }
    }
}

/// What a file has of the incident `id`; `None` where there is no file, or none that can be read.
fn from_file(folder: &Folder, name: &str, id: &str) -> (Option<Incident>, Option<Fault>) {
    let mut recording = Recording::default();
    let mut is_whole = false;
    let fault = take_file(folder, name, false, |items| {
        is_whole = recording.take(items, &(0..=u64::MAX), &|_| true);
    });
    let trigger = recording.triggers.pop();
    let Some((trigger, group)) =
        trigger.and_then(|(place, trigger)| Some((trigger, recording.groups.get(place).cloned()?)))
    else {
        return (None, fault);
    };
    if trigger.id != id {
        let path = folder.path().join(name).display().to_string();
        return (None, Some(Fault::Foreign { path }));
    }
    let mut incident = Incident::of(group, trigger);
    incident.add(recording);
    incident.is_whole = is_whole;
    incident.damage.clone_from(&fault);
    (Some(incident), fault)
}

impl Incident {
    fn of(group: Group, trigger: Trigger) -> Self {
        Self {
            trigger,
            group,
            steps: BTreeMap::new(),
            events: Vec::new(),
            gaps: Vec::new(),
            left_out: 0,
            is_whole: false,
            damage: None,
        }
    }

    fn add(&mut self, recording: Recording) {
        for step in recording.steps {
            let values = step.groups.first().map(|(_, values)| (step.flags, *values));
            self.steps.extend(values.map(|values| (step.time, values)));
        }
        let known: HashSet<Event> = self.events.iter().cloned().collect();
        let events = recording.events.into_iter().map(|(_, event)| event);
        self.events.extend(events.filter(|event| !known.contains(event)));
        self.events.sort_by_key(|event| event.time);
        self.gaps.extend(recording.gaps);
        self.gaps.sort_unstable();
        self.gaps.dedup();
        self.left_out = self.left_out.max(recording.left_out);
        self.bound_events();
    }

    /// Leaves out the events that are furthest from the trigger, and notes how many.
    fn bound_events(&mut self) {
        let half = MOST_EVENTS / 2;
        let before = self
            .events
            .partition_point(|event| event.time <= self.trigger.time);
        let (first, last) = (
            before.saturating_sub(half),
            (before + half).min(self.events.len()),
        );
        let left = first + self.events.len() - last;
        // The ring may have told of those that were left out before.
        self.left_out = self.left_out.max(left as u64);
        self.events.truncate(last);
        self.events.drain(..first);
    }

    fn add_from_ring(&mut self, folder: &Path) -> io::Result<()> {
        let range = self.trigger.from..=self.trigger.until;
        let key = self.group.key.clone();
        let recording = read_of(folder, &range, &|group| group.key == key)?;
        self.add(recording);
        Ok(())
    }

    fn encoded(&self) -> Vec<u8> {
        let created = self.trigger.from;
        let mut encoder = Encoder::new(created);
        let mut bytes = encode::header(Kind::Incident, created, 0);
        bytes.extend(encoder.group(0, &self.group));
        bytes.extend(encode::trigger(0, &self.trigger));
        for gap in &self.gaps {
            bytes.extend(encode::gap(gap.time, gap.steps));
        }
        if self.left_out > 0 {
            bytes.extend(encode::left_out(self.left_out));
        }
        for (time, (flags, values)) in &self.steps {
            bytes.extend(encoder.step(*time, *flags, &[(0, *values)]));
        }
        for event in &self.events {
            bytes.extend(encode::event(0, event));
        }
        if self.is_whole {
            bytes.extend(encode::end());
        }
        bytes
    }
}
