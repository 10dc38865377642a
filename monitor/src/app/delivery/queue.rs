//! The queue of one lane: requests that wait for one receiver and one signal, in memory while the receiver takes them as they
//! come, in the spool when it does not.
//!
//! # States of a request
//!
//! ```text
//! push ──► held (memory) ──next──► in flight ──delivered──► settled: delivered or refused, counted
//!              │                    │      │
//!              │ store              │      └─failed──► stored, sent again after a pause
//!              ▼                    │ store
//!          spooled (disk) ──next──► in flight ...
//!              │
//!              └──► dropped, oldest first: no room, too old, damaged; counted
//! ```
//!
//! - *Held.* A request goes to the spool when a later one comes and the receiver is away, when it has been held for [`ON_ITS_WAY`]
//!   as the next collection comes, when [`HELD_BYTES`] are held, or when something of the lane is in the spool already.
//! - *In flight.* One request at a time. It stays where it lies until it is settled: [`Place::Held`], or [`Place::Spooled`]. A held
//!   one that is stored while it is on its way becomes [`Place::Moved`], and is found again in the spool by its body.
//! - *Settled.* The receiver has answered for it: taken, or refused for good. Only then is it deleted.
//!
//! # Order
//!
//! What lies in the spool is older than what is held, so the spool goes first, and whatever is stored takes everything held with
//! it. If the spool cannot be read, [`Queue::next`] fails and nothing newer is sent. Requests keep the times they were made with.
//!
//! # What is sent twice
//!
//! A request that may have arrived is marked `sent`: a spooled one before each attempt, a held one when an attempt fails that may
//! have brought it there, and when it is stored or broken off while in flight. The next attempt of a marked request counts as
//! `repeated`. The mark is taken back only where no attempt so far can have arrived.
//!
//! # What is dropped
//!
//! The spool is bounded by bytes and age, over all lanes together (`store/spool`); without a spool, memory is bounded over all lanes
//! (`State::trim` in mod.rs). The oldest go first, whosever they are, except the held one in flight. Each lane counts its own
//! losses. A request that was dropped from the spool while in flight counts as dropped, even if the receiver then takes it.
//!
//! # Crash
//!
//! A kill loses what is in memory: the collection in flight, not those before it. The spool has the time of the collection that is
//! being handed over (noted when it is announced, and again once every lane has settled or stored it), so the next start knows
//! whether the last one is unconfirmed (`kevmon.export.unconfirmed`). At an orderly end everything held is stored.
//!
//! What an answer means is decided elsewhere: `export/transport` classifies it, and lane.rs acts on that. (gRPC's
//! RESOURCE_EXHAUSTED, in grpc.rs: with RetryInfo it is sent again after that pause; without, in halves where the message speaks
//! of a size, and refused for good otherwise.)

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::backlog::{Backlog, NoRoom, Packed};
use crate::{
    export::transport::{EncodedRequest, pack, unpack},
    store::spool::{Dropped, Spooled},
};

/// How long a request may be on its way before those behind it are kept on disk. Collections closer than this go
/// through memory, so that a short interval does not wear the disk out.
const ON_ITS_WAY: Duration = Duration::from_millis(500);
/// Bytes held at most before they are kept on disk.
const HELD_BYTES: usize = 2 << 20;

/// What became of requests so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Data points, log records or spans that the receiver took.
    pub(super) delivered: u64,
    /// Items that the receiver refused, as part of a request or with all of it.
    pub(super) refused: u64,
    /// Items dropped because the bound of bytes was reached.
    pub(super) dropped_space: u64,
    /// Items dropped because they had waited longer than the limit of age.
    pub(super) dropped_age: u64,
    /// Items dropped because they could not be read back from the spool.
    pub(super) dropped_damaged: u64,
    /// Items of a signal that the receiver does not take.
    pub(super) unsupported: u64,
    /// Requests that were sent again although an earlier attempt may have arrived.
    pub(super) repeated: u64,
    /// Attempts that failed.
    pub(super) failures: u64,
    /// Answers that could not be read, to requests that are settled.
    pub(super) unread: u64,
}

/// A request in memory.
#[derive(Debug)]
struct Held {
    request: EncodedRequest,
    /// Its body is compressed.
    packed: bool,
    /// It was sent, and may have arrived.
    sent: bool,
    since: Instant,
}

/// Where the request lies that is being sent.
#[derive(Debug)]
enum Place {
    /// It is the first of those held.
    Held,
    /// It was held, and has gone to the spool meanwhile, where this is its body.
    Moved(Bytes),
    /// It was read from the spool.
    Spooled(Spooled),
}

