//! What is handed over on its way to the thread that keeps it: a request may have to wait for the spool's disk, and whoever
//! hands it over must not.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{mpsc, oneshot};

use super::{Destination, Shared};
use crate::{export::transport::EncodedRequest, health::Vital};

/// Bytes under way at most; beyond that, a request is dropped and counted, as a full spool drops it.
const UNDER_WAY: usize = 64 << 20;

/// Something handed over.
enum Handed {
    /// A lane that begins: its place among the lanes.
    Lane(usize, Box<Destination>),
    Requests {
        lane: usize,
        requests: Vec<EncodedRequest>,
        bytes: usize,
    },
    /// Requests for which there was no room.
    Left {
        lane: usize,
        items: u64,
    },
    /// The time of a collection that comes, Unix ns.
    Announced(u64),
    Collected,
    /// All of the collection of this time.
    Complete(u64),
    /// Answered once all before it has been taken.
    Mark(oneshot::Sender<()>),
}

/// The way to the thread.
#[derive(Clone)]
pub(super) struct Outbox {
    handed: mpsc::UnboundedSender<Handed>,
    bytes: Arc<AtomicUsize>,
}

impl Outbox {
    /// Takes over on the runtime that this is called in.
    pub(super) fn start(shared: Arc<Shared>) -> Self {
        let (handed, taken) = mpsc::unbounded_channel();
        let bytes = Arc::<AtomicUsize>::default();
        tokio::spawn(take(shared, taken, Arc::clone(&bytes)));
        Self { handed, bytes }
    }

    pub(super) fn push(&self, lane: usize, requests: Vec<EncodedRequest>) {
        let bytes = requests.iter().map(|request| request.body.len()).sum();
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before > 0 && before + bytes > UNDER_WAY {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            let items = requests.iter().map(|request| request.items).sum();
            self.send(Handed::Left { lane, items });
        } else {
            self.send(Handed::Requests {
                lane,
                requests,
                bytes,
            });
        }
    }

    /// Starts the sender of the lane `index`.
    pub(super) fn begin(&self, index: usize, of: Destination) {
        self.send(Handed::Lane(index, Box::new(of)));
    }

    pub(super) fn announce(&self, time: u64) {
        self.send(Handed::Announced(time));
    }

    pub(super) fn collected(&self) {
        self.send(Handed::Collected);
    }

    pub(super) fn complete(&self, time: u64) {
        self.send(Handed::Complete(time));
    }

    /// Returns once all that was handed over so far has been taken.
    pub(super) async fn taken(&self) {
        let (mark, reached) = oneshot::channel();
        self.send(Handed::Mark(mark));
        // An error: the thread has ended, and takes nothing more.
        let _ = reached.await;
    }

    fn send(&self, handed: Handed) {
        // An error: the thread has ended, as kevmon does.
        let _ = self.handed.send(handed);
    }
}

async fn take(shared: Arc<Shared>, mut taken: mpsc::UnboundedReceiver<Handed>, under_way: Arc<AtomicUsize>) {
    let _vital = Vital("kevmon-export");
    while let Some(handed) = taken.recv().await {
        match handed {
            Handed::Requests {
                lane,
                requests,
                bytes,
            } => {
                shared.push(lane, requests);
                under_way.fetch_sub(bytes, Ordering::Relaxed);
            }
            Handed::Lane(index, of) => super::begin(&shared, index, *of),
            Handed::Left { lane, items } => shared.left(lane, items),
            Handed::Announced(time) => shared.announce(time),
            Handed::Collected => shared.collected(),
            Handed::Complete(time) => shared.complete(time),
            Handed::Mark(mark) => {
                let _ = mark.send(()); // nobody waits any more
            }
        }
        // Lanes take their turns between two that wait for the disk.
        tokio::task::yield_now().await;
    }
}
