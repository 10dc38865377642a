//! What `kevmon top` shows, and how keys change it. Pure: frames, keys and times come in; nothing is read and nothing written here.
//!
//! A frame replaces the rows. Rates are differences of two frames of one run, so the first frame of a run has none, and neither has
//! the first one after its source came back. A source that is away leaves its last rows, which the view says. While it is paused
//! nothing is asked for. A frame that was asked for before is held until the pause ends, because nobody tells its events again. The
//! next one tells the events since, and its rates are means over the time in between.

mod events;
mod filter;
mod history;
mod pause;
mod rates;
mod replay;
mod sort;
#[cfg(test)]
pub(super) mod tests;

use std::collections::{BTreeMap, BTreeSet};

use self::{events::Events, filter::Filter, rates::Baseline};
pub(super) use self::{
    events::LastEnd,
    history::{History, Lives},
    rates::{Percentiles, Values},
    sort::Sort,
};
use super::{
    frame::{Frame, Members},
    keys::Action,
};

/// A group of the last frame.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct GroupRow {
    id: u64,
    pub(super) label: String,
    pub(super) processes: u64,
    pub(super) values: Values,
    /// In detailed mode.
    pub(super) percentiles: Option<Percentiles>,
    pub(super) starts: u64,
    pub(super) restarts: u64,
    pub(super) exits: u64,
    pub(super) last_end: Option<LastEnd>,
    pub(super) crash_loop: bool,
    /// As far as they were asked for.
    pub(super) members: Vec<MemberRow>,
    pub(super) left_out: u64,
}

/// A process of the last frame.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct MemberRow {
    pub(super) pid: u32,
    /// Unix ns.
    start: u64,
    pub(super) name: String,
    pub(super) worker: bool,
    pub(super) values: Values,
}

/// A row as it is shown: places in [`State::groups`] and [`GroupRow::members`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    Group(usize),
    Process(usize, usize),
}

/// What a row is about, whatever its place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Selected {
    label: String,
    process: Option<(u32, u64)>,
}

/// How the source fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing has come yet.
    Waiting,
    Live,
    /// It does not answer since then (Unix ns), for this reason.
    Away {
        since: u64,
        why: String,
    },
}

/// What is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Keys are commands.
    Commands,
    /// Keys are the filter's letters.
    Filter,
    /// The help is shown, and the next key ends that.
    Help,
}

/// What the caller has to do after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Quit,
    /// Other processes are shown, or it goes on after a pause: the source is to be asked at once.
    Ask,
    Suspend,
    /// Another frame of the recording is wanted: so many further on, or back.
    Step(isize),
}

