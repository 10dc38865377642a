//! Frames of what the flight recorder kept ([`crate::recorder`]), of the groups alone: it has no single processes.
//!
//! What is read once makes every frame, so a moment looks the same whichever way it was reached: each answer has the frames before
//! the moment, too, for the histories, and nothing of an earlier answer. Groups have steps of their own, and a frame is of one moment.
//! Sums between two steps are taken in proportion to the time; gauges and counts are those of the step before. A group is absent
//! where two of its steps are further apart than [`HOLE_STEPS`].

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};

use super::{
    frame::{EventFrame, Frame, GroupFrame, Has, Used},
    source::Answer,
};
use crate::{
    app::{Exit, incidents, local_time, output, state_path},
    cli::TopArgs,
    config::Environment,
    recorder::{self, Event, Field, Group, Incident, Incidents, Values, read::Recording},
    shown,
};

/// So much before and after the time that was asked for is read.
const AROUND: Duration = Duration::from_mins(5);
/// Between two frames of all groups at least, ns.
const LEAST_SPAN: u64 = 1_000_000_000;
/// Nothing is known between two steps that are further apart than this …
const HOLE_STEPS: u64 = 10;
/// … and than this, ns.
const HOLE: u64 = 10_000_000_000;
/// Frames of one answer.
const FRAMES: usize = 120;

/// One group's part.
struct Track {
    group: Group,
    /// By Unix ns.
    steps: BTreeMap<u64, Values>,
    /// The times of steps whose sums do not go on from those of the step before.
    begins: BTreeSet<u64>,
    /// By time.
    events: Vec<Event>,
}

/// A recording, and the moment that is shown.
pub(super) struct Replay {
    tracks: Vec<Track>,
    /// Unix ns, ascending; never empty.
    moments: Vec<u64>,
    place: usize,
    /// Lost steps, by when.
    gaps: Vec<(u64, u64)>,
    /// What could not be read.
    fault: Option<String>,
    /// Another one each time, so that no rate is taken from one answer to the next.
    run: u64,
    is_asked: bool,
}

impl Replay {
    /// Reads what the flags ask for; or what the command ends with, which has been said.
    ///
    /// # Errors
    /// The recorder's files cannot be read.
    pub(super) fn open(
        args: &TopArgs,
        environment: &Environment,
    ) -> Result<std::result::Result<Option<Self>, Exit>> {
        let is_wanted = args.at.is_some() || args.incident.is_some();
        let database = args.which.metadata_db_path.as_deref();
        let Some(state) = is_wanted.then(|| state_path(database, environment)) else {
            return Ok(Ok(None));
        };
        let Some(state) = state else {
            return Ok(Err(Exit::Usage));
        };
        let folder = recorder::folder(&state);
        let found = match (&args.incident, args.at) {
            (Some(id), _) => match incidents::find(&Incidents::new(&folder), id, &folder)? {
                Some(incident) => Self::of_incident(incident).ok_or_else(|| {
                    format!("incident {id} has no step: kevmon had just started, or the ring was too small")
                }),
                None => return Ok(Err(Exit::NothingFound)),
            },
            (None, at) => {
                let at = at.map_or(0, |at| at.unix(output::unix_now()));
                Self::around(&folder, at)?
            }
        };
        Ok(found.map(Some).map_err(|why| {
            shown::complain(why);
            Exit::NothingFound
        }))
    }

    /// What the ring in `folder` has around a time (Unix ns); why there is nothing.
    fn around(folder: &Path, at: u64) -> Result<std::result::Result<Self, String>> {
        let around = u64::try_from(AROUND.as_nanos()).unwrap_or(u64::MAX);
        let range = at.saturating_sub(around)..=at.saturating_add(around);
        let recording = recorder::read(folder, range).with_context(|| folder.display().to_string())?;
        if let Some(replay) = Self::of(recording, at) {
            return Ok(Ok(replay));
        }
        let all = recorder::read(folder, 0..=u64::MAX).with_context(|| folder.display().to_string())?;
        let times = || all.steps.iter().map(|step| step.time);
        let date = |unix| {
            let local_time::Local { text, zone } = local_time::date(unix);
            format!("{text} {zone}")
        };
        let mut why = match times().min().zip(times().max()) {
            Some((first, last)) => format!(
                "the flight recorder has nothing of {}; its steps are from {} to {}: choose a time in between at which kevmon ran \
                 ([recorder] max_age says how far back it reaches)",
                date(at),
                date(first),
                date(last)
            ),
            None => format!(
                "nothing is recorded in {}: kevmon records plugins in detailed mode, and the others with [recorder] standard = true \
                 in kevmon.toml; --metadata-db-path names another state",
                folder.display()
            ),
        };
        for fault in &all.faults {
            why += &format!("\n{fault}");
        }
        Ok(Err(why))
    }

