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
    collections::BTreeMap,
    ffi::OsStr,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{
    Event, Fault, Group, Trigger,
    encode::{self, Encoder, Kind},
    is_id, names,
    read::{Gap, Recording, existing, read_of, take_file, triggers},
    values::Values,
};
use crate::files::{Folder, Missing};

const PREFIX: &str = "incident-";
const SUFFIX: &str = ".kfi";
/// The file in the making.
const NEW: &str = "incident.new";

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
    /// By time, Unix ns; true where records were lost since the step before.
    pub steps: BTreeMap<u64, (bool, Values)>,
    /// What happened, by time.
    pub events: Vec<Event>,
    /// What is missing.
    pub gaps: Vec<Gap>,
    /// It has all that it can get.
    pub is_whole: bool,
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
            let (found, fault) = from_file(&folder, &name);
            // What it calls itself is its name.
            let found = found.filter(|found| found.trigger.id == id);
            let is_none = found.is_none();
            listed.incidents.extend(found);
            listed.faults.extend(fault);
            if is_none && listed.faults.is_empty() {
                listed.faults.push(Fault::Foreign {
                    path: folder.path().join(&name).display().to_string(),
                });
            }
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
        let (found, fault) = from_file(&folder, &format!("{PREFIX}{id}{SUFFIX}"));
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

    /// Those that a run before this one did not finish, with their groups.
    ///
    /// # Errors
    /// The folder cannot be looked at.
    pub fn unfinished(&self) -> io::Result<Vec<(Group, Trigger)>> {
        let listed = self.list()?;
        let open = listed.incidents.into_iter().filter(|incident| !incident.is_whole);
        Ok(open.map(|incident| (incident.group, incident.trigger)).collect())
    }

    /// Writes what the ring and the file itself have of an incident. `is_whole`: no more will come.
    ///
    /// # Errors
    /// It cannot be written; what was there is as it was.
    pub fn freeze(&self, group: &Group, trigger: &Trigger, is_whole: bool) -> io::Result<()> {
        let (folder, _) = Folder::holding(&self.folder.join(NEW), Missing::Make(0o700))?;
        let name = format!("{PREFIX}{}{SUFFIX}", trigger.id);
        let (found, _) = from_file(&folder, &name);
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
        folder.rename(OsStr::new(NEW), OsStr::new(&name))
    }

    /// Removes incidents until one more of `bytes` keeps to the bounds. The one called `own` is about to be replaced.
    fn make_room(&self, folder: &Folder, bytes: u64, own: &str) -> io::Result<()> {
        let mut kept: Vec<(String, u64, String, u64)> = Vec::new();
        for (name, id) in names(folder.path(), PREFIX, SUFFIX)? {
            let stat = folder.look(OsStr::new(&name))?;
            let size = stat.map_or(0, |stat| stat.st_size.unsigned_abs());
            if name != own {
                // A file that cannot be read is nobody's, and the first to go.
                let (group, time) = match from_file(folder, &name).0 {
                    Some(incident) => (incident.group.key, incident.trigger.time),
                    None => (id, 0),
                };
                kept.push((name, size, group, time));
            }
        }
        kept.sort_by_key(|(_, _, _, time)| *time);
        while kept.len() >= MOST || kept.iter().map(|(_, size, ..)| size).sum::<u64>() + bytes > MOST_BYTES {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for (_, _, group, _) in &kept {
                *counts.entry(group).or_default() += 1;
            }
            let most = counts.values().copied().max().unwrap_or(0);
            let place = kept
                .iter()
                .position(|(_, _, group, _)| counts.get(group.as_str()) == Some(&most));
            let Some(place) = place else { break };
            let (name, ..) = kept.remove(place);
            folder.remove(OsStr::new(&name))?;
        }
        Ok(())
    }
}

/// What a file has of an incident; `None` where there is no file, or none that can be read.
fn from_file(folder: &Folder, name: &str) -> (Option<Incident>, Option<Fault>) {
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
    let mut incident = Incident::of(group, trigger);
    incident.add(recording);
    incident.is_whole = is_whole;
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
            is_whole: false,
        }
    }

    fn add(&mut self, recording: Recording) {
        for step in recording.steps {
            let values = step.groups.first().map(|(_, values)| (step.is_lossy, *values));
            self.steps.extend(values.map(|values| (step.time, values)));
        }
        for (_, event) in recording.events {
            if !self.events.contains(&event) {
                self.events.push(event);
            }
        }
        self.events.sort_by_key(|event| event.time);
        for gap in recording.gaps {
            if !self.gaps.contains(&gap) {
                self.gaps.push(gap);
            }
        }
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
        self.gaps.retain(|gap| gap.time != self.trigger.time);
        if left > 0 {
            self.gaps.push(Gap {
                time: self.trigger.time,
                steps: left as u64,
            });
            self.events.truncate(last);
            self.events.drain(..first);
        }
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
        for (time, (is_lossy, values)) in &self.steps {
            bytes.extend(encoder.step(*time, *is_lossy, &[(0, *values)]));
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