/// The queue of one lane.
#[derive(Debug)]
pub(super) struct Queue {
    lane: String,
    held: VecDeque<Held>,
    /// With the number of its items.
    in_flight: Option<(Place, u64)>,
    /// An earlier attempt to send what is in flight may have arrived.
    sent_before: bool,
    /// The last attempt failed.
    away: bool,
    /// The receiver has no use for this signal.
    closed: bool,
    /// Requests are being dropped, which has been said.
    dropping: bool,
    pub(super) counts: Counts,
}

impl Queue {
    /// An empty queue for the lane of this name (`<receiver>/<signal>`).
    pub(super) fn new(lane: String) -> Self {
        Self {
            lane,
            held: VecDeque::new(),
            in_flight: None,
            sent_before: false,
            away: false,
            closed: false,
            dropping: false,
            counts: Counts::default(),
        }
    }

    /// The lane's name, `<receiver>/<signal>`.
    pub(super) fn lane(&self) -> &str {
        &self.lane
    }

    /// A request that is held in memory is being sent.
    pub(super) fn sends_held(&self) -> bool {
        matches!(self.in_flight, Some((Place::Held, _)))
    }

    /// Bytes held in memory.
    pub(super) fn held_bytes(&self) -> usize {
        self.held.iter().map(|held| held.request.body.len()).sum()
    }

    /// Requests held in memory.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// The last attempt failed.
    pub(super) fn is_away(&self) -> bool {
        self.away
    }

    /// The receiver has no use for this signal.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Nothing waits.
    #[cfg(test)]
    pub(super) fn is_empty(&self, backlog: &Backlog) -> bool {
        self.held.is_empty() && backlog.waiting(&self.lane).requests == 0
    }

    /// Adds what a collection brought.
    pub(super) fn push(
        &mut self,
        requests: Vec<EncodedRequest>,
        (now, now_unix): (Instant, u64),
        backlog: &mut Backlog,
    ) -> Vec<Dropped> {
        if self.closed {
            self.counts.unsupported += requests.iter().map(|request| request.items).sum::<u64>();
            return Vec::new();
        }
        let waits = self.away
            || self.is_late(now)
            || self.held_bytes() >= HELD_BYTES
            || backlog.waiting(&self.lane).requests > 0;
        self.held.extend(requests.into_iter().map(|request| Held {
            request,
            packed: false,
            sent: false,
            since: now,
        }));
        if waits {
            self.store(now_unix, backlog)
        } else {
            Vec::new()
        }
    }

