//! Delivers encoded requests to the receivers, beside the ticks: a lane for each receiver and signal, each with its own
//! queue, so that none delays another.

mod back_off;
mod backlog;
mod lane;
mod outbox;
mod parts;
mod queue;
mod report;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};
use tracing::warn;

pub(super) use lane::Attempt;

use self::{
    backlog::{Backlog, NoRoom},
    lane::Lane,
    outbox::Outbox,
    queue::{Counts, Queue},
};
use super::output;
use crate::{
    export::UnixClock,
    export::transport::{Connection, EncodedRequest, Signal, Transport, below},
    metrics::ExportReading,
    procfs::HostReader,
    store::spool::{Dropped, LastRun, Limits, Why},
};

/// Bytes held in memory of all lanes together, where there is no spool.
const MEMORY: usize = 8 << 20;
/// At the end, a sender that waits for the disk of the spool is waited for so long.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Requests are looked at for their age this often.
const EXPIRE: Duration = Duration::from_secs(10);

/// What a lane leads to.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    /// The receiver's name.
    pub(super) receiver: String,
    /// What goes there.
    pub(super) signal: Signal,
    /// How.
    pub(super) connection: Connection,
    /// Largest request that it is sent, bytes, uncompressed.
    pub(super) max_request: usize,
}

/// Where what waits is kept.
#[derive(Debug, Clone)]
pub(super) struct SpoolPlace {
    /// The file; `None`: memory alone.
    pub(super) path: Option<PathBuf>,
    /// Its bounds.
    pub(super) limits: Limits,
}

/// Requests that no receiver has taken at the end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Left {
    /// Those that the next run sends, …
    pub(super) kept: u64,
    /// … where they lie …
    pub(super) place: String,
    /// … and those that were in memory alone.
    pub(super) lost: u64,
}

/// Told of every attempt to send.
pub(super) type Observer = Box<dyn Fn(Attempt) + Send + Sync>;

/// The lanes and their senders.
pub(super) struct Delivery {
    shared: Arc<Shared>,
    outbox: Option<Outbox>,
    /// What was read last, for when a sender is at work on the state.
    read: Mutex<Readings>,
    last_run: Option<LastRun>,
}

/// Hands requests over, from whatever thread.
#[derive(Clone)]
pub(super) struct Courier {
    shared: Arc<Shared>,
    /// `None`: they are taken at once, and whoever hands them over waits for the disk.
    outbox: Option<Outbox>,
}

pub(in crate::app) struct Shared {
    /// In the order of the queues; they only grow.
    lanes: RwLock<Vec<LaneName>>,
    state: Mutex<State>,
    /// The senders.
    tasks: Mutex<Vec<JoinHandle<()>>>,
    ending: watch::Sender<bool>,
    observer: Observer,
    /// The spool was last looked through for what is too old, Unix ns.
    expired: AtomicU64,
}

/// How a lane is found and woken.
struct LaneName {
    receiver: String,
    signal: Signal,
    max_request: usize,
    wake: Arc<Notify>,
    /// Wakes a lane that is closed.
    ask: Arc<Notify>,
}

struct State {
    /// Tells the age of requests: the wall clock as it was at the start, and CLOCK_BOOTTIME since. A clock that is set meanwhile
    /// makes nothing older.
    clock: UnixClock,
    queues: Vec<Queue>,
    backlog: Backlog,
    /// The collection that is handed over, or was last, Unix ns.
    collection: Option<u64>,
    /// All of it has been handed over, and it is not known yet that it is settled.
    is_open: bool,
}

impl Delivery {
    /// Opens the spool and starts a sender for each of `destinations`. Connects to nothing until something is sent.
    /// Needs a tokio runtime.
    pub(super) fn start(destinations: Vec<Destination>, spool: &SpoolPlace, observer: Observer) -> Self {
        let clock = output::clock();
        let now = clock.unix(HostReader::now());
        let mut backlog = Backlog::open(spool.path.as_deref(), spool.limits, now);
        let last_run = backlog.last_run();
        let known: HashSet<String> = destinations.iter().map(Destination::name).collect();
        for lane in backlog.lanes().iter().filter(|lane| !known.contains(*lane)) {
            warn!(
                "the spool holds requests for {lane}, which no configuration names any more: they wait for it until \
                 they are too old"
            );
        }
        let shared = Arc::new(Shared {
            lanes: RwLock::default(),
            state: Mutex::new(State {
                clock,
                queues: Vec::new(),
                backlog,
                collection: None,
                is_open: false,
            }),
            tasks: Mutex::default(),
            ending: watch::Sender::new(false),
            observer,
            expired: AtomicU64::new(now),
        });
        let mut delivery = Self {
            shared,
            outbox: None,
            read: Mutex::default(),
            last_run,
        };
        delivery.add(destinations);
        delivery
    }

