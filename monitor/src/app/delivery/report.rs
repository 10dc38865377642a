//! What the log says of a lane: each kind of trouble when it begins, and when all is well again.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::export::transport::{Accepted, EncodedRequest, SendError, Signal, services};

/// A kind of trouble that comes and goes is said this often at most.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// Trouble that goes with every request is said this often at most.
const REMIND: Duration = Duration::from_secs(3600);

/// What has been said of a lane.
pub(super) struct Report {
    endpoint: String,
    signal: Signal,
    /// What is going on, so that it is said once.
    said: Said,
    /// When each kind of trouble was last said.
    said_at: [Option<Instant>; 6],
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
    /// It takes smaller requests alone.
    TooLarge,
    /// A single resource is larger than it takes.
    TooLargeAlone,
    /// Its answers cannot be read.
    Unreadable,
}

impl Report {
    pub(super) fn new(endpoint: String, signal: Signal) -> Self {
        Self {
            endpoint,
            signal,
            said: Said::Nothing,
            said_at: [None; 6],
            remarked: false,
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

    /// Whether this trouble, beside which requests are taken, is to be said.
    fn is_due(&mut self, trouble: Trouble) -> bool {
        let at = &mut self.said_at[trouble as usize];
        let is_due = at.is_none_or(|at| at.elapsed() >= REMIND);
        if is_due {
            *at = Some(Instant::now());
        }
        is_due
    }

    /// The receiver took a request, or a part of it.
    pub(super) fn accepted(&mut self, accepted: &Accepted) {
        let endpoint = &self.endpoint.clone();
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
        if accepted.unread {
            if self.is_due(Trouble::Unreadable) {
                warn!(
                    "{endpoint}: the receiver took a request, and the rest of its answer cannot be read: what it may have \
                     rejected is not known; counted in kevmon.export.unreadable_answers"
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

    /// The receiver refused a request for good.
    pub(super) fn refused(&mut self, error: &SendError) {
        if self.begins(Trouble::Refused) {
            error!("{error}; what it refuses is not sent again, and counted");
        }
    }

    /// A request is sent again later.
    pub(super) fn away(&mut self, error: &SendError, place: &str) {
        if self.begins(Trouble::Away) {
            error!(
                "{error}; trying again, {} wait {place} meanwhile",
                self.signal.name()
            );
        }
    }

    /// A request goes in halves.
    pub(super) fn too_large(&mut self, error: &SendError, part: &EncodedRequest) {
        if self.is_due(Trouble::TooLarge) {
            warn!(
                "{error}; a request of {} bytes goes in halves, and so do later ones of that size",
                part.body.len()
            );
        }
    }

    /// A single resource is too large.
    pub(super) fn too_large_alone(&mut self, error: &SendError, part: &EncodedRequest) {
        if self.is_due(Trouble::TooLargeAlone) {
            error!(
                "{error}; {} alone has {} bytes: they are not sent again, and counted",
                services(part),
                part.body.len()
            );
        }
    }

    /// Two answers to a request could not be read.
    pub(super) fn unreadable(&mut self, error: &SendError) {
        if self.is_due(Trouble::Unreadable) {
            error!(
                "{error}; a request was answered so twice, and is not sent again: {}; counted in \
                 kevmon.export.unreadable_answers",
                if error.is_confirmed() {
                    "it counts as delivered"
                } else {
                    "its items count as refused"
                }
            );
        }
    }

    /// The receiver takes none of this signal.
    pub(super) fn closed(&self) {
        warn!(
            "{}: the receiver takes no {signal}, so none are sent to it; it is asked again each hour, and when the \
             configuration is read again (SIGHUP); metrics go on; {}",
            self.endpoint,
            remedy(self.signal),
            signal = self.signal.name(),
        );
    }

    /// The receiver takes this signal after all.
    pub(super) fn opened(&self) {
        info!("{} takes {} now", self.endpoint, self.signal.name());
    }
}

fn remedy(signal: Signal) -> &'static str {
    match signal {
        Signal::Logs => "let it receive OTLP logs, or leave \"logs\" out of its [export] signals",
        Signal::Traces => "let it receive OTLP traces, or leave \"traces\" out of its [export] signals",
        Signal::Metrics => "",
    }
}
