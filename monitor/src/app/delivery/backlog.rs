//! The spool as the queues use it: requests go in compressed, and a disk that fails is said once and tried again.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use tracing::{debug, info, warn};

use crate::{
    episode::Episode,
    export::transport::{EncodedRequest, Signal, unpack},
    store::{
        StoreError,
        spool::{Dropped, LastRun, Limits, Parcel, Spool, Spooled, Tally},
    },
};

/// A spool that could not be opened is tried again after this long, ns.
const OPEN_AGAIN: u64 = 30_000_000_000;

/// The spool, or the lack of one.
#[derive(Debug)]
pub(super) struct Backlog {
    /// `None`: there is to be none.
    path: Option<PathBuf>,
    limits: Limits,
    spool: Option<Spool>,
    /// The spool knows that this run hands collections over.
    is_noted: bool,
    /// When it was last tried to open it, Unix ns.
    tried: u64,
    failing: Episode,
    failures: u64,
    /// Items, by lane, of a spool that turned out to be damaged.
    abandoned: Vec<(String, u64)>,
}

/// The oldest request of a lane.
#[derive(Debug)]
pub(super) struct Oldest {
    pub(super) spooled: Spooled,
    /// `None` when its bytes are damaged.
    pub(super) request: Option<EncodedRequest>,
}

/// A request to be kept: its body is packed.
#[derive(Debug)]
pub(super) struct Packed<'a> {
    pub(super) request: &'a EncodedRequest,
    /// It was sent, and may have arrived.
    pub(super) sent: bool,
}