    /// Starts senders for those of `destinations` that have none. Needs a tokio runtime.
    pub(super) fn add(&mut self, destinations: Vec<Destination>) {
        for of in destinations {
            if self.shared.lane(&of.receiver, of.signal).is_some() {
                continue;
            }
            let index = {
                let mut lanes = self.shared.lanes.write().unwrap_or_else(PoisonError::into_inner);
                lanes.push(LaneName {
                    receiver: of.receiver.clone(),
                    signal: of.signal,
                    max_request: of.max_request,
                    wake: Arc::default(),
                    ask: Arc::default(),
                });
                lanes.len() - 1
            };
            match &self.outbox {
                Some(outbox) => outbox.begin(index, of),
                None => begin(&self.shared, index, of),
            }
        }
    }

    /// Asks receivers that took no logs or no traces once more.
    pub(super) fn ask_again(&self) {
        self.shared
            .lanes()
            .iter()
            .for_each(|lane| lane.ask.notify_waiters());
    }

    /// From now on, what is handed over is taken on the runtime that this is called in, and nobody waits for it.
    pub(super) fn take_beside(&mut self) {
        self.outbox = Some(Outbox::start(Arc::clone(&self.shared)));
    }

    /// Hands requests over from elsewhere.
    pub(super) fn courier(&self) -> Courier {
        Courier {
            shared: Arc::clone(&self.shared),
            outbox: self.outbox.clone(),
        }
    }

    /// The last collection (Unix ns) of the run before this one that used the spool, where that was killed. Other runs may
    /// have written to the store since, such as cron's: they hand nothing over here. `stored` is the store's last commit,
    /// for a spool that an earlier version of kevmon wrote.
    pub(super) fn unsettled(&self, stored: Option<u64>) -> Option<u64> {
        let last = self.last_run.filter(|last| !last.ended)?;
        last.collection.or(stored)
    }

    /// The collection of `time` (Unix ns) is about to be committed and handed over. Told before the commit: what a kill leaves
    /// in between is then unconfirmed rather than lost without a word.
    pub(super) fn announce(&self, time: u64) {
        match &self.outbox {
            Some(outbox) => outbox.announce(time),
            None => self.shared.announce(time),
        }
    }

    /// Whether a request of the collection of `time` (Unix ns) waits for this receiver.
    pub(super) fn keeps(&self, receiver: &str, time: u64) -> bool {
        let lane = format!("{receiver}/{}", Signal::Metrics.name());
        self.shared.state().backlog.holds(&lane, time)
    }

    /// What became of everything so far, lane by lane. While a sender waits for the spool's disk, it is what was read last.
    pub(super) fn readings(&self) -> Vec<ExportReading> {
        self.read_state().lanes
    }

