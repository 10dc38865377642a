//! Events in the order of time, with what is known of their processes.
//!
//! An end is shown when its totals are final, some 10 to 200 ms late, and a process has its parent's name until it executes a
//! program. So events are held for a moment: long enough for an end to stand where it belongs, and for a start to have the name
//! of what was executed. What comes later than that (the end of a process that nobody reaps, a hand-over that shows itself when
//! the old process ends) is shown when it comes, with its own time.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use crate::{
    app::watch::{Happening, Observed},
    export::{Arguments, Happened, LiveEvent},
    plugin::{GroupId, Notice, Plugin, What, told_arguments},
    process::{BootTime, Facts, Identity, KeyMap, ProcessKey},
    procfs, users,
};

/// Events are held for so long. The tracker tells an end within 200 ms, and events are taken every 50 ms.
const HELD: Duration = Duration::from_millis(300);
/// What is known of a process is kept for so long after the kernel let go of it.
const KEPT: Duration = Duration::from_secs(5);
/// Processes that something is known of, at most: with more, all is learnt again. Not every process that is asked for is one whose
/// end is told.
const MOST_KNOWN: usize = 1 << 17;

/// Which arguments are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) enum ShownArguments {
    None,
    /// These alone, with their values.
    Named(Vec<String>),
    /// All of them.
    All,
}

/// What is known of a process.
#[derive(Debug, Clone, Default)]
struct Known {
    /// As records told it.
    name: Option<Arc<str>>,
    /// As /proc showed it last, of a process without a record of its own.
    found: Option<Arc<str>>,
    user: Option<u32>,
    cgroup: Option<Arc<str>>,
    /// The first program that it executed since its fork: when, and by group the name and the executable.
    first: Option<(BootTime, Vec<Named>)>,
    /// How many of its ancestors were shown; `None`: it has not been.
    depth: Option<usize>,
}

/// The name that a group lists a program under, and its executable's.
type Named = (GroupId, Arc<str>, Arc<str>);

/// Orders events that happened at the same time: a process starts before it executes, and ends last.
type Place = (BootTime, u8, u64);

/// The events that are held.
pub(in crate::app) struct Stream {
    root: PathBuf,
    arguments: ShownArguments,
    held: BTreeMap<Place, LiveEvent>,
    /// Starts among them.
    starts: KeyMap<Vec<Place>>,
    count: u64,
    known: KeyMap<Known>,
    /// Processes that are no more, and since when.
    gone: VecDeque<(BootTime, ProcessKey)>,
}

impl Stream {
    pub(in crate::app) fn new(root: PathBuf, arguments: ShownArguments) -> Self {
        Self {
            root,
            arguments,
            held: BTreeMap::new(),
            starts: KeyMap::default(),
            count: 0,
            known: KeyMap::default(),
            gone: VecDeque::new(),
        }
    }

    /// Takes what a record told. `plugin` finds a group's plugin.
    pub(in crate::app) fn observe(
        &mut self,
        observed: Observed,
        plugin: impl Fn(GroupId) -> Option<Arc<Plugin>>,
    ) {
        let Observed {
            time,
            key,
            parent,
            user,
            cgroup,
            groups,
            what,
        } = observed;
        let known = self.known.entry(key).or_default();
        known.user = user.or(known.user);
        known.cgroup = cgroup.or_else(|| known.cgroup.take());
        match what {
            Happening::Fork => {
                let name = parent.and_then(|parent| self.name_of(parent));
                if let Some(known) = self.known.get_mut(&key) {
                    (known.name, known.first) = (name, None);
                }
            }
            Happening::Exec { was, identity } => {
                known.name = Some(identity.name().into());
                let is_first = known.first.is_none();
                let first = known.first.get_or_insert_with(|| (time, Vec::new()));
                if is_first {
                    first.1 = groups
                        .iter()
                        .filter_map(|&group| {
                            let name = plugin(group)?.name_of(&identity).into();
                            Some((group, name, identity.exe.as_str().into()))
                        })
                        .collect();
                    self.name_starts(key);
                }
                let arguments = self.shown_arguments(&identity);
                for group in groups {
                    let Some(plugin) = plugin(group) else { continue };
                    let name: Arc<str> = plugin.name_of(&identity).into();
                    let exe: Arc<str> = identity.exe.as_str().into();
                    let was = was.as_deref().map(Arc::from);
                    let arguments = arguments.clone();
                    let what = Happened::Exec { was, arguments };
                    self.hold(event(group, time, key, parent, name, exe, what));
                }
            }
            Happening::Rename { was, comm } => {
                if was.as_deref() == Some(comm.as_str()) {
                    return;
                }
                known.name = Some(comm.as_str().into());
                for group in groups {
                    let was = was.as_deref().map(Arc::from);
                    let what = Happened::Rename { was };
                    let name = comm.as_str().into();
                    self.hold(event(group, time, key, parent, name, "".into(), what));
                }
            }
            Happening::Exit => {}
            Happening::Free => self.gone.push_back((time, key)),
        }
    }