/// There is no place for a request but memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Backlog {
    /// Opens the spool at `path`; as long as that does not work, what waits is kept in memory.
    pub(super) fn open(path: Option<&Path>, limits: Limits, now_unix: u64) -> Self {
        let mut backlog = Self {
            path: path.map(Path::to_owned),
            limits,
            spool: None,
            is_noted: false,
            tried: now_unix,
            failing: Episode::default(),
            failures: 0,
            abandoned: Vec::new(),
        };
        backlog.try_open(now_unix);
        backlog
    }

    /// Tries to open the spool.
    pub(super) fn try_open(&mut self, now_unix: u64) {
        let Some(path) = &self.path else { return };
        self.tried = now_unix;
        self.is_noted = false;
        let result = Spool::open(path, self.limits, now_unix);
        self.spool = self.said(result);
    }

    /// Puts `requests`, whose bodies are packed, behind the others of `lane`: all or none.
    pub(super) fn push<'a>(
        &mut self,
        lane: &str,
        requests: impl Iterator<Item = Packed<'a>>,
        now_unix: u64,
    ) -> Result<Vec<Dropped>, NoRoom> {
        let Some(spool) = &mut self.spool else {
            return Err(NoRoom);
        };
        let parcels: Vec<Parcel> = requests
            .map(|Packed { request, sent }| Parcel {
                lane: lane.to_owned(),
                signal: request.signal.name().to_owned(),
                time: request.time,
                items: request.items,
                sent,
                body: request.body.to_vec(),
            })
            .collect();
        let result = spool.push(&parcels, now_unix);
        self.said(result).ok_or(NoRoom)
    }

    /// The oldest request of `lane`.
    pub(super) fn oldest(&mut self, lane: &str) -> Result<Option<Oldest>, NoRoom> {
        let Some(spool) = &mut self.spool else {
            return Ok(None);
        };
        let result = spool.peek(lane);
        let found = self.said(result).ok_or(NoRoom)?;
        Ok(found.map(|spooled| {
            let parcel = &spooled.parcel;
            let request =
                Signal::from_name(&parcel.signal)
                    .zip(unpack(&parcel.body))
                    .map(|(signal, body)| EncodedRequest {
                        signal,
                        items: parcel.items,
                        time: parcel.time,
                        body,
                    });
            Oldest { spooled, request }
        }))
    }

    /// Removes a request for good. False: it had been dropped, and been counted so.
    pub(super) fn remove(&mut self, spooled: &Spooled) -> bool {
        let Some(spool) = &mut self.spool else {
            return false;
        };
        let result = spool.remove(spooled);
        // What could not be deleted is not sent again in this run.
        self.said(result).unwrap_or(true)
    }

    /// The oldest request of `lane` if this is its packed body.
    pub(super) fn find_oldest(&mut self, lane: &str, packed: &[u8]) -> Option<Spooled> {
        let oldest = self.oldest(lane).ok().flatten()?;
        (oldest.spooled.parcel.body == packed).then_some(oldest.spooled)
    }

    /// Notes that a request is being sent, or that it surely did not arrive.
    pub(super) fn mark_sent(&mut self, spooled: &mut Spooled, sent: bool) {
        if let Some(spool) = &mut self.spool
            && spooled.parcel.sent != sent
        {
            spooled.parcel.sent = sent;
            let result = spool.mark_sent(spooled, sent);
            self.said(result);
        }
    }

    /// It is time to try again to open a spool that could not be opened.
    pub(super) fn is_to_be_opened(&self, now_unix: u64) -> bool {
        self.path.is_some() && self.spool.is_none() && now_unix.saturating_sub(self.tried) >= OPEN_AGAIN
    }

    /// Where what waits is kept now, as a message puts it.
    pub(super) fn place(&self) -> String {
        match (&self.path, &self.spool) {
            (Some(path), Some(_)) => format!("in {}", path.display()),
            _ => "in memory".to_owned(),
        }
    }

    /// Removes everything of `lane`.
    pub(super) fn clear(&mut self, lane: &str) {
        if let Some(spool) = &mut self.spool {
            let result = spool.clear(lane);
            self.said(result);
        }
    }

    /// Removes what has grown too old.
    pub(super) fn expire(&mut self, now_unix: u64) -> Vec<Dropped> {
        let Some(spool) = &mut self.spool else {
            return Vec::new();
        };
        let result = spool.expire(now_unix);
        self.said(result).unwrap_or_default()
    }

    /// What waits for `lane`.
    pub(super) fn waiting(&self, lane: &str) -> Tally {
        let lanes = self.spool.iter().flat_map(Spool::lanes);
        let of = lanes
            .filter(|(name, _)| *name == lane)
            .map(|(_, state)| state.waiting);
        of.last().unwrap_or_default()
    }

    /// Lanes for which something waits, whether they are in use or not.
    pub(super) fn lanes(&self) -> Vec<String> {
        let lanes = self.spool.iter().flat_map(Spool::lanes);
        lanes
            .filter(|(_, state)| state.waiting.requests > 0)
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    /// Whether a request of the collection of this time (Unix ns) waits for `lane`.
    pub(super) fn holds(&mut self, lane: &str, time: u64) -> bool {
        let Some(spool) = &self.spool else { return false };
        let result = spool.holds(lane, time);
        self.said(result).unwrap_or(false)
    }

    /// Times that the spool could not be used.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// Notes that the collection of `time` (Unix ns) is handed over. Only a first note that fails is said: after it the file
    /// is known to be one of a run that has not ended, and whatever is wrong with the disk, the store says so as well.
    pub(super) fn note_collection(&mut self, time: u64) {
        let Some(spool) = &mut self.spool else { return };
        let result = spool.note_collection(time);
        if self.is_noted {
            if let Err(reason) = result {
                debug!("{reason}");
            }
        } else {
            self.is_noted = self.said(result).is_some();
        }
    }

    /// Notes that the collection of `time` was settled before an orderly end.
    pub(super) fn note_end(&mut self, time: u64) {
        if let Some(spool) = &mut self.spool {
            let result = spool.note_end(time);
            self.said(result);
        }
    }

    /// How the last run came to its end that used this spool; `None` where nobody knows.
    pub(super) fn last_run(&mut self) -> Option<LastRun> {
        let result = self.spool.as_ref()?.last_run();
        self.said(result).flatten()
    }

    /// Items, by lane, that a damaged spool has taken with it since the last call.
    pub(super) fn take_abandoned(&mut self) -> Vec<(String, u64)> {
        std::mem::take(&mut self.abandoned)
    }

    /// A damaged spool would hold its lanes up for ever. Opened again, it is moved aside and a new one is begun.
    fn give_up_if_damaged(&mut self, reason: &StoreError) {
        if !matches!(reason, StoreError::Damaged { .. }) {
            return;
        }
        let Some(spool) = self.spool.take() else { return };
        let waiting = spool.lanes().filter(|(_, state)| state.waiting.requests > 0);
        self.abandoned
            .extend(waiting.map(|(lane, state)| (lane.to_owned(), state.waiting.items)));
        self.tried = 0;
    }

    fn said<T>(&mut self, result: Result<T, StoreError>) -> Option<T> {
        match result {
            Ok(value) => {
                if let Some(failures) = self.failing.works(Instant::now()) {
                    info!("the spool can be used again; it could not {failures} times");
                }
                Some(value)
            }
            Err(reason) => {
                self.failures += 1;
                self.give_up_if_damaged(&reason);
                if self.failing.fails(Instant::now()) {
                    warn!(
                        "{reason}; what waits for receivers is kept in memory, 8 MiB at most, until the spool can be used; what is \
                         in memory is lost when kevmon ends"
                    );
                }
                None
            }
        }
    }
}
