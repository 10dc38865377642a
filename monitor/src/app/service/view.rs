//! What `kevmon top` asks a running kevmon for: a look at all groups, and the events since the last one.
//!
//! The loop looks when it is asked, and hands over what it found without waiting for anybody. A look is good for all who ask within
//! half a second, or within twenty times what it took where that is longer: however many look, they take a twentieth of the loop's
//! time at most. Replies are rendered on the commands' thread, which forgets a look some seconds after the last one who wanted it. A
//! kevmon that nobody looks at keeps its latest events, and does nothing else for this.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use serde_json::Value as Json;
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc, oneshot},
    time::{sleep, timeout},
};

use super::status::Status;
use crate::{
    app::{
        output,
        top::{EventFrame, Frame, Has, Members},
        watch::Looked,
    },
    export::{LiveEvent, UnixClock, event_json},
    plugin::{GroupId, Notice, Plugin, What},
};

/// A look is taken again after this long at the earliest …
const FRESH: Duration = Duration::from_millis(500);
/// … and after so many times what it took.
const REST: u32 = 20;
/// A look of many processes takes some MB, and is forgotten after this long at the earliest.
const FORGOTTEN: Duration = Duration::from_secs(5);
/// The loop answers within milliseconds; a collection of very many processes may come before.
const LOOK_WITHIN: Duration = Duration::from_secs(4);
/// Events kept for those who look.
const KEPT: usize = 512;

/// What the loop has found.
pub(in crate::app) struct Found {
    pub(in crate::app) looked: Looked,
    /// Unix ns.
    pub(in crate::app) time: u64,
    /// For starts of processes, and for what happened.
    pub(in crate::app) clocks: (UnixClock, UnixClock),
    /// How long it took.
    pub(in crate::app) took: Duration,
}

/// What the loop is asked for, with the place for its answer.
pub(in crate::app) type Ask = oneshot::Sender<Found>;

/// The latest look, and when it was had.
type Latest = (Instant, Arc<Found>);

/// Replies to those who look.
#[derive(Clone)]
pub(in crate::app) struct Views {
    asks: mpsc::Sender<Ask>,
    latest: Arc<AsyncMutex<Option<Latest>>>,
    recent: Recent,
    /// [`FORGOTTEN`].
    keeps: Duration,
}

impl Views {
    /// The loop takes `asks` from the other end, and puts what happens into `recent`.
    pub(in crate::app) fn new(asks: mpsc::Sender<Ask>, recent: Recent) -> Self {
        Self {
            asks,
            latest: Arc::default(),
            recent,
            keeps: FORGOTTEN,
        }
    }

    /// The reply: processes of `members`, and the events after the number `since`. `None`: the loop does not answer in time.
    pub(in crate::app) async fn reply(
        &self,
        since: u64,
        members: &Members,
        status: &Status,
    ) -> Option<String> {
        let found = timeout(LOOK_WITHIN, self.found()).await.ok()??;
        let mut frame = Frame::of(&found.looked, status.run(), found.time, found.clocks, members);
        if !frame.fresh {
            let gauges = status.gauges();
            for group in &mut frame.groups {
                group.has = gauges.get(&group.label).copied().unwrap_or_default();
            }
        }
        (frame.events, frame.events_missed) = self.recent.since(since);
        serde_json::to_string(&frame).ok()
    }

    /// A look that is recent enough, or a new one. Whoever asks meanwhile waits for the same one.
    async fn found(&self) -> Option<Arc<Found>> {
        let mut latest = self.latest.lock().await;
        if let Some((at, found)) = &*latest
            && at.elapsed() < good_for(found)
        {
            return Some(Arc::clone(found));
        }
        let (answer, answered) = oneshot::channel();
        self.asks.send(answer).await.ok()?;
        let found = Arc::new(answered.await.ok()?);
        *latest = Some((Instant::now(), Arc::clone(&found)));
        tokio::spawn(forget(
            Arc::clone(&self.latest),
            Arc::downgrade(&found),
            self.keeps.max(good_for(&found)),
        ));
        Some(found)
    }
}

/// How long it answers those who ask.
fn good_for(found: &Found) -> Duration {
    FRESH.max(found.took * REST)
}