    /// Takes a notice.
    pub(in crate::app) fn note(&mut self, notice: Notice) {
        let mut event = LiveEvent::of(notice);
        if matches!(event.what, Happened::Life(What::Start { .. })) {
            // Now, while the parent is there.
            event.parent_name = event.parent.and_then(|parent| self.name_of(parent));
            let key = event.key;
            name_start(&mut event, self.known.get(&key));
        }
        self.hold(event);
    }

    /// The events that have been held for long enough, or all that are left.
    pub(in crate::app) fn take(&mut self, now: BootTime, all: bool) -> Vec<LiveEvent> {
        let mut ripe = Vec::new();
        while let Some(entry) = self.held.first_entry() {
            let (time, ..) = *entry.key();
            if !all && now.since(time) < HELD {
                break;
            }
            let (place, mut event) = entry.remove_entry();
            if matches!(event.what, Happened::Life(What::Start { .. }))
                && let Some(starts) = self.starts.get_mut(&event.key)
            {
                starts.retain(|start| *start != place);
                if starts.is_empty() {
                    self.starts.remove(&event.key);
                }
            }
            self.complete(&mut event);
            ripe.push(event);
        }
        while let Some(&(time, key)) = self.gone.front()
            && now.since(time) > KEPT
        {
            self.gone.pop_front();
            self.known.remove(&key);
        }
        ripe
    }

    /// Notes that an event is shown, and says how deep its process stands in the tree of those that are.
    pub(super) fn depth_of(&mut self, event: &LiveEvent) -> usize {
        let above = event.parent.and_then(|parent| self.known.get(&parent)?.depth);
        let known = self.known.entry(event.key).or_default();
        let of_parent = above.map_or(0, |above| above + 1);
        *known.depth.get_or_insert(of_parent)
    }

    fn hold(&mut self, event: LiveEvent) {
        let rank = match &event.what {
            Happened::Life(What::Start { .. }) => 0,
            Happened::Exec { .. } => 1,
            Happened::Rename { .. } => 2,
            Happened::Life(What::Restart { .. }) => 3,
            Happened::Life(What::Exit { .. }) => 4,
        };
        self.count += 1;
        let place = (event.time, rank, self.count);
        if rank == 0 {
            self.starts.entry(event.key).or_default().push(place);
        }
        self.held.insert(place, event);
    }

    /// Starts that are still held have the name of what was executed first.
    fn name_starts(&mut self, key: ProcessKey) {
        for place in self.starts.get(&key).into_iter().flatten() {
            if let Some(start) = self.held.get_mut(place) {
                name_start(start, self.known.get(&key));
            }
        }
    }

    fn shown_arguments(&self, identity: &Identity) -> Option<Arguments> {
        match &self.arguments {
            ShownArguments::None => None,
            ShownArguments::Named(names) => Some(Arguments {
                shown: told_arguments(&identity.argv, names),
                is_cut: false,
            }),
            ShownArguments::All => Some(Arguments {
                shown: identity.argv.clone(),
                is_cut: identity.cut.is_some(),
            }),
        }
    }

    /// Adds what is known of its process.
    fn complete(&self, event: &mut LiveEvent) {
        let Some(known) = self.known.get(&event.key) else {
            return;
        };
        let uid = event.facts.uid.or(known.user);
        event.facts = Facts {
            uid,
            user: uid.and_then(users::name_of),
            cgroup: known.cgroup.clone(),
            pid_namespace: None,
        };
    }

