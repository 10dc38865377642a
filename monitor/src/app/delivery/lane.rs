//! Sends what waits for one lane, one request after the other.
//!
//! What becomes of a request: it is taken; or it is kept and sent again, because the receiver is away or is none; or it is
//! refused and counted. Two answers need more than one attempt. An answer that cannot be read is followed by one repeat
//! at once, and then the request is settled: it must not hold up what is newer. A request that is too large goes in halves.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tracing::debug;

use super::{
    Shared,
    back_off::{self, BackOff},
    parts::Parts,
    report::Report,
};
use crate::export::transport::{EncodedRequest, Retry, SendError, Signal, Transport};

/// How long a spool that cannot be read is left alone.
const UNREADABLE: Duration = Duration::from_secs(5);

/// A receiver that takes no such signal is asked again after this long.
const ASK_AGAIN: Duration = Duration::from_secs(3600);
/// How long a lane waits to hear whether the receiver takes metrics, and how often it looks.
const METRICS_KNOWN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);

/// What a lane says of an attempt, for the spans and metrics of kevmon's own telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) struct Attempt {
    /// Which lane.
    pub(in crate::app) lane: usize,
    /// Items of the request.
    pub(in crate::app) items: u64,
    /// How long it took.
    pub(in crate::app) took: Duration,
    /// The receiver took it.
    pub(in crate::app) accepted: bool,
}

/// The sender of one lane.
pub(super) struct Lane {
    pub(super) index: usize,
    pub(super) signal: Signal,
    pub(super) transport: Transport,
    pub(super) shared: Arc<Shared>,
    /// The receiver has taken a request of this run.
    accepted: bool,
    /// It has taken an empty one: it knows the signal, whatever it says to others.
    takes_empty: bool,
    /// The request in flight.
    parts: Parts,
    report: Report,
}

impl Lane {
    pub(super) fn new(index: usize, signal: Signal, transport: Transport, shared: Arc<Shared>) -> Self {
        Self {
            report: Report::new(transport.endpoint().to_owned(), signal),
            index,
            signal,
            transport,
            shared,
            accepted: false,
            takes_empty: false,
            parts: Parts::default(),
        }
    }

    /// Runs until kevmon ends and there is nothing more to send, or sending fails.
    pub(super) async fn run(mut self) {
        let mut back_off = BackOff::default();
        // Nothing is in flight meanwhile: what waits goes to the spool.
        tokio::select! {
            biased;
            () = self.transport.ready() => {}
            () = self.shared.ended() => return,
        }
        loop {
            let ending = self.shared.is_ending();
            let request = match self.shared.next(self.index) {
                Ok(Some(request)) => request,
                Ok(None) if ending => return,
                Ok(None) => {
                    self.shared.woken(self.index).await;
                    continue;
                }
                Err(_) if ending => return,
                Err(_) => {
                    self.pause(UNREADABLE).await;
                    continue;
                }
            };
            match self.send(request).await {
                Next::AtOnce => back_off.reset(),
                Next::Closed if self.is_opened_again().await => back_off.reset(),
                Next::Closed => return,
                Next::After(_) if ending => return,
                Next::After(asked) => {
                    let pause = back_off.pause(asked, back_off::random());
                    self.pause(pause).await;
                }
            }
        }
    }

    /// Sends a request, in parts where it is too large.
    async fn send(&mut self, request: EncodedRequest) -> Next {
        self.parts.take_up(request);
        while let Some(part) = self.parts.next() {
            if let Err(next) = self.send_part(part).await {
                return next;
            }
        }
        self.settle();
        Next::AtOnce
    }

    /// All parts of the request in flight are settled.
    fn settle(&mut self) {
        let refused = self.parts.end();
        self.shared
            .settle(self.index, |queue, backlog| queue.delivered(refused, backlog));
    }

    /// Sends one part. `Ok`: the next one is due, or the same once more.
    async fn send_part(&mut self, part: EncodedRequest) -> Result<(), Next> {
        let items = part.items;
        let began = Instant::now();
        let answer = self.transport.send(part.body.clone()).await;
        self.shared.attempted(Attempt {
            lane: self.index,
            items,
            took: began.elapsed(),
            accepted: answer.is_ok(),
        });
        let error = match answer {
            Ok(accepted) => {
                self.accepted = true;
                self.parts.settle(accepted.rejected);
                if accepted.unread {
                    self.count_unread();
                }
                self.report.accepted(&accepted);
                return Ok(());
            }
            Err(error) => error,
        };
        // One that has taken requests before is being changed, or something stands before it for the moment.
        if error.is_unsupported() && self.accepted {
            return Err(self.away(&error, None));
        }
        if self.is_unsupported(&error).await {
            return Err(self.close(&error));
        }
        if error.is_unreadable() {
            self.repeat_or_settle(&error, items);
            return Ok(());
        }
        match error.retry() {
            Retry::After(asked) => Err(self.away(&error, asked)),
            Retry::Never => self.refused(&error, &part),
        }
    }