/// Lets go of this look after a time, unless another one has taken its place by then.
async fn forget(latest: Arc<AsyncMutex<Option<Latest>>>, old: Weak<Found>, after: Duration) {
    sleep(after).await;
    let mut latest = latest.lock().await;
    let is_old = |(_, found): &Latest| std::ptr::eq(Arc::as_ptr(found), old.as_ptr());
    if latest.as_ref().is_some_and(is_old) {
        *latest = None;
    }
}

/// The latest events, and the last end of each group. Shared between the loop, which adds, and the thread that replies.
#[derive(Debug, Clone, Default)]
pub(in crate::app) struct Recent(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// The number of the latest.
    last: u64,
    events: VecDeque<Event>,
    /// By label.
    ends: BTreeMap<String, Event>,
}

/// One event, as it is kept until somebody asks.
#[derive(Debug, Clone)]
struct Event {
    number: u64,
    plugin: Arc<Plugin>,
    notice: Arc<Notice>,
    clocks: (UnixClock, UnixClock),
}

impl Event {
    fn frame(&self) -> EventFrame {
        let event = LiveEvent::of(Notice::clone(&self.notice));
        let (boot, wall) = self.clocks;
        let json = event_json(&event, &self.plugin, boot, wall);
        EventFrame {
            number: self.number,
            group: self.plugin.label(),
            event: serde_json::from_str(&json).unwrap_or(Json::Null),
        }
    }
}

impl Recent {
    /// These have happened, in this order. `plugin` finds a group's.
    pub(in crate::app) fn add(
        &self,
        notices: &[Notice],
        plugin: impl Fn(GroupId) -> Option<Arc<Plugin>>,
        clocks: (UnixClock, UnixClock),
    ) {
        if notices.is_empty() {
            return;
        }
        let mut kept = self.kept();
        // Of very many only the last ones would stay; the others are counted as missed.
        let passed_over = notices.len().saturating_sub(KEPT);
        kept.last += passed_over as u64;
        for notice in &notices[passed_over..] {
            kept.last += 1;
            let Some(plugin) = plugin(notice.group) else {
                continue;
            };
            let event = Event {
                number: kept.last,
                plugin,
                notice: Arc::new(notice.clone()),
                clocks,
            };
            if matches!(notice.what, What::Exit { .. }) {
                kept.ends.insert(event.plugin.label(), event.clone());
            }
            if kept.events.len() == KEPT {
                kept.events.pop_front();
            }
            kept.events.push_back(event);
        }
    }

    /// These are the plugins that run: the ends of others are forgotten.
    pub(in crate::app) fn retain(&self, labels: &BTreeSet<String>) {
        self.kept().ends.retain(|label, _| labels.contains(label));
    }

