//! Servers of gRPC over HTTP/2 in cleartext that end streams and connections as real ones do, one port for each way. They
//! write frames (RFC 9113) to plain sockets, so that they can also do what no HTTP library would.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::answers::reset;

/// Which requests something happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Often {
    Always,
    /// The first, the third, and so on of those that come to the port; the others are answered.
    EverySecond,
}

/// How a port ends streams and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Each request is answered, and the connection stays.
    Answers,
    /// The answer has a status and no message.
    AnswersWithoutMessage,
    /// Each answer is followed by a GOAWAY and a close, as by a server whose connections have an age.
    GoawayAfterAnswer,
    /// A GOAWAY comes first, which says that the request is still served, then the answer and a close.
    GoawayBeforeAnswer,
    /// In place of an answer, a GOAWAY says that the request was not processed (RFC 9113, section 6.8).
    GoawayUnprocessed(Often),
    /// In place of an answer, a GOAWAY says that the request may have been processed; the connection is closed.
    GoawayUnanswered,
    /// In place of an answer, the stream is refused: it was not processed (RFC 9113, section 8.7).
    Refuses(Often),
    /// In place of an answer, the stream is reset (`INTERNAL_ERROR`).
    ResetsStream,
    /// The stream is reset behind the answer's headers (`CANCEL`).
    ResetsStreamInAnswer,
    /// The stream is reset behind the whole answer (`NO_ERROR`; RFC 9113, section 8.1).
    ResetsStreamAfterAnswer,
    /// The connection is reset in place of an answer.
    Resets,
    /// The connection is reset a moment after each answer.
    ResetsWhenIdle,
    /// The connection is closed a moment after each answer, without a GOAWAY.
    ClosesWhenIdle,
    /// The connection stays, and no answer comes.
    HalfOpen,
    /// The first connection falls silent behind its first answer, as when a firewall has forgotten it. Nothing that is sent
    /// there later arrives.
    Dies,
}

/// A port.
#[derive(Debug)]
pub struct Server {
    port: u16,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Requests that came, of whichever end.
    requests: AtomicUsize,
    /// Bodies of the requests that the port has processed or may have.
    processed: Mutex<Vec<Vec<u8>>>,
    /// Connections that came.
    connections: AtomicUsize,
}

impl Server {
    /// Listens until the test's process ends.
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let seen = Arc::<Seen>::default();
        let kept = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                let index = kept.connections.fetch_add(1, Ordering::Relaxed);
                let conversation = Conversation {
                    stream,
                    manner,
                    index,
                    seen: kept,
                    bodies: BTreeMap::new(),
                };
                // A client that goes away ends the conversation.
                thread::spawn(move || conversation.run().unwrap_or_default());
            }
        });
        Self { port, seen }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How often each request was processed, as far as a client can know.
    pub fn attempts(&self) -> Vec<usize> {
        let processed = self.seen.processed.lock().expect("no panics");
        let mut counts = BTreeMap::<&[u8], usize>::new();
        for body in processed.iter() {
            *counts.entry(body).or_default() += 1;
        }
        counts.into_values().collect()
    }

    /// Requests that came, those that were not processed included.
    pub fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::Relaxed)
    }
}

// Types of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
// Flags.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
// Error codes (section 7).
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
/// The client's first bytes (section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// More than a test sends over one connection.
const WINDOW: u32 = 1 << 28;
/// A moment in which a client has read the answer and has not sent the next request.
const MOMENT: Duration = Duration::from_millis(50);
/// Longer than a test.
const FOREVER: Duration = Duration::from_secs(600);

struct Conversation {
    stream: TcpStream,
    manner: Manner,
    /// Which connection of the port it is.
    index: usize,
    seen: Arc<Seen>,
    /// What came of each request so far.
    bodies: BTreeMap<u32, Vec<u8>>,
}

/// Whether the conversation goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Goes,
    Ends,
}

