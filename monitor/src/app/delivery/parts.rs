//! A request that goes to its receiver in parts because it is too large for it. What the parts have come to is kept until
//! all are settled, so that a failure in between does not send those again that have arrived.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::export::transport::{EncodedRequest, halves};

/// How long a size that the receiver refused is held to be too large.
const TOO_LARGE_FOR: Duration = Duration::from_secs(3600);

/// Which request it is: a queue sends its oldest one again until that is settled.
type Identity = (u64, u64, usize);

/// What is left of the request in flight, and what became of the rest of it.
#[derive(Debug, Default)]
pub(super) struct Parts {
    of: Option<Identity>,
    /// The next one first.
    left: VecDeque<EncodedRequest>,
    /// Items that the receiver refused.
    refused: u64,
    /// An answer to the next part could not be read.
    pub(super) unread: bool,
    /// The smallest size of a request with several resources that was too large, and when that was.
    too_large: Option<(usize, Instant)>,
}

impl Parts {
    /// Goes on with `request`, or begins with it.
    pub(super) fn take_up(&mut self, request: EncodedRequest) {
        let identity = (request.time, request.items, request.body.len());
        if self.of == Some(identity) && !self.left.is_empty() {
            return;
        }
        self.of = Some(identity);
        self.left = VecDeque::from([request]);
        self.refused = 0;
        self.unread = false;
    }

    /// The part to send now; `None` when all are settled.
    pub(super) fn next(&mut self) -> Option<EncodedRequest> {
        let limit = self
            .too_large
            .filter(|(_, since)| since.elapsed() < TOO_LARGE_FOR);
        while let (Some((limit, _)), Some(first)) = (limit, self.left.front())
            && first.body.len() >= limit
            && let Some(parts) = halves(first)
        {
            self.replace_first(parts);
        }
        self.left.front().cloned()
    }

    /// The part that [`Self::next`] gave is settled; the receiver refused so many of its items.
    pub(super) fn settle(&mut self, refused: u64) {
        if let Some(first) = self.left.pop_front() {
            self.refused += refused.min(first.items);
        }
        self.unread = false;
    }

    /// The receiver refuses all that is left.
    pub(super) fn refuse_all(&mut self) {
        while let Some(first) = self.left.front() {
            let items = first.items;
            self.settle(items);
        }
    }

    /// The first part is too large. True: it has been cut in halves. False: it holds a single resource.
    pub(super) fn cut(&mut self) -> bool {
        let Some((size, parts)) = self
            .left
            .front()
            .and_then(|first| Some((first.body.len(), halves(first)?)))
        else {
            return false;
        };
        let known = self
            .too_large
            .filter(|(_, since)| since.elapsed() < TOO_LARGE_FOR);
        self.too_large = Some(match known {
            Some((known, since)) if known <= size => (known, since),
            _ => (size, Instant::now()),
        });
        self.replace_first(parts);
        true
    }

    /// Ends with the request; returns how many of its items were refused.
    pub(super) fn end(&mut self) -> u64 {
        self.of = None;
        self.left.clear();
        std::mem::take(&mut self.refused)
    }

    fn replace_first(&mut self, [first, second]: [EncodedRequest; 2]) {
        self.left.pop_front();
        self.left.push_front(second);
        self.left.push_front(first);
    }
}
