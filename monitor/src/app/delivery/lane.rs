//! Sends what waits for one lane, one request after the other, and says when that stops working and when it works
//! again.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tracing::{debug, error, info, warn};

use super::{
    Shared,
    back_off::{self, BackOff},
};
use crate::export::transport::{Accepted, EncodedRequest, Retry, SendError, Signal, Transport};

/// A kind of trouble that comes and goes is said this often at most.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// How long a spool that cannot be read is left alone.
const UNREADABLE: Duration = Duration::from_secs(5);

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
    /// What is going on, so that it is said once.
    said: Said,
    /// When the three kinds of trouble were last said.
    said_at: [Option<Instant>; 3],
    /// A remark of the receiver's has been said.
    remarked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Trouble(Trouble),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// The receiver is away.
    Away,
    /// It refuses what it is sent.
    Refused,
    /// It takes requests in part.
    Partial,
}

impl Lane {
    pub(super) fn new(index: usize, signal: Signal, transport: Transport, shared: Arc<Shared>) -> Self {
        Self {
            index,
            signal,
            transport,
            shared,
            accepted: false,
            said: Said::Nothing,
            said_at: [None; 3],
            remarked: false,
        }
    }

    /// Runs until the lane is closed or, at the end of kevmon, has nothing more to send or fails to.
    pub(super) async fn run(mut self) {
        let mut back_off = BackOff::default();
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
                Next::Closed => return,
                Next::After(_) if ending => return,
                Next::After(asked) => {
                    let pause = back_off.pause(asked, back_off::random());
                    self.pause(pause).await;
                }
            }
        }
    }

    async fn send(&mut self, request: EncodedRequest) -> Next {
        let items = request.items;
        let began = Instant::now();
        let answer = self.transport.send(request.body).await;
        self.shared.attempted(Attempt {
            lane: self.index,
            items,
            took: began.elapsed(),
            accepted: answer.is_ok(),
        });
        match answer {
            Ok(accepted) => {
                self.accepted = true;
                self.shared.settle(self.index, |queue, backlog| {
                    queue.delivered(accepted.rejected, backlog)
                });
                self.say_accepted(&accepted);
                Next::AtOnce
            }
            // One that has taken requests before is being changed, or something stands before it for the moment.
            Err(error) if error.is_unsupported() && self.accepted => self.away(&error, None),
            Err(error) if error.is_unsupported() && self.signal != Signal::Metrics => self.close(&error),
            Err(error) => match error.retry() {
                Retry::Never => {
                    self.shared
                        .settle(self.index, |queue, backlog| queue.refused(backlog));
                    self.say_refused(&error);
                    // Whoever is not known now may be soon: a backlog is not thrown at a closed door.
                    if error.is_unauthorized() {
                        Next::After(None)
                    } else {
                        Next::AtOnce
                    }
                }
                Retry::After(asked) => self.away(&error, asked),
            },
        }
    }

    fn away(&mut self, error: &SendError, asked: Option<Duration>) -> Next {
        self.shared.failed(self.index, error.may_have_arrived());
        self.say_away(error);
        Next::After(asked)
    }

    fn close(&mut self, error: &SendError) -> Next {
        debug!("{error}");
        warn!(
            "{}: the receiver takes no {signal}, so none are sent to it until kevmon is started again; metrics go on; {}",
            self.transport.endpoint(),
            remedy(self.signal),
            signal = self.signal.name(),
        );
        self.shared
            .settle(self.index, |queue, backlog| queue.close(backlog));
        Next::Closed
    }

    /// The end of kevmon cuts a pause short: whoever has come back meanwhile gets what waits.
    async fn pause(&self, length: Duration) {
        tokio::select! {
            () = sleep(length) => {}
            () = self.shared.ended() => {}
        }
    }

    /// Whether this trouble is to be said: it is new, and was not said a moment ago.
    fn begins(&mut self, trouble: Trouble) -> bool {
        let is_new = self.said != Said::Trouble(trouble);
        let at = &mut self.said_at[trouble as usize];
        let says = is_new && at.is_none_or(|at| at.elapsed() >= SAY_AGAIN);
        if says {
            *at = Some(Instant::now());
            self.said = Said::Trouble(trouble);
        }
        says
    }

    fn say_accepted(&mut self, accepted: &Accepted) {
        let endpoint = self.transport.endpoint().to_owned();
        if accepted.rejected > 0 {
            if self.begins(Trouble::Partial) {
                error!(
                    "{endpoint}: the receiver rejected {} of a request's {}: {}; they are not sent again, and counted; see \
                     the receiver's log",
                    accepted.rejected,
                    self.signal.items(),
                    accepted.remark
                );
            }
            return;
        }
        if !accepted.remark.is_empty() && !std::mem::replace(&mut self.remarked, true) {
            warn!(
                "{endpoint}: the receiver took a request and remarked: {}",
                accepted.remark
            );
        }
        if std::mem::replace(&mut self.said, Said::Nothing) != Said::Nothing {
            info!("{endpoint} accepts {} again", self.signal.name());
        }
    }

    fn say_refused(&mut self, error: &SendError) {
        if self.begins(Trouble::Refused) {
            error!("{error}; what it refuses is not sent again, and counted");
        }
    }

    fn say_away(&mut self, error: &SendError) {
        if self.begins(Trouble::Away) {
            error!(
                "{error}; trying again, {} wait {} meanwhile",
                self.signal.name(),
                self.shared.place()
            );
        }
    }
}

enum Next {
    AtOnce,
    After(Option<Duration>),
    Closed,
}

fn remedy(signal: Signal) -> &'static str {
    match signal {
        Signal::Logs => "let it receive OTLP logs, or write [events] enabled = false in the plugins",
        Signal::Traces => "let it receive OTLP traces, or write [telemetry] enabled = false in kevmon.toml",
        Signal::Metrics => "",
    }
}