impl Conversation {
    fn run(mut self) -> std::io::Result<()> {
        let mut preface = [0; PREFACE.len()];
        self.stream.read_exact(&mut preface)?;
        assert_eq!(preface, PREFACE, "the client speaks HTTP/2");
        // SETTINGS_INITIAL_WINDOW_SIZE (section 6.5.2).
        let window = [&[0, 4][..], &WINDOW.to_be_bytes()].concat();
        self.write(SETTINGS, 0, 0, &window)?;
        self.write(WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes())?;
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head)?;
            let [a, b, c, kind, flags, id @ ..] = head;
            let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
            self.stream.read_exact(&mut payload)?;
            let id = u32::from_be_bytes(id);
            match kind {
                SETTINGS if flags & ACK == 0 => self.write(SETTINGS, ACK, 0, &[])?,
                PING if flags & ACK == 0 => self.write(PING, ACK, 0, &payload)?,
                DATA => {
                    self.bodies.entry(id).or_default().extend(payload);
                    if flags & END_STREAM != 0 && self.request(id)? == Next::Ends {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }

    /// A request is there as a whole.
    fn request(&mut self, id: u32) -> std::io::Result<Next> {
        let body = self.bodies.remove(&id).unwrap_or_default();
        let count = self.seen.requests.fetch_add(1, Ordering::Relaxed);
        let happens = |often| often == Often::Always || count.is_multiple_of(2);
        let unprocessed = match self.manner {
            Manner::GoawayUnprocessed(often) if happens(often) => {
                self.goaway(id.saturating_sub(2), NO_ERROR)?;
                Some(self.close()?)
            }
            Manner::Refuses(often) if happens(often) => {
                self.write(RST_STREAM, 0, id, &REFUSED_STREAM.to_be_bytes())?;
                Some(Next::Goes)
            }
            _ => None,
        };
        if let Some(next) = unprocessed {
            return Ok(next);
        }
        self.seen.processed.lock().expect("no panics").push(body);
        self.end(id)
    }

    /// What becomes of a request that was processed.
    fn end(&mut self, id: u32) -> std::io::Result<Next> {
        match self.manner {
            Manner::Answers | Manner::GoawayUnprocessed(_) | Manner::Refuses(_) => self.answer(id)?,
            Manner::AnswersWithoutMessage => {
                let head = [response_head(), header("grpc-status", "0")].concat();
                self.write(HEADERS, END_HEADERS | END_STREAM, id, &head)?;
            }
            Manner::GoawayAfterAnswer => {
                self.answer(id)?;
                self.goaway(id, NO_ERROR)?;
                return self.close();
            }
            Manner::GoawayBeforeAnswer => {
                self.goaway(id, NO_ERROR)?;
                thread::sleep(MOMENT);
                self.answer(id)?;
                return self.close();
            }
            Manner::GoawayUnanswered => {
                self.goaway(id, NO_ERROR)?;
                return self.close();
            }
            Manner::ResetsStream => self.write(RST_STREAM, 0, id, &INTERNAL_ERROR.to_be_bytes())?,
            Manner::ResetsStreamInAnswer => {
                self.write(HEADERS, END_HEADERS, id, &response_head())?;
                self.write(RST_STREAM, 0, id, &CANCEL.to_be_bytes())?;
            }
            Manner::ResetsStreamAfterAnswer => {
                self.answer(id)?;
                self.write(RST_STREAM, 0, id, &NO_ERROR.to_be_bytes())?;
            }
            Manner::Resets => {
                reset(&self.stream)?;
                return Ok(Next::Ends);
            }
            Manner::ResetsWhenIdle => {
                self.answer(id)?;
                thread::sleep(MOMENT);
                reset(&self.stream)?;
                return Ok(Next::Ends);
            }
            Manner::ClosesWhenIdle => {
                self.answer(id)?;
                thread::sleep(MOMENT);
                return self.close();
            }
            Manner::HalfOpen => thread::sleep(FOREVER),
            Manner::Dies => {
                self.answer(id)?;
                if self.index == 0 {
                    thread::sleep(FOREVER);
                }
            }
        }
        Ok(Next::Goes)
    }

    /// Closes as servers do: what the client still sends is read, so that nothing that was sent to it is lost by a reset.
    fn close(&mut self) -> std::io::Result<Next> {
        self.stream.shutdown(Shutdown::Write)?;
        std::io::copy(&mut self.stream, &mut std::io::sink())?;
        Ok(Next::Ends)
    }

    /// A message of no length, and the status OK (gRPC over HTTP2, "Responses").
    fn answer(&mut self, id: u32) -> std::io::Result<()> {
        self.write(HEADERS, END_HEADERS, id, &response_head())?;
        self.write(DATA, 0, id, &[0; 5])?;
        self.write(HEADERS, END_HEADERS | END_STREAM, id, &header("grpc-status", "0"))
    }

    fn goaway(&mut self, last: u32, code: u32) -> std::io::Result<()> {
        let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
        self.write(GOAWAY, 0, 0, &payload)
    }

    fn write(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        let head = [&length[1..], &[kind, flags], &id.to_be_bytes()].concat();
        self.stream.write_all(&[&head, payload].concat())
    }
}

/// `:status: 200` (RFC 7541, appendix A, index 8) and gRPC's content type.
fn response_head() -> Vec<u8> {
    [&[0x88][..], &header("content-type", "application/grpc")].concat()
}

/// A header that is not put into the table (RFC 7541, section 6.2.2); name and value are short.
fn header(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).expect("a short text");
        [&[length], text.as_bytes()].concat()
    };
    [vec![0], text(name), text(value)].concat()
}
