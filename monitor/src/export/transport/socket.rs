//! The byte stream under a connection, and what it saw of the receiver.
//!
//! A receiver that refuses a client's certificate or an upload says so and closes; the write that follows fails
//! first, and the HTTP library reports that. So a failed write is noted and otherwise passed over: what the receiver
//! said before is still there to be read, or the end is.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::flood::Allowance;

/// How many bytes of the receiver's first answer are kept: enough to tell which protocol it speaks.
const FIRST: usize = 9;

/// Why a stream ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ending {
    /// The receiver closed it.
    Closed,
    /// The network, in the system's words.
    Io(String),
    /// TLS: an alert from the receiver, or what it said is no TLS.
    Tls(rustls::Error),
    /// It sent far more than its answer takes.
    Flood,
}

impl Ending {
    pub(super) fn of(error: &io::Error) -> Self {
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match (tls, error.kind()) {
            (Some(tls), _) => Self::Tls(tls.clone()),
            (None, io::ErrorKind::UnexpectedEof) => Self::Closed,
            (None, _) => Self::Io(error.to_string()),
        }
    }
}

/// What was seen of the receiver.
#[derive(Debug)]
pub(super) struct Sight {
    /// Its first bytes, inside TLS.
    pub(super) first: Vec<u8>,
    /// Why no more is to be had of it.
    pub(super) ending: Option<Ending>,
    /// What it may still do.
    pub(super) allowance: Allowance,
}

impl Default for Sight {
    fn default() -> Self {
        Self {
            first: Vec::new(),
            ending: None,
            allowance: Allowance::new(Instant::now()),
        }
    }
}

impl Sight {
    /// What TLS says explains what follows it, an error explains a mere end.
    pub(super) fn note(&mut self, ending: Ending) {
        let rank = |ending: &Ending| match ending {
            Ending::Closed => 0,
            Ending::Io(_) => 1,
            Ending::Tls(_) => 2,
            Ending::Flood => 3,
        };
        if self
            .ending
            .as_ref()
            .is_none_or(|known| rank(known) < rank(&ending))
        {
            self.ending = Some(ending);
        }
    }
}

/// Shared between a stream and who asks why it ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Witness(Arc<Mutex<Sight>>);

impl Witness {
    pub(super) fn sight(&self) -> MutexGuard<'_, Sight> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// TCP, or TLS over it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// A stream whose end is noted.
pub(super) struct Socket {
    stream: Pin<Box<dyn Stream>>,
    witness: Witness,
    /// Nothing can be written any more.
    is_deaf: bool,
}

impl Socket {
    pub(super) fn new(stream: impl Stream + 'static, witness: Witness) -> Self {
        Self {
            stream: Box::pin(stream),
            witness,
            is_deaf: false,
        }
    }

    /// What is sent is acknowledged.
    fn credit(&self, sent: &io::Result<usize>) {
        if let Ok(length) = sent {
            self.witness.sight().allowance.sent(*length);
        }
    }

    /// A failed write counts as done.
    fn pass_over<T>(&mut self, result: io::Result<T>, done: T) -> io::Result<T> {
        result.or_else(|error| {
            self.is_deaf = true;
            self.witness.sight().note(Ending::of(&error));
            Ok(done)
        })
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let mut result = ready!(self.stream.as_mut().poll_read(cx, buffer));
        let mut sight = self.witness.sight();
        match &result {
            Ok(()) => {
                let read = buffer.filled().get(before..).unwrap_or_default();
                if read.is_empty() {
                    sight.note(Ending::Closed);
                }
                let missing = FIRST.saturating_sub(sight.first.len());
                sight.first.extend(read.iter().take(missing));
                if sight.allowance.received(read, Instant::now()).is_err() {
                    sight.note(Ending::Flood);
                    result = Err(io::Error::other("the receiver floods the connection"));
                }
            }
            Err(error) => sight.note(Ending::of(error)),
        }
        drop(sight);
        Poll::Ready(result)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = ready!(self.stream.as_mut().poll_write(cx, bytes));
        self.credit(&result);
        Poll::Ready(self.pass_over(result, bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = slices.iter().map(|slice| slice.len()).sum();
        if self.is_deaf {
            return Poll::Ready(Ok(all));
        }
        let result = ready!(self.stream.as_mut().poll_write_vectored(cx, slices));
        self.credit(&result);
        Poll::Ready(self.pass_over(result, all))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_deaf {
            return Poll::Ready(Ok(()));
        }
        let result = ready!(self.stream.as_mut().poll_flush(cx));
        Poll::Ready(self.pass_over(result, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_deaf {
            return Poll::Ready(Ok(()));
        }
        self.stream.as_mut().poll_shutdown(cx)
    }
}