    fn read_state(&self) -> Readings {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let state = match self.shared.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return read.clone(),
        };
        let lanes = self.shared.lanes();
        let lanes = lanes.iter().zip(&state.queues);
        *read = Readings {
            lanes: lanes
                .map(|(name, queue)| reading(name, queue, &state.backlog))
                .collect(),
            spool_failures: state.backlog.failures(),
        };
        read.clone()
    }

    /// Ends as a kill would: nothing more is sent or kept.
    #[cfg(test)]
    async fn kill(self) {
        let tasks = std::mem::take(&mut *self.shared.tasks());
        for task in tasks {
            task.abort();
            let _: Result<(), tokio::task::JoinError> = task.await;
        }
    }

    /// Whether the receiver has said that it has no use for this signal.
    pub(super) fn is_closed(&self, receiver: &str, signal: Signal) -> bool {
        let lanes = self.readings();
        lanes
            .iter()
            .any(|lane| lane.receiver == receiver && lane.signal == signal.name() && lane.closed)
    }

    /// Times that the spool could not be used.
    pub(super) fn spool_failures(&self) -> u64 {
        self.read_state().spool_failures
    }

    /// Sends what can be sent within `limit`, keeps the rest in the spool and ends. `last` is the time of the last
    /// collection, Unix ns; `is_whole`: all of it was handed over.
    pub(super) async fn finish(self, last: u64, is_whole: bool, limit: Duration) -> Left {
        let end = Instant::now() + limit;
        let mut is_whole = is_whole;
        if let Some(outbox) = &self.outbox {
            is_whole &= timeout_at(end, outbox.taken()).await.is_ok();
        }
        self.shared.ending.send_replace(true);
        self.shared.lanes().iter().for_each(|lane| lane.wake.notify_one());
        let tasks = std::mem::take(&mut *self.shared.tasks());
        for mut task in tasks {
            if timeout_at(end, &mut task).await.is_err() {
                task.abort();
                // Cancelled, or ended by itself: either way it sends nothing more. One that waits for a disk does neither.
                is_whole &= timeout_at(end + LAST_WORD, task).await.is_ok();
            }
        }
        let Some(mut state) = self.shared.state_before(end + LAST_WORD).await else {
            warn!("the disk of the spool does not answer: what waits in memory is lost");
            return Left::default();
        };
        let now = state.now();
        let State { queues, backlog, .. } = &mut *state;
        let mut left = Left {
            place: backlog.place(),
            ..Left::default()
        };
        let mut dropped = Vec::new();
        for queue in queues.iter_mut() {
            queue.broken_off();
            dropped.extend(queue.store(now, backlog));
            left.lost += queue.held() as u64;
            left.kept += backlog.waiting(queue.lane()).requests;
        }
        state.account(dropped);
        if left.lost == 0 && is_whole {
            state.backlog.note_end(last);
        }
        left
    }
}

impl Courier {
    /// A collection has come: what is still on its way since an earlier one is kept on disk from now on.
    pub(super) fn collected(&self) {
        match &self.outbox {
            Some(outbox) => outbox.collected(),
            None => self.shared.collected(),
        }
    }

    /// All of the collection of `time`, Unix ns, has been handed over.
    pub(super) fn complete(&self, time: u64) {
        match &self.outbox {
            Some(outbox) => outbox.complete(time),
            None => self.shared.complete(time),
        }
    }

    /// Adds requests of one collection to the lane of this receiver and their signal. Without such a lane they are
    /// nobody's.
    pub(super) fn push(&self, receiver: &str, signal: Signal, requests: Vec<EncodedRequest>) {
        let Some(lane) = self.shared.lane(receiver, signal) else {
            return;
        };
        match &self.outbox {
            _ if requests.is_empty() => {}
            Some(outbox) => outbox.push(lane, requests),
            None => self.shared.push(lane, requests),
        }
    }
}

/// What can be said of the lanes.
#[derive(Debug, Clone, Default)]
struct Readings {
    lanes: Vec<ExportReading>,
    spool_failures: u64,
}

fn reading(LaneName { receiver, signal, .. }: &LaneName, queue: &Queue, backlog: &Backlog) -> ExportReading {
    let spooled = backlog.waiting(queue.lane());
    let counts = queue.counts;
    ExportReading {
        receiver: receiver.clone(),
        signal: signal.name(),
        delivered: counts.delivered,
        refused: counts.refused,
        dropped_space: counts.dropped_space,
        dropped_age: counts.dropped_age,
        dropped_damaged: counts.dropped_damaged,
        unsupported: counts.unsupported,
        repeated: counts.repeated,
        failures: counts.failures,
        unread: counts.unread,
        waiting_requests: spooled.requests + queue.held() as u64,
        waiting_bytes: spooled.bytes + queue.held_bytes() as u64,
        away: queue.is_away(),
        closed: queue.is_closed(),
    }
}

/// Starts the sender of a lane, whose queue is the next one. Waits for the disk of the spool where another sender does.
fn begin(shared: &Arc<Shared>, index: usize, of: Destination) {
    shared.state().queues.push(Queue::new(of.name()));
    let transport = Transport::new(of.connection, of.signal);
    let lane = Lane::new(index, of.signal, transport, Arc::clone(shared));
    shared.tasks().push(tokio::spawn(lane.run()));
}