    /// The events after the number `since`, oldest first, and how many more there were. For 0, which is nobody's number, the last
    /// end of each group is among them, and nothing counts as missed.
    fn since(&self, since: u64) -> (Vec<EventFrame>, u64) {
        let (events, missed) = {
            let kept = self.kept();
            let oldest = kept.events.front().map_or(kept.last + 1, |event| event.number);
            let events = kept.events.iter().filter(|event| event.number > since);
            let mut events: Vec<Event> = events.cloned().collect();
            if since == 0 {
                let ends = kept.ends.values().filter(|event| event.number < oldest);
                let mut ends: Vec<Event> = ends.cloned().collect();
                ends.sort_by_key(|event| event.number);
                events.splice(0..0, ends);
                (events, 0)
            } else {
                (events, (oldest - 1).saturating_sub(since))
            }
        };
        // Rendered outside of the lock: the loop does not wait for it.
        (events.iter().map(Event::frame).collect(), missed)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a group had at its last collection.
pub(super) fn gauges_of(reading: &crate::plugin::Reading) -> Has {
    Has {
        rss_bytes: reading.rss,
        open_file_descriptors: reading.fds,
        threads: reading.threads,
    }
}

/// Looks, for those who ask, and hands over what was found. Nobody is waited for, and for those who have gone nothing is done.
pub(in crate::app) fn answer(ask: Ask, look: impl FnOnce() -> Looked, clocks: (UnixClock, UnixClock)) {
    if ask.is_closed() {
        return;
    }
    let began = Instant::now();
    let looked = look();
    let found = Found {
        looked,
        time: output::unix_now(),
        clocks,
        took: began.elapsed(),
    };
    drop(ask.send(found));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plugin::tracker::tests::plugin,
        process::{BootTime, Ending, ProcessKey, Tgid, Usage},
    };

    fn notice(group: usize, pid: u32, is_end: bool) -> Notice {
        Notice {
            group: GroupId(group),
            time: BootTime(u64::from(pid)),
            key: ProcessKey {
                tgid: Tgid(pid),
                start: BootTime(1),
            },
            parent: None,
            name: "x".into(),
            exe: "x".into(),
            user: None,
            incident: None,
            programs: Vec::new(),
            what: if is_end {
                What::Exit {
                    ending: Ending::UNKNOWN,
                    lifetime: None,
                    usage: Usage::UNKNOWN,
                    peak_rss: None,
                    settled: true,
                    worker: false,
                }
            } else {
                What::Start { worker: false }
            },
        }
    }

    fn add(recent: &Recent, notices: &[Notice]) {
        let clock = UnixClock::new(0, BootTime(0));
        let of = |group: GroupId| Some(Arc::new(plugin(["web", "db"][group.0])));
        recent.add(notices, of, (clock, clock));
    }

    fn numbers(events: &[EventFrame]) -> Vec<u64> {
        events.iter().map(|event| event.number).collect()
    }

    fn looked() -> Looked {
        Looked {
            time: BootTime(1),
            source: "ebpf",
            lost: 0,
            is_fresh: true,
            groups: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_look_that_nobody_wants_any_more_is_forgotten() {
        let clock = UnixClock::new(0, BootTime(0));
        let (asks, mut asked) = mpsc::channel(1);
        let mut views = Views::new(asks, Recent::default());
        views.keeps = Duration::from_millis(700);
        let answers = tokio::spawn(async move {
            let mut count = 0;
            while let Some(ask) = asked.recv().await {
                answer(ask, looked, (clock, clock));
                count += 1;
            }
            count
        });
        assert!(views.found().await.is_some() && views.found().await.is_some());
        assert!(views.latest.lock().await.is_some());
        sleep(Duration::from_millis(100)).await;
        assert!(views.latest.lock().await.is_some(), "not at once");
        sleep(Duration::from_secs(2)).await;
        assert!(views.latest.lock().await.is_none());
        drop(views);
        assert_eq!(answers.await.ok(), Some(1), "one look for both");
    }

    #[tokio::test]
    async fn the_next_look_takes_the_place_of_the_one_before() {
        let clock = UnixClock::new(0, BootTime(0));
        let (asks, mut asked) = mpsc::channel(1);
        let views = Views::new(asks, Recent::default());
        tokio::spawn(async move {
            while let Some(ask) = asked.recv().await {
                answer(ask, looked, (clock, clock));
            }
        });
        let first = views.found().await.map(|found| Arc::downgrade(&found));
        sleep(FRESH + Duration::from_millis(100)).await;
        assert!(views.found().await.is_some());
        assert!(
            first.is_some_and(|first| first.upgrade().is_none()),
            "one is kept"
        );
    }

    #[test]
    fn nobody_looks_for_whoever_has_gone() {
        let clock = UnixClock::new(0, BootTime(0));
        let (ask, asked) = oneshot::channel();
        drop(asked);
        answer(ask, || panic!("it looks"), (clock, clock));
    }

    #[test]
    fn events_go_on_from_the_number_that_was_asked_for() {
        let recent = Recent::default();
        add(&recent, &[notice(0, 1, false), notice(0, 1, true)]);
        let (events, missed) = recent.since(1);
        assert_eq!((numbers(&events), missed), (vec![2], 0));
        assert_eq!(events[0].event["event"], "exit");
        assert_eq!(numbers(&recent.since(2).0), [] as [u64; 0]);
        assert_eq!(
            numbers(&recent.since(9).0),
            [] as [u64; 0],
            "of another run, perhaps"
        );
    }

    #[test]
    fn what_is_no_longer_kept_is_counted_and_the_last_end_of_each_group_stays() {
        let recent = Recent::default();
        add(&recent, &[notice(1, 5, true)]);
        let many: Vec<Notice> = (0..2_000).map(|pid| notice(0, pid, false)).collect();
        add(&recent, &many);
        let (events, missed) = recent.since(1);
        assert_eq!((events.len(), missed), (KEPT, 2_000 - KEPT as u64));
        let (events, missed) = recent.since(0);
        assert_eq!((events.len(), missed), (KEPT + 1, 0));
        assert_eq!((events[0].group.as_str(), events[0].number), ("db", 1));
        recent.retain(&BTreeSet::from(["web".to_owned()]));
        assert_eq!(recent.since(0).0.len(), KEPT);
    }
}