    /// `None` where the recording knows no group at that time.
    fn of(recording: Recording, at: u64) -> Option<Self> {
        let groups = recording.groups.into_iter();
        let mut tracks: Vec<Track> = groups.map(Track::new).collect();
        for step in recording.steps {
            for (place, values) in step.groups {
                let track = tracks.get_mut(place)?;
                track.steps.insert(step.time, values);
                track.begins.extend(step.flags.begins.then_some(step.time));
            }
        }
        for (place, event) in recording.events {
            tracks.get_mut(place)?.events.push(event);
        }
        if !tracks.iter().any(|track| track.at(at).is_some()) {
            return None;
        }
        let faults: Vec<String> = recording.faults.iter().map(ToString::to_string).collect();
        let mut replay = Self::new(tracks, at, LEAST_SPAN)?;
        replay.gaps = recording.gaps.iter().map(|gap| (gap.time, gap.steps)).collect();
        replay.fault = (!faults.is_empty()).then(|| faults.join("; "));
        Some(replay)
    }

    /// `None` where it has no step.
    fn of_incident(incident: Incident) -> Option<Self> {
        let steps = incident.steps.iter();
        let begins = steps.filter(|(_, (flags, _))| flags.begins);
        let track = Track {
            group: incident.group,
            begins: begins.map(|(time, _)| *time).collect(),
            steps: incident
                .steps
                .into_iter()
                .map(|(time, (_, values))| (time, values))
                .collect(),
            events: incident.events,
        };
        let mut replay = Self::new(vec![track], incident.trigger.time, 0)?;
        replay.gaps = incident.gaps.iter().map(|gap| (gap.time, gap.steps)).collect();
        Some(replay)
    }

    /// At `at`, or the moment with values that is nearest to it.
    fn new(mut tracks: Vec<Track>, at: u64, least: u64) -> Option<Self> {
        for track in &mut tracks {
            track.events.sort_by_key(|event| event.time);
        }
        let first = tracks
            .iter()
            .filter_map(|track| track.steps.keys().next())
            .min()?;
        let last = tracks
            .iter()
            .filter_map(|track| track.steps.keys().last())
            .max()?;
        let (first, last) = (*first, *last);
        let at = at.clamp(first, last);
        let steps = tracks.iter().map(|track| track.group.step);
        let span = steps.max().unwrap_or(0).max(least).max(1_000_000);
        let before = (at - first) / span;
        let after = (last - at) / span;
        let moments = (0..=before + after).map(|count| at - before * span + count * span);
        Some(Self {
            tracks,
            moments: moments.collect(),
            place: usize::try_from(before).ok()?,
            gaps: Vec::new(),
            fault: None,
            run: 0,
            is_asked: true,
        })
    }

    /// Goes on by so many frames, or back; no further than there are.
    pub(super) fn step(&mut self, by: isize) {
        let place = self.place.saturating_add_signed(by).min(self.moments.len() - 1);
        self.is_asked |= place != self.place;
        self.place = place;
    }

    /// What is to be shown, once after each step.
    pub(super) async fn told(&mut self) -> Answer {
        if !std::mem::take(&mut self.is_asked) {
            return std::future::pending().await;
        }
        Answer::Recorded {
            frames: self.frames(),
            fault: self.fault.clone(),
        }
    }

    /// The frames up to the present moment.
    fn frames(&mut self) -> Vec<Frame> {
        self.run += 1;
        let first = (self.place + 1).saturating_sub(FRAMES);
        (first..=self.place)
            .map(|place| {
                let since = if place == first {
                    0
                } else {
                    self.moments[place - 1] + 1
                };
                self.frame(place, since)
            })
            .collect()
    }