impl Destination {
    fn name(&self) -> String {
        format!("{}/{}", self.receiver, self.signal.name())
    }
}

impl Shared {
    fn lanes(&self) -> RwLockReadGuard<'_, Vec<LaneName>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane(&self, receiver: &str, signal: Signal) -> Option<usize> {
        self.lanes()
            .iter()
            .position(|lane| lane.receiver == receiver && lane.signal == signal)
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, time: u64) {
        let mut state = self.state();
        state.collection = Some(time);
        state.is_open = false;
        state.backlog.note_collection(time);
    }

    fn complete(&self, time: u64) {
        let mut state = self.state();
        // Another one may have been announced since, or this one not at all.
        state.is_open |= state.collection == Some(time);
        state.note_settled();
    }

    fn collected(&self) {
        let mut state = self.state();
        let now = state.now();
        let State { queues, backlog, .. } = &mut *state;
        let late = queues.iter_mut().filter(|queue| queue.is_late(Instant::now()));
        let dropped = late.flat_map(|queue| queue.store(now, backlog)).collect();
        state.account(dropped);
    }

    fn push(&self, index: usize, requests: Vec<EncodedRequest>) {
        let limit = self
            .lanes()
            .get(index)
            .map_or(usize::MAX, |lane| lane.max_request);
        let mut state = self.state();
        state.begin();
        let now = state.now();
        let mut requests: Vec<_> = requests
            .into_iter()
            .flat_map(|request| below(request, limit))
            .collect();
        // Spans are of the wall clock, which may have been set: their requests are as old as they wait.
        for request in requests
            .iter_mut()
            .filter(|request| request.signal == Signal::Traces)
        {
            request.time = now;
        }
        let State { queues, backlog, .. } = &mut *state;
        let dropped = queues[index].push(requests, (Instant::now(), now), backlog);
        state.account(dropped);
        state.trim();
        self.expire(&mut state);
        drop(state);
        if let Some(lane) = self.lanes().get(index) {
            lane.wake.notify_one();
        }
    }

    /// So many items found no room on their way here.
    fn left(&self, index: usize, items: u64) {
        let mut state = self.state();
        let queue = &mut state.queues[index];
        if queue.dropped(items, false) {
            say_dropping(queue.lane(), Why::Full);
        }
    }

    /// The same, unless a sender waits for the disk until `end`.
    async fn state_before(&self, end: Instant) -> Option<MutexGuard<'_, State>> {
        loop {
            match self.state.try_lock() {
                Ok(state) => return Some(state),
                Err(TryLockError::Poisoned(error)) => return Some(error.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= end => return None,
                Err(TryLockError::WouldBlock) => {}
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn next(&self, lane: usize) -> Result<Option<EncodedRequest>, NoRoom> {
        let mut state = self.state();
        let State { queues, backlog, .. } = &mut *state;
        queues[lane].next(backlog)
    }

    fn settle(&self, lane: usize, by: impl FnOnce(&mut Queue, &mut Backlog)) {
        let mut state = self.state();
        let State { queues, backlog, .. } = &mut *state;
        by(&mut queues[lane], backlog);
        state.note_settled();
    }

    fn failed(&self, lane: usize, may_have_arrived: bool) {
        let mut state = self.state();
        let now = state.now();
        let State { queues, backlog, .. } = &mut *state;
        let dropped = queues[lane].failed(may_have_arrived, now, backlog);
        state.account(dropped);
        state.trim();
    }

    fn expire(&self, state: &mut State) {
        let now = state.now();
        let since = now.saturating_sub(self.expired.load(Ordering::Relaxed));
        if u128::from(since) >= EXPIRE.as_nanos() {
            self.expired.store(now, Ordering::Relaxed);
            let dropped = state.backlog.expire(now);
            state.account(dropped);
        }
    }

    async fn woken(&self, lane: usize) {
        let wake = self.lanes().get(lane).map(|lane| Arc::clone(&lane.wake));
        if let Some(wake) = wake {
            wake.notified().await;
        }
    }

    /// Returns when a lane that is closed is to ask its receiver again.
    async fn asked(&self, lane: usize) {
        let ask = self.lanes().get(lane).map(|lane| Arc::clone(&lane.ask));
        if let Some(ask) = ask {
            ask.notified().await;
        }
    }

    /// Whether the receiver of this lane has taken metrics in this run; `None` where it has not answered any yet.
    fn takes_metrics(&self, lane: usize) -> Option<bool> {
        let metrics = {
            let lanes = self.lanes();
            let receiver = lanes.get(lane).map(|lane| lane.receiver.clone());
            receiver.and_then(|receiver| {
                lanes
                    .iter()
                    .position(|lane| lane.receiver == receiver && lane.signal == Signal::Metrics)
            })
        };
        let Some(metrics) = metrics else {
            return Some(false);
        };
        // A lane that has just come may have no queue yet.
        let counts = self.state().queues.get(metrics).map(|queue| queue.counts);
        match counts.unwrap_or_default() {
            Counts { delivered: 1.., .. } => Some(true),
            Counts { failures: 1.., .. } | Counts { refused: 1.., .. } => Some(false),
            _ => None,
        }
    }

    fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    async fn ended(&self) {
        // Fails only when the sender is gone, which is in `self`.
        let _: Result<_, watch::error::RecvError> = self.ending.subscribe().wait_for(|ending| *ending).await;
    }

    fn attempted(&self, attempt: Attempt) {
        (self.observer)(attempt);
    }

    /// Where what waits is kept, as a message puts it.
    fn place(&self) -> String {
        self.state().backlog.place()
    }
}

impl State {
    /// The clock that ages are told by, now, Unix ns.
    fn now(&self) -> u64 {
        self.clock.unix(HostReader::now())
    }

    /// Something is handed over. A spool that could not be opened is tried again while nothing is sent from memory: what it
    /// holds is older than that.
    fn begin(&mut self) {
        for (lane, items) in self.backlog.take_abandoned() {
            if let Some(queue) = self.queues.iter_mut().find(|queue| queue.lane() == lane) {
                queue.counts.dropped_damaged += items;
            }
        }
        let now = self.now();
        if self.backlog.is_to_be_opened(now) && !self.queues.iter().any(Queue::sends_held) {
            self.backlog.try_open(now);
            if let Some(time) = self.collection {
                self.backlog.note_collection(time);
            }
        }
    }

    /// Notes it where a kill would cost nothing of what was handed over: each receiver has answered, or it waits on disk.
    fn note_settled(&mut self) {
        let is_settled = self.is_open && self.queues.iter().all(|queue| queue.held() == 0);
        if let Some(time) = self.collection.filter(|_| is_settled) {
            self.is_open = false;
            self.backlog.note_end(time);
        }
    }

    /// Counts what the spool has dropped where it belongs; what belonged to a lane of an earlier configuration is
    /// nobody's any more.
    fn account(&mut self, dropped: Vec<Dropped>) {
        for of in dropped {
            if let Some(queue) = self.queues.iter_mut().find(|queue| queue.lane() == of.lane)
                && queue.dropped(of.loss.items, of.why == Why::Old)
            {
                say_dropping(queue.lane(), of.why);
            }
        }
    }

    /// Memory is bounded, whoever it is that does not take requests: what finds no place in the spool makes room, the
    /// oldest first.
    fn trim(&mut self) {
        if self.held_bytes() <= MEMORY {
            return;
        }
        let now = self.now();
        let Self { queues, backlog, .. } = self;
        let stored = queues.iter_mut().flat_map(|queue| queue.store(now, backlog));
        let dropped = stored.collect();
        self.account(dropped);
        while self.held_bytes() > MEMORY {
            let oldest = self
                .queues
                .iter_mut()
                .filter_map(|queue| Some((queue.oldest_held()?, queue)))
                .min_by_key(|(time, _)| *time);
            match oldest {
                Some((_, queue)) => {
                    if queue.drop_oldest_held() {
                        say_dropping(queue.lane(), Why::Full);
                    }
                }
                None => return,
            }
        }
    }

    fn held_bytes(&self) -> usize {
        self.queues.iter().map(Queue::held_bytes).sum()
    }
}

fn say_dropping(lane: &str, why: Why) {
    let (reason, key) = match why {
        Why::Full => ("there is no room for more", "max_bytes"),
        Why::Old => ("they are too old", "max_age"),
    };
    warn!(
        "{lane}: the oldest requests that wait for the receiver are dropped, as {reason} ([spool] {key}); they are counted \
         as kevmon.export.lost"
    );
}