    fn refused(&mut self, error: &SendError, part: &EncodedRequest) -> Result<(), Next> {
        self.count_failure();
        if error.is_too_large() {
            if self.parts.cut() {
                self.report.too_large(error, part);
                return Ok(());
            }
            self.report.too_large_alone(error, part);
        } else {
            self.report.refused(error);
        }
        if !error.is_unauthorized() {
            self.parts.settle(part.items);
            return Ok(());
        }
        // Whoever is not known now may be soon: a backlog is not thrown at a closed door.
        self.parts.refuse_all();
        self.settle();
        Err(Next::After(None))
    }

    /// The answer cannot be read: once more, and then the request is settled, by what could be read of the answer.
    fn repeat_or_settle(&mut self, error: &SendError, items: u64) {
        self.count_failure();
        if !std::mem::replace(&mut self.parts.unread, true) {
            self.shared
                .settle(self.index, |queue, _| queue.counts.repeated += 1);
            return;
        }
        self.report.unreadable(error);
        self.parts.settle(if error.is_confirmed() { 0 } else { items });
        self.count_unread();
    }

    fn count_unread(&self) {
        self.shared
            .settle(self.index, |queue, _| queue.counts.unread += 1);
    }

    fn count_failure(&self) {
        self.shared
            .settle(self.index, |queue, _| queue.counts.failures += 1);
    }

    fn away(&mut self, error: &SendError, asked: Option<Duration>) -> Next {
        self.shared.failed(self.index, error.may_have_arrived());
        self.report.away(error, &self.shared.place());
        Next::After(asked)
    }

    /// Whether the receiver takes none of this signal: it says so, or it refuses in a way that may mean so (400, 405, 415,
    /// 501), has taken metrics but none of this signal, and refuses an empty request likewise.
    async fn is_unsupported(&mut self, error: &SendError) -> bool {
        if self.signal == Signal::Metrics || self.accepted {
            return false;
        }
        if error.is_unsupported() {
            return true;
        }
        if error.doubt().is_none() || self.takes_empty || !self.takes_metrics().await {
            return false;
        }
        match self.transport.send(EMPTY).await {
            Ok(_) => {
                self.takes_empty = true;
                false
            }
            Err(empty) => empty.doubt() == error.doubt(),
        }
    }

    /// Whether the receiver has taken metrics in this run; waits a while for its answer to the first ones.
    async fn takes_metrics(&self) -> bool {
        let end = Instant::now() + METRICS_KNOWN;
        loop {
            match self.shared.takes_metrics(self.index) {
                Some(takes) => return takes,
                None if Instant::now() >= end || self.shared.is_ending() => return false,
                None => sleep(LOOK).await,
            }
        }
    }

    fn close(&mut self, error: &SendError) -> Next {
        debug!("{error}");
        self.report.closed();
        self.parts.end();
        self.shared
            .settle(self.index, |queue, backlog| queue.close(backlog));
        Next::Closed
    }

    /// Asks the receiver again from time to time, and when the configuration is read again, with an empty request. False:
    /// kevmon ends.
    async fn is_opened_again(&mut self) -> bool {
        loop {
            tokio::select! {
                () = sleep(ASK_AGAIN) => {}
                () = self.shared.asked(self.index) => {}
                () = self.shared.ended() => return false,
            }
            match self.transport.send(EMPTY).await {
                Ok(_) => {
                    self.takes_empty = true;
                    self.report.opened();
                    self.shared.settle(self.index, |queue, _| queue.open());
                    return true;
                }
                Err(error) => debug!("{error}; none are sent to it"),
            }
        }
    }

    /// The end of kevmon cuts a pause short: whoever has come back meanwhile gets what waits.
    async fn pause(&self, length: Duration) {
        tokio::select! {
            () = sleep(length) => {}
            () = self.shared.ended() => {}
        }
    }
}

/// A request without any item, of any signal.
const EMPTY: bytes::Bytes = bytes::Bytes::new();

enum Next {
    AtOnce,
    After(Option<Duration>),
    Closed,
}