    /// The frame of a moment, with the events since a time.
    fn frame(&self, place: usize, since: u64) -> Frame {
        let time = self.moments[place];
        let before = place.checked_sub(1).map_or(time, |before| self.moments[before]);
        let groups = self.tracks.iter().zip(0..);
        // A group whose sums have begun again has no frame, so that no rate goes from the earlier ones to these.
        let groups = groups.filter(|(track, _)| !track.begin_between(before, time));
        let groups = groups.filter_map(|(track, id)| track.frame(id, time));
        let mut events: Vec<EventFrame> = self
            .tracks
            .iter()
            .flat_map(|track| track.between(since, time))
            .collect();
        events.sort_by_key(|event| event.number);
        Frame {
            run: self.run,
            time,
            boot_time: time,
            source: format!("recording {}/{}", place + 1, self.moments.len()),
            lost: self
                .gaps
                .iter()
                .filter(|(at, _)| *at <= time)
                .map(|(_, lost)| lost)
                .sum(),
            fresh: true,
            groups: groups.collect(),
            events,
            ..Frame::default()
        }
    }
}

impl Track {
    fn new(group: Group) -> Self {
        Self {
            group,
            steps: BTreeMap::new(),
            begins: BTreeSet::new(),
            events: Vec::new(),
        }
    }

    /// Whether its sums begin again after a time and until another one.
    fn begin_between(&self, after: u64, until: u64) -> bool {
        let begins = self.begins.range(..=until).next_back();
        begins.is_some_and(|begins| *begins > after)
    }

    /// The steps before and after a time, which are one at the time of a step; `None`: nothing is known of it.
    fn at(&self, time: u64) -> Option<((u64, Values), (u64, Values))> {
        let of = |(time, values): (&u64, &Values)| (*time, *values);
        let before = self.steps.range(..=time).next_back().map(of)?;
        let after = self.steps.range(time..).next().map(of)?;
        if before.0 < after.0 && self.begins.contains(&after.0) {
            return None;
        }
        let hole = HOLE.max(self.group.step.saturating_mul(HOLE_STEPS));
        (after.0 - before.0 <= hole).then_some((before, after))
    }

    fn frame(&self, id: u64, time: u64) -> Option<GroupFrame> {
        let ((then, before), (next, after)) = self.at(time)?;
        let sum = |field: Field| {
            let (from, to) = (before.get(field)?, after.get(field)?);
            let grown = u128::from(to.checked_sub(from)?) * u128::from(time - then);
            let grown = grown.checked_div(u128::from(next - then)).unwrap_or(0);
            Some(from + u64::try_from(grown).ok()?)
        };
        // Counts are known wherever a step is.
        let count = |field: Field| before.get(field).unwrap_or_default();
        let ends = [
            Field::Succeeded,
            Field::Failed,
            Field::Signalled,
            Field::OomKilled,
            Field::Vanished,
        ];
        Some(GroupFrame {
            id,
            label: self.group.label.clone(),
            process_count: count(Field::Processes),
            used: Used {
                cpu_time_ns: sum(Field::Cpu),
                run_queue_wait_ns: sum(Field::RunDelay),
                switches: sum(Field::Voluntary)
                    .zip(sum(Field::Involuntary))
                    .map(|(voluntary, involuntary)| voluntary.saturating_add(involuntary)),
            },
            has: Has {
                rss_bytes: before.get(Field::Rss),
                open_file_descriptors: before.get(Field::Fds),
                threads: before.get(Field::Threads),
            },
            starts: count(Field::Starts),
            restarts: count(Field::Restarts),
            exits: ends.into_iter().map(count).sum(),
            ..GroupFrame::default()
        })
    }

    /// What happened from `since` to `until`, both included. An event's number is its time.
    fn between(&self, since: u64, until: u64) -> impl Iterator<Item = EventFrame> {
        let from = self.events.partition_point(|event| event.time < since);
        let to = self.events.partition_point(|event| event.time <= until).max(from);
        self.events[from..to].iter().map(|event| EventFrame {
            number: event.time,
            group: self.group.label.clone(),
            event: incidents::event_json(event).into(),
        })
    }
}

#[cfg(test)]
mod tests;
