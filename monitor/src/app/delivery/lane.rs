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
    /// What is going on, so that it is said once.
    said: Said,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
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
            said: Said::Nothing,
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
                self.shared.settle(self.index, |queue, backlog| {
                    queue.delivered(accepted.rejected, backlog)
                });
                self.say_accepted(&accepted);
                Next::AtOnce
            }
            Err(error) if error.is_unsupported() && self.signal != Signal::Metrics => {
                debug!("{error}");
                warn!(
                    "{}: the receiver takes no {signal}, so none are sent to it until kevmon is started again; metrics go \
                     on; {}",
                    self.transport.endpoint(),
                    remedy(self.signal),
                    signal = self.signal.name(),
                );
                self.shared
                    .settle(self.index, |queue, backlog| queue.close(backlog));
                Next::Closed
            }
            Err(error) => match error.retry() {
                Retry::Never => {
                    self.shared
                        .settle(self.index, |queue, backlog| queue.refused(backlog));
                    self.say_refused(&error);
                    Next::AtOnce
                }
                Retry::After(asked) => {
                    self.shared.failed(self.index, error.may_have_arrived());
                    self.say_away(&error);
                    Next::After(asked)
                }
            },
        }
    }

    /// The end of kevmon cuts a pause short: whoever has come back meanwhile gets what waits.
    async fn pause(&self, length: Duration) {
        tokio::select! {
            () = sleep(length) => {}
            () = self.shared.ended() => {}
        }
    }

    fn say_accepted(&mut self, accepted: &Accepted) {
        let endpoint = self.transport.endpoint();
        if accepted.rejected > 0 {
            if self.said != Said::Partial {
                error!(
                    "{endpoint}: the receiver rejected {} of a request's {}: {}; they are not sent again",
                    accepted.rejected,
                    self.signal.items(),
                    accepted.remark
                );
            }
            self.said = Said::Partial;
            return;
        }
        if self.said != Said::Nothing {
            info!("{endpoint} accepts {} again", self.signal.name());
        }
        self.said = Said::Nothing;
    }

    fn say_refused(&mut self, error: &SendError) {
        if self.said != Said::Refused {
            error!("{error}; what it refuses is not sent again, and counted");
        }
        self.said = Said::Refused;
    }

    fn say_away(&mut self, error: &SendError) {
        if self.said != Said::Away {
            error!(
                "{error}; trying again, {} wait {} meanwhile",
                self.signal.name(),
                self.shared.place()
            );
        }
        self.said = Said::Away;
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