    /// Something held should have been taken by now.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        let oldest = self.held.front();
        oldest.is_some_and(|held| now.duration_since(held.since) >= ON_ITS_WAY)
    }

    /// Moves everything held to the spool; where that does not work, it stays held, compressed.
    pub(super) fn store(&mut self, now_unix: u64, backlog: &mut Backlog) -> Vec<Dropped> {
        if self.held.is_empty() {
            return Vec::new();
        }
        for held in self.held.iter_mut().filter(|held| !held.packed) {
            held.request.body = pack(&held.request.body).into();
            held.packed = true;
        }
        let is_in_flight = matches!(self.in_flight, Some((Place::Held, _)));
        let packed = self.held.iter().enumerate().map(|(index, held)| Packed {
            request: &held.request,
            sent: held.sent || index == 0 && is_in_flight,
        });
        match backlog.push(&self.lane, packed, now_unix) {
            Ok(dropped) => {
                let first = self.held.pop_front();
                self.held.clear();
                if let (Some((place @ Place::Held, _)), Some(first)) = (&mut self.in_flight, first) {
                    *place = Place::Moved(first.request.body);
                }
                dropped
            }
            Err(NoRoom) => Vec::new(),
        }
    }

    /// The request to send now, which is in flight until one of the methods below says what became of it. `None`:
    /// nothing waits.
    ///
    /// # Errors
    /// The spool cannot be read at the moment, and what is newer must not overtake it.
    pub(super) fn next(&mut self, backlog: &mut Backlog) -> Result<Option<EncodedRequest>, NoRoom> {
        while let Some(oldest) = backlog.oldest(&self.lane)? {
            let mut spooled = oldest.spooled;
            if let Some(request) = oldest.request {
                self.sent_before = spooled.parcel.sent;
                self.counts.repeated += u64::from(self.sent_before);
                backlog.mark_sent(&mut spooled, true);
                self.in_flight = Some((Place::Spooled(spooled), request.items));
                return Ok(Some(request));
            }
            self.counts.dropped_damaged += spooled.parcel.items;
            backlog.remove(&spooled);
        }
        let first = self.held.front().and_then(|held| {
            let mut request = held.request.clone();
            if held.packed {
                request.body = unpack(&request.body)?;
            }
            Some(request)
        });
        self.sent_before = self.held.front().is_some_and(|held| held.sent);
        self.counts.repeated += u64::from(self.sent_before);
        self.in_flight = first.as_ref().map(|request| (Place::Held, request.items));
        Ok(first)
    }

    /// The receiver has taken the request in flight, but for `rejected` of its items.
    pub(super) fn delivered(&mut self, rejected: u64, backlog: &mut Backlog) {
        let items = self.settle(backlog);
        let rejected = rejected.min(items);
        self.counts.delivered += items - rejected;
        self.counts.refused += rejected;
        self.away = false;
        self.dropping = false;
    }

    /// The receiver will never take the request in flight.
    #[cfg(test)]
    pub(super) fn refused(&mut self, backlog: &mut Backlog) {
        self.counts.failures += 1;
        self.delivered(u64::MAX, backlog);
    }

    /// The request in flight was not taken this time; it is sent again.
    pub(super) fn failed(
        &mut self,
        may_have_arrived: bool,
        now_unix: u64,
        backlog: &mut Backlog,
    ) -> Vec<Dropped> {
        self.counts.failures += 1;
        self.away = true;
        match self.in_flight.take() {
            Some((Place::Held, _)) => {
                if let Some(first) = self.held.front_mut() {
                    first.sent |= may_have_arrived;
                }
            }
            // What an earlier attempt may have brought there is not taken back by a later one that did not.
            Some((Place::Moved(packed), _)) => {
                if let Some(mut spooled) = backlog.find_oldest(&self.lane, &packed) {
                    backlog.mark_sent(&mut spooled, may_have_arrived || self.sent_before);
                }
            }
            Some((Place::Spooled(mut spooled), _)) => {
                backlog.mark_sent(&mut spooled, may_have_arrived || self.sent_before);
            }
            None => {}
        }
        self.store(now_unix, backlog)
    }

    /// Sending was broken off: what is in flight may have arrived, and whoever sends it again knows that.
    pub(super) fn broken_off(&mut self) {
        if let Some((Place::Held, _)) = self.in_flight.take()
            && let Some(first) = self.held.front_mut()
        {
            first.sent = true;
        }
    }

    /// The receiver has no use for this signal: nothing is kept for it from now on.
    pub(super) fn close(&mut self, backlog: &mut Backlog) {
        self.closed = true;
        self.away = false;
        self.in_flight = None;
        let held = std::mem::take(&mut self.held);
        self.counts.unsupported += held.iter().map(|held| held.request.items).sum::<u64>();
        self.counts.unsupported += backlog.waiting(&self.lane).items;
        backlog.clear(&self.lane);
    }

    /// The receiver takes this signal after all.
    pub(super) fn open(&mut self) {
        self.closed = false;
    }

    /// Counts what was dropped for want of room, or for its age. True: it begins, and is to be said.
    pub(super) fn dropped(&mut self, items: u64, for_age: bool) -> bool {
        if for_age {
            self.counts.dropped_age += items;
        } else {
            self.counts.dropped_space += items;
        }
        !std::mem::replace(&mut self.dropping, true)
    }

    /// Drops the oldest request held that is not being sent. True: dropping begins, and is to be said.
    pub(super) fn drop_oldest_held(&mut self) -> bool {
        let index = usize::from(matches!(self.in_flight, Some((Place::Held, _))));
        let dropped = self.held.remove(index);
        dropped.is_some_and(|held| self.dropped(held.request.items, false))
    }

    /// When the oldest request held that is not being sent was made.
    pub(super) fn oldest_held(&self) -> Option<u64> {
        let index = usize::from(matches!(self.in_flight, Some((Place::Held, _))));
        self.held.get(index).map(|held| held.request.time)
    }

    /// Forgets the request in flight; returns how many items it had.
    fn settle(&mut self, backlog: &mut Backlog) -> u64 {
        match self.in_flight.take() {
            Some((Place::Held, items)) => {
                self.held.pop_front();
                items
            }
            Some((Place::Spooled(spooled), items)) if backlog.remove(&spooled) => items,
            Some((Place::Moved(packed), items)) => match backlog.find_oldest(&self.lane, &packed) {
                Some(spooled) if backlog.remove(&spooled) => items,
                _ => 0,
            },
            // It has been dropped meanwhile, and is counted so.
            Some((Place::Spooled(_), _)) => 0,
            None => 0,
        }
    }
}
