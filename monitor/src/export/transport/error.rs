//! Why a request was not taken, and what that means for sending it again.

use std::time::Duration;

/// Whether to send a request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The receiver will refuse it again.
    Never,
    /// Later; not before this time has passed, where the receiver named one.
    After(Option<Duration>),
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The address, a header or a certificate file cannot be used; files are read again before each request.
    Settings,
    /// No connection: name, network, TLS. Nothing was sent.
    Unreachable,
    /// Sent, at least in part, and not answered.
    Unanswered,
    /// Answered by something that is not OTLP.
    Garbled,
    /// Answered by a web page or a redirect: no receiver of OTLP is at this address.
    WrongAddress,
    /// Answered as OTLP is, but the answer cannot be read.
    Unreadable,
    /// The request is larger than the receiver takes.
    TooLarge,
    /// The receiver cannot take it now.
    Busy,
    /// The receiver takes no such request.
    Refused,
    /// The receiver does not know or not allow the client.
    Unauthorized,
    /// The receiver has no service for this signal.
    Unsupported,
}

/// A failure before it is known where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) failure: Failure,
    /// What is wrong; from outside only what was quoted.
    pub(super) reason: String,
    /// What to do about it; may be empty.
    pub(super) remedy: String,
    /// How long the receiver wants to be left alone; never zero.
    pub(super) delay: Option<Duration>,
    /// The receiver may have taken the request all the same.
    pub(super) may_have_arrived: bool,
    /// The part of the answer that could be read says that the request was taken.
    pub(super) confirmed: bool,
    /// The HTTP status of a refusal by which some receivers mean that they take no such signal.
    pub(super) doubt: Option<u16>,
}

impl Fault {
    pub(super) fn new(failure: Failure, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            failure,
            reason: reason.into(),
            remedy: remedy.into(),
            delay: None,
            may_have_arrived: matches!(
                failure,
                Failure::Unanswered | Failure::Garbled | Failure::Unreadable
            ),
            confirmed: false,
            doubt: None,
        }
    }

    pub(super) fn settings(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Failure::Settings, reason, remedy)
    }

    pub(super) fn unreachable(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Failure::Unreachable, reason, remedy)
    }

    pub(super) fn unanswered(reason: impl Into<String>) -> Self {
        Self::new(
            Failure::Unanswered,
            reason,
            "it is sent again; see the receiver's log",
        )
    }

    /// Of "what is wrong; what to do" about a file.
    pub(super) fn of_file(text: String) -> Self {
        match text.rsplit_once("; ") {
            Some((reason, remedy)) => Self::settings(reason, remedy),
            None => Self::settings(text, ""),
        }
    }

    /// What is wrong, and what to do about it.
    pub(super) fn text(&self) -> String {
        let separator = if self.remedy.is_empty() { "" } else { "; " };
        format!("{}{separator}{}", self.reason, self.remedy)
    }

    /// `confirmed`: what could be read says that the request was taken.
    pub(super) fn unreadable(reason: impl Into<String>, confirmed: bool) -> Self {
        Self {
            confirmed,
            ..Self::new(
                Failure::Unreadable,
                reason,
                "it is repeated once; check that an OTLP receiver listens there",
            )
        }
    }

    pub(super) fn garbled(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Failure::Garbled, reason, remedy)
    }
}

/// A request was not taken, or nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{endpoint}: {}", fault.text())]
pub struct SendError {
    endpoint: String,
    fault: Fault,
}

impl SendError {
    pub(super) fn new(endpoint: &str, fault: Fault) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            fault,
        }
    }

    /// What kind of failure it was.
    #[cfg(test)]
    pub fn failure(&self) -> Failure {
        self.fault.failure
    }

    /// Whether to send the request again.
    pub fn retry(&self) -> Retry {
        match self.fault.failure {
            Failure::Refused | Failure::Unauthorized | Failure::Unsupported | Failure::TooLarge => {
                Retry::Never
            }
            Failure::Settings
            | Failure::Unreachable
            | Failure::Unanswered
            | Failure::Garbled
            | Failure::WrongAddress
            | Failure::Unreadable
            | Failure::Busy => Retry::After(self.fault.delay),
        }
    }

    /// The receiver has no service for this signal: gRPC's UNIMPLEMENTED, HTTP's 404.
    pub fn is_unsupported(&self) -> bool {
        self.fault.failure == Failure::Unsupported
    }

    /// The receiver answered as OTLP is answered, and the answer cannot be read.
    pub fn is_unreadable(&self) -> bool {
        self.fault.failure == Failure::Unreadable
    }

    /// Of an answer that cannot be read: what could be read of it says that the request was taken.
    pub fn is_confirmed(&self) -> bool {
        self.fault.confirmed
    }

    /// The request is larger than the receiver takes: HTTP's 413, and what gRPC servers say instead.
    pub fn is_too_large(&self) -> bool {
        self.fault.failure == Failure::TooLarge
    }

    /// The HTTP status of a refusal by which some receivers mean that they take no such signal: 400, 405, 415, 501.
    pub fn doubt(&self) -> Option<u16> {
        self.fault.doubt
    }

    /// The receiver does not know or not allow the client; the message names what to set.
    pub fn is_unauthorized(&self) -> bool {
        self.fault.failure == Failure::Unauthorized
    }

    /// The request was sent, whole or in part, and nobody knows whether it was taken: sent again, it may be a
    /// duplicate.
    pub fn may_have_arrived(&self) -> bool {
        self.fault.may_have_arrived
    }
}
