//! The spool as the queues use it: requests go in compressed, and a disk that fails is said once and tried again.

use std::path::{Path, PathBuf};

use tracing::{info, warn};

use crate::{
    export::transport::{EncodedRequest, Signal, unpack},
    store::{
        StoreError,
        spool::{Dropped, Limits, Parcel, Spool, Spooled, Tally},
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
    /// When it was last tried to open it, Unix ns.
    tried: u64,
    failing: bool,
    failures: u64,
}

/// The oldest request of a lane.
#[derive(Debug)]
pub(super) struct Oldest {
    pub(super) spooled: Spooled,
    /// `None` when its bytes are damaged.
    pub(super) request: Option<EncodedRequest>,
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
            tried: now_unix,
            failing: false,
            failures: 0,
        };
        backlog.try_open(now_unix);
        backlog
    }

    fn try_open(&mut self, now_unix: u64) {
        let Some(path) = &self.path else { return };
        self.tried = now_unix;
        let result = Spool::open(path, self.limits, now_unix);
        self.spool = self.said(result);
    }

    /// Puts `requests`, whose bodies are packed, behind the others of `lane`: all or none.
    pub(super) fn push<'a>(
        &mut self,
        lane: &str,
        requests: impl Iterator<Item = &'a EncodedRequest>,
        now_unix: u64,
    ) -> Result<Vec<Dropped>, NoRoom> {
        if self.spool.is_none() && now_unix.saturating_sub(self.tried) >= OPEN_AGAIN {
            self.try_open(now_unix);
        }
        let Some(spool) = &mut self.spool else {
            return Err(NoRoom);
        };
        let parcels: Vec<Parcel> = requests
            .map(|request| Parcel {
                lane: lane.to_owned(),
                signal: request.signal.name().to_owned(),
                time: request.time,
                items: request.items,
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

    /// Removes a request for good.
    pub(super) fn remove(&mut self, spooled: &Spooled) {
        if let Some(spool) = &mut self.spool {
            let result = spool.remove(spooled);
            self.said(result);
        }
    }

    /// Removes the oldest request of `lane` if this is its packed body.
    pub(super) fn remove_oldest(&mut self, lane: &str, packed: &[u8]) {
        if let Ok(Some(oldest)) = self.oldest(lane)
            && oldest.spooled.parcel.body == packed
        {
            self.remove(&oldest.spooled);
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

    /// The time of the newest request of `lane`, Unix ns.
    pub(super) fn newest(&mut self, lane: &str) -> Option<u64> {
        let result = self.spool.as_mut()?.newest(lane);
        self.said(result).flatten()
    }

    /// Times that the spool could not be used.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// Notes that the collection of `time` was settled before an orderly end.
    pub(super) fn note_end(&mut self, time: u64) {
        if let Some(spool) = &mut self.spool {
            let result = spool.note_end(time);
            self.said(result);
        }
    }

    /// The collection with which the last run ended in order; `None` where it did not, or nobody knows.
    pub(super) fn last_end(&mut self) -> Option<u64> {
        let result = self.spool.as_ref()?.last_end();
        self.said(result).flatten()
    }

    fn said<T>(&mut self, result: Result<T, StoreError>) -> Option<T> {
        match result {
            Ok(value) => {
                if std::mem::take(&mut self.failing) {
                    info!("the spool can be used again");
                }
                Some(value)
            }
            Err(reason) => {
                self.failures += 1;
                if !std::mem::replace(&mut self.failing, true) {
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