/// All of it.
pub(super) struct State {
    pub(super) groups: Vec<GroupRow>,
    /// What is shown of them, in its order.
    pub(super) rows: Vec<Row>,
    pub(super) histories: BTreeMap<String, History>,
    pub(super) events: Events,
    pub(super) condition: Condition,
    /// Time of the last frame, Unix ns.
    pub(super) time: u64,
    pub(super) source: String,
    pub(super) lost: u64,
    pub(super) is_fresh: bool,
    pub(super) groups_left_out: usize,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) filter: Filter,
    pub(super) mode: Mode,
    pub(super) is_paused: bool,
    /// It is a recording that is shown, of which this could not be read.
    pub(super) replay: Option<Option<String>>,
    /// What came during the pause.
    held: Option<Frame>,
    pub(super) shows_events: bool,
    /// The first row that is shown, and how many are.
    pub(super) offset: usize,
    height: usize,
    expanded: BTreeSet<String>,
    selected: Option<Selected>,
    /// Its place among the rows.
    place: usize,
    baseline: Baseline,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            groups: Vec::new(),
            rows: Vec::new(),
            histories: BTreeMap::new(),
            events: Events::default(),
            condition: Condition::Waiting,
            time: 0,
            source: String::new(),
            lost: 0,
            is_fresh: true,
            groups_left_out: 0,
            sort: Sort::Cpu,
            is_reversed: false,
            filter: Filter::default(),
            mode: Mode::Commands,
            is_paused: false,
            replay: None,
            held: None,
            shows_events: true,
            offset: 0,
            height: 1,
            expanded: BTreeSet::new(),
            selected: None,
            place: 0,
            baseline: Baseline::default(),
        }
    }

    /// The processes that the next frame is to have.
    pub(super) fn members(&self) -> Members {
        if self.filter.is_set() {
            return Members::All;
        }
        let expanded = self.groups.iter().filter(|group| self.is_expanded(&group.label));
        Members::Of(expanded.map(|group| group.id).collect())
    }

    pub(super) fn is_expanded(&self, label: &str) -> bool {
        self.expanded.contains(label)
    }

    /// The row that is selected.
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// The group that is selected, or that of the selected process.
    pub(super) fn selected_group(&self) -> Option<&GroupRow> {
        match self.rows.get(self.place)? {
            Row::Group(group) | Row::Process(group, _) => self.groups.get(*group),
        }
    }

    /// The source does not answer, at this time (Unix ns).
    pub(super) fn lose(&mut self, now: u64, why: String) {
        // It is asked again when the pause ends.
        if self.is_paused {
            return;
        }
        let since = match &self.condition {
            Condition::Away { since, .. } => *since,
            Condition::Waiting | Condition::Live => now,
        };
        self.condition = Condition::Away { since, why };
        for group in self.groups.iter().map(|group| &group.label) {
            self.histories.entry(group.clone()).or_default().push(None, None);
        }
    }

    /// Takes a frame; during a pause, holds it.
    pub(super) fn take(&mut self, mut frame: Frame) {
        if self.is_paused {
            self.hold(frame);
            return;
        }
        self.condition = Condition::Live;
        self.events.missed += frame.events_missed;
        for event in std::mem::take(&mut frame.events) {
            if let Some((group, second, lives)) = self.events.take(event) {
                self.histories.entry(group).or_default().happened(second, &lives);
            }
        }
        // A source may be asked more often than it looks; a frame with other processes is new all the same.
        let is_same = self.baseline.is_same(&frame);
        if is_same && !self.groups.is_empty() {
            self.add_members(frame);
        } else {
            self.replace(frame);
        }
        self.arrange();
    }

    /// The groups that have rows.
    pub(super) fn groups_shown(&self) -> impl Iterator<Item = &GroupRow> {
        self.rows.iter().filter_map(|row| match row {
            Row::Group(group) => self.groups.get(*group),
            Row::Process(..) => None,
        })
    }

    fn replace(&mut self, mut frame: Frame) {
        let baseline = self.baseline.after(&frame);
        (self.time, self.lost) = (frame.time, frame.lost);
        (self.is_fresh, self.groups_left_out) = (frame.fresh, frame.groups_left_out);
        self.source.clone_from(&frame.source);
        let mut groups = std::mem::take(&mut frame.groups);
        let mut rows = Vec::with_capacity(groups.len());
        for group in &mut groups {
            let (values, percentiles) = self.baseline.of_group(&frame, group);
            let history = self.histories.entry(group.label.clone()).or_default();
            history.push(values.cpus, values.rss);
            rows.push(GroupRow {
                id: group.id,
                processes: group.process_count,
                values,
                percentiles,
                starts: group.starts,
                restarts: group.restarts,
                exits: group.exits,
                last_end: self.events.last_end(&group.label, group.last_exit_time),
                crash_loop: group.crash_loop,
                members: member_rows(&self.baseline, &frame, std::mem::take(&mut group.processes)),
                left_out: group.processes_left_out,
                label: std::mem::take(&mut group.label),
            });
        }
        let labels: BTreeSet<&str> = rows.iter().map(|row| row.label.as_str()).collect();
        self.histories.retain(|label, _| labels.contains(label.as_str()));
        self.expanded.retain(|label| labels.contains(label.as_str()));
        self.groups = rows;
        self.baseline = baseline;
    }

    /// The frame that is known, with other processes: groups that have just been expanded get theirs, without rates yet.
    fn add_members(&mut self, mut frame: Frame) {
        let groups = std::mem::take(&mut frame.groups);
        for group in groups {
            let known = self.groups.iter_mut().find(|known| known.id == group.id);
            if let Some(known) = known.filter(|known| known.members.is_empty()) {
                known.members = member_rows(&self.baseline, &frame, group.processes);
                known.left_out = group.processes_left_out;
            }
        }
    }

    /// Puts the rows into their order, and the selection where its row is now.
    fn arrange(&mut self) {
        let (sort, is_reversed) = (self.sort, self.is_reversed);
        self.groups
            .sort_by(|one, other| sort.groups(is_reversed, one, other));
        self.rows.clear();
        for (at, group) in self.groups.iter().enumerate() {
            let is_let = self.filter.lets(&group.label);
            let mut shown: Vec<usize> = (0..group.members.len()).collect();
            if !is_let {
                let members = &group.members;
                shown.retain(|&at| self.filter.lets_process(&members[at].name, members[at].pid));
            }
            if !is_let && shown.is_empty() {
                continue;
            }
            self.rows.push(Row::Group(at));
            if self.expanded.contains(&group.label) || !is_let {
                let of = |at: usize| {
                    let member = &group.members[at];
                    (member.name.as_str(), &member.values, member.pid)
                };
                shown.sort_by(|&one, &other| sort.processes(is_reversed, of(one), of(other)));
                self.rows
                    .extend(shown.into_iter().map(|member| Row::Process(at, member)));
            }
        }
        let place = self
            .selected
            .as_ref()
            .and_then(|selected| self.rows.iter().position(|row| self.is_about(*row, selected)));
        self.place = place.unwrap_or(self.place).min(self.rows.len().saturating_sub(1));
        // Before anybody has chosen a row, the first one is selected, whichever that is.
        if place.is_none() && self.selected.is_some() {
            self.selected = self.about(self.place);
        }
        self.fit(self.height);
    }

    fn is_about(&self, row: Row, selected: &Selected) -> bool {
        match row {
            Row::Group(group) => selected.process.is_none() && self.groups[group].label == selected.label,
            Row::Process(group, member) => {
                let member = &self.groups[group].members[member];
                selected.process == Some((member.pid, member.start))
                    && self.groups[group].label == selected.label
            }
        }
    }

    fn about(&self, place: usize) -> Option<Selected> {
        let (group, process) = match self.rows.get(place)? {
            Row::Group(group) => (*group, None),
            Row::Process(group, member) => {
                let member = &self.groups[*group].members[*member];
                (*group, Some((member.pid, member.start)))
            }
        };
        Some(Selected {
            label: self.groups[group].label.clone(),
            process,
        })
    }

    /// `height` rows are shown: the selected one is among them.
    pub(super) fn fit(&mut self, height: usize) {
        self.height = height.max(1);
        let last = self.rows.len().saturating_sub(self.height);
        let least = (self.place + 1).saturating_sub(self.height);
        self.offset = self
            .offset
            .clamp(least, self.place.max(least))
            .min(last.max(least));
    }

    fn select(&mut self, place: usize) {
        self.place = place.min(self.rows.len().saturating_sub(1));
        self.selected = self.about(self.place);
        self.fit(self.height);
    }

    /// Does what a key asks for.
    pub(super) fn apply(&mut self, action: Action) -> Effect {
        let page = self.height;
        match action {
            Action::Quit => return Effect::Quit,
            Action::Suspend => return Effect::Suspend,
            Action::Up => self.select(self.place.saturating_sub(1)),
            Action::Down => self.select(self.place + 1),
            Action::PageUp => self.select(self.place.saturating_sub(page)),
            Action::PageDown => self.select(self.place + page),
            Action::First => self.select(0),
            Action::Last => self.select(usize::MAX),
            Action::Row(row) => {
                let place = self.offset + row;
                if row < self.height && place < self.rows.len() {
                    let was = self.place;
                    self.select(place);
                    if was == place {
                        return self.toggle();
                    }
                }
            }
            Action::Toggle => return self.toggle(),
            Action::Expand => return self.expand(true),
            Action::Collapse => return self.expand(false),
            Action::ToggleAll => return self.toggle_all(),
            Action::Sort { back } => {
                self.sort = self.sort.next(back);
                self.is_reversed = false;
                self.arrange();
            }
            Action::Reverse => {
                self.is_reversed = !self.is_reversed;
                self.arrange();
            }
            Action::Step(by) if self.replay.is_some() => return Effect::Step(by),
            Action::Pause if self.replay.is_some() => {}
            Action::Pause => return self.pause_or_go_on(),
            Action::Events => self.shows_events = !self.shows_events,
            Action::Help => self.mode = Mode::Help,
            Action::EndMode => self.mode = Mode::Commands,
            Action::BeginFilter => self.mode = Mode::Filter,
            Action::Letter(_) | Action::Delete | Action::ClearFilter => return self.edit(action),
            Action::Step(_) | Action::None => {}
        }
        Effect::None
    }

    fn edit(&mut self, action: Action) -> Effect {
        let was_set = self.filter.is_set();
        match action {
            Action::Letter(letter) => self.filter.push(letter),
            Action::Delete => self.filter.pop(),
            _ => {
                self.filter.clear();
                self.mode = Mode::Commands;
            }
        }
        self.arrange();
        if self.filter.is_set() && !was_set {
            Effect::Ask
        } else {
            Effect::None
        }
    }

    fn toggle(&mut self) -> Effect {
        let is_expanded = self
            .selected_group()
            .is_some_and(|group| self.is_expanded(&group.label));
        self.expand(!is_expanded)
    }

    /// Expands or collapses the selected group. From a process of it, the selection goes to the group.
    fn expand(&mut self, is_expanded: bool) -> Effect {
        let Some(label) = self.selected_group().map(|group| group.label.clone()) else {
            return Effect::None;
        };
        if is_expanded {
            self.expanded.insert(label);
            self.arrange();
            return Effect::Ask;
        }
        self.expanded.remove(&label);
        self.selected = Some(Selected { label, process: None });
        self.arrange();
        Effect::None
    }

    fn toggle_all(&mut self) -> Effect {
        let labels: BTreeSet<String> = self.groups.iter().map(|group| group.label.clone()).collect();
        let effect = if self.expanded == labels {
            self.expanded.clear();
            Effect::None
        } else {
            self.expanded = labels;
            Effect::Ask
        };
        self.arrange();
        effect
    }
}

fn member_rows(
    baseline: &Baseline,
    frame: &Frame,
    processes: Vec<super::frame::ProcessFrame>,
) -> Vec<MemberRow> {
    let row = |process: super::frame::ProcessFrame| MemberRow {
        pid: process.pid,
        start: process.start_time,
        worker: process.worker,
        values: baseline.of_process(frame, &process),
        name: process.name,
    };
    processes.into_iter().map(row).collect()
}