    /// The name of a process, by its records or by /proc.
    fn name_of(&mut self, key: ProcessKey) -> Option<Arc<str>> {
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        let known = self.known.entry(key).or_default();
        if known.name.is_some() {
            return known.name.clone();
        }
        if let Ok(identity) = procfs::identity(&self.root, key) {
            known.found = Some(identity.name().into());
        }
        known.found.clone()
    }
}

/// Gives a start the name of what its process executed first, where that came after it.
fn name_start(start: &mut LiveEvent, known: Option<&Known>) {
    let Some((time, names)) = known.and_then(|known| known.first.as_ref()) else {
        return;
    };
    if *time < start.time {
        return;
    }
    if let Some((_, name, exe)) = names.iter().find(|(group, ..)| *group == start.group) {
        start.name = Arc::clone(name);
        start.exe = Arc::clone(exe);
    }
}

fn event(
    group: GroupId,
    time: BootTime,
    key: ProcessKey,
    parent: Option<ProcessKey>,
    name: Arc<str>,
    exe: Arc<str>,
    what: Happened,
) -> LiveEvent {
    LiveEvent {
        group,
        time,
        key,
        parent,
        parent_name: None,
        name,
        exe,
        facts: Facts::default(),
        depth: 0,
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plugin::tracker::tests::plugin,
        process::{Ending, Tgid, Usage},
    };

    const MS: u64 = 1_000_000;

    fn key(tgid: u32) -> ProcessKey {
        ProcessKey {
            tgid: Tgid(tgid),
            start: BootTime(u64::from(tgid)),
        }
    }

    fn stream(arguments: ShownArguments) -> Stream {
        Stream::new(PathBuf::from("/nonexistent"), arguments)
    }

    fn notice(millis: u64, tgid: u32, name: &str, what: What) -> Notice {
        Notice {
            group: GroupId(0),
            time: BootTime(millis * MS),
            key: key(tgid),
            parent: Some(key(1)),
            name: name.into(),
            exe: name.into(),
            user: Some(33),
            programs: Vec::new(),
            incident: None,
            what,
        }
    }

    fn exit() -> What {
        What::Exit {
            ending: Ending::UNKNOWN,
            lifetime: None,
            usage: Usage::UNKNOWN,
            peak_rss: None,
            settled: true,
            worker: false,
        }
    }

    fn observed(millis: u64, tgid: u32, what: Happening) -> Observed {
        Observed {
            time: BootTime(millis * MS),
            key: key(tgid),
            parent: Some(key(1)),
            user: Some(33),
            cgroup: Some("/system.slice/cron.service".into()),
            groups: vec![GroupId(0)],
            what,
        }
    }

    fn exec(was: &str, name: &str, argv: &[&str]) -> Happening {
        Happening::Exec {
            was: Some(was.to_owned()),
            identity: Box::new(Identity {
                exe: name.to_owned(),
                comm: name.to_owned(),
                argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
                ..Identity::default()
            }),
        }
    }

    fn told(stream: &mut Stream, millis: u64) -> Vec<(&'static str, String)> {
        let events = stream.take(BootTime(millis * MS), false);
        let told = events.iter().map(|event| (event.kind(), event.name.to_string()));
        told.collect()
    }

    fn any(_: GroupId) -> Option<Arc<Plugin>> {
        Some(Arc::new(plugin("x")))
    }

    #[test]
    fn events_are_in_order_and_a_start_has_the_name_of_what_was_executed() {
        let mut stream = stream(ShownArguments::None);
        stream.observe(observed(1, 1, exec("init", "cron", &[])), any);
        stream.observe(observed(100, 7, Happening::Fork), any);
        stream.note(notice(100, 7, "cron", What::Start { worker: false }));
        assert_eq!(told(&mut stream, 350), [("exec", "cron".to_owned())]);
        stream.note(notice(250, 7, "job.sh", exit()));
        stream.observe(observed(110, 7, exec("cron", "job.sh", &[])), any);
        let events = stream.take(BootTime(551 * MS), false);
        let kinds: Vec<_> = events.iter().map(|event| (event.kind(), &*event.name)).collect();
        assert_eq!(
            kinds,
            [("start", "job.sh"), ("exec", "job.sh"), ("exit", "job.sh")]
        );
        assert_eq!(events[0].parent_name.as_deref(), Some("cron"));
        assert_eq!(events[0].facts.unit(), Some("cron.service"));
        assert!(stream.held.is_empty() && stream.starts.is_empty());
    }

    #[test]
    fn a_start_has_the_first_name_of_a_chain() {
        for batches in [&[3][..], &[1, 1, 1], &[2, 1]] {
            let mut stream = stream(ShownArguments::None);
            let mut chain = vec![
                observed(100, 7, Happening::Fork),
                observed(101, 7, exec("sh", "first", &[])),
                observed(102, 7, exec("first", "second", &[])),
            ]
            .into_iter();
            for (batch, count) in batches.iter().enumerate() {
                (0..*count).for_each(|_| stream.observe(chain.next().unwrap(), any));
                if batch == 0 {
                    // As the tracker names it, which has seen as much.
                    let name = if *count == 3 { "second" } else { "first" };
                    stream.note(notice(100, 7, name, What::Start { worker: false }));
                }
            }
            let told = told(&mut stream, 500);
            let names: Vec<&str> = told.iter().map(|(_, name)| name.as_str()).collect();
            assert_eq!(names, ["first", "first", "second"], "{batches:?}");
        }
    }

    #[test]
    fn what_happens_at_one_time_starts_before_it_executes() {
        let mut stream = stream(ShownArguments::None);
        stream.observe(observed(10, 7, exec("sh", "app", &[])), any);
        stream.note(notice(10, 7, "app", exit()));
        stream.note(notice(10, 7, "app", What::Start { worker: false }));
        let kinds: Vec<_> = told(&mut stream, 400).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, ["start", "exec", "exit"]);
    }

    #[test]
    fn a_fork_goes_by_its_parents_name_and_a_rename_by_the_new_one() {
        let mut stream = stream(ShownArguments::None);
        let rename = |was: Option<&str>, comm: &str| Happening::Rename {
            was: was.map(str::to_owned),
            comm: comm.to_owned(),
        };
        stream.observe(observed(5, 1, exec("x", "app", &[])), any);
        stream.observe(observed(10, 7, Happening::Fork), any);
        stream.note(notice(10, 7, "app", What::Start { worker: true }));
        stream.observe(observed(20, 7, rename(Some("app"), "app: worker")), any);
        stream.observe(observed(30, 7, rename(Some("app: worker"), "app: worker")), any);
        let expected = [("exec", "app"), ("start", "app"), ("rename", "app: worker")];
        let expected = expected.map(|(kind, name)| (kind, name.to_owned()));
        assert_eq!(told(&mut stream, 400), expected, "the same name is no rename");
    }

    #[test]
    fn arguments_are_shown_as_far_as_they_are_asked_for() {
        let shown = |arguments| {
            let mut stream = stream(arguments);
            let argv = ["app", "--port", "80", "--password", "s3cret"];
            stream.observe(observed(10, 7, exec("sh", "app", &argv)), any);
            let events = stream.take(BootTime(0), true);
            match &events[0].what {
                Happened::Exec { arguments, .. } => {
                    arguments.as_ref().map(|arguments| arguments.shown.join(" "))
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(shown(ShownArguments::None), None);
        assert_eq!(
            shown(ShownArguments::Named(vec!["--port".to_owned()])).as_deref(),
            Some("--port 80")
        );
        assert_eq!(
            shown(ShownArguments::All).as_deref(),
            Some("app --port 80 --password s3cret")
        );
    }

    #[test]
    fn depth_counts_ancestors_that_are_shown() {
        let mut stream = stream(ShownArguments::None);
        let mut depth = |tgid, parent| {
            let mut event = LiveEvent::of(notice(1, tgid, "x", What::Start { worker: false }));
            event.parent = Some(key(parent));
            stream.depth_of(&event)
        };
        let depths = [
            depth(10, 1),
            depth(11, 10),
            depth(12, 11),
            depth(11, 10),
            depth(20, 2),
        ];
        assert_eq!(depths, [0, 1, 2, 1, 0]);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut stream = stream(ShownArguments::None);
        stream.observe(observed(10, 7, exec("sh", "app", &[])), any);
        stream.observe(observed(20, 7, Happening::Free), any);
        stream.take(BootTime(1_000 * MS), false);
        assert!(stream.known.contains_key(&key(7)));
        stream.take(BootTime(6_000 * MS), false);
        assert!(!stream.known.contains_key(&key(7)) && stream.gone.is_empty());
    }
}
