//! A scripted OTLP receiver in the test's own process, over gRPC and HTTP on one port: it misbehaves as told, can be
//! killed and started again on its port, and keeps what arrived and when.
//!
//! It shares no code with [`crate::receiver`]: both transports are plain HTTP here, so that it can also answer what
//! no sane server answers. A request that it cannot decode fails the test that asks for what arrived.

mod answer;
mod request;
mod serve;
mod tls;

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

pub use self::request::{Arrival, Message, Signal, Transport};
use crate::{
    certificates::{Authority, Identity},
    logs::{self, Log},
    points::{self, Point},
    scratch,
    spans::{self, Span},
    wait,
};

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behaviour {
    /// It is taken and acknowledged.
    Accept,
    /// It is taken, and the connection reset before the acknowledgement: that one is lost.
    LoseAcknowledgement,
    /// It is read and never answered.
    Hang,
    /// The connection is reset.
    Reset,
    /// UNAVAILABLE with `RetryInfo`, or 429 with `Retry-After`: come back in so many seconds.
    Later(u64),
    /// UNAVAILABLE or 503 without a word about when.
    Unavailable,
    /// `INVALID_ARGUMENT`, or 400.
    Invalid,
    /// UNAUTHENTICATED, or 401.
    Unauthenticated,
    /// Taken but for so many of its items.
    Partial(i64),
    /// Acknowledged with a message that is none.
    Garbage,
    /// The connection speaks something else altogether.
    Noise,
    /// UNIMPLEMENTED, or 404: what a server answers that does not know the signal.
    Unknown,
}

impl Behaviour {
    /// Whether the receiver keeps what was sent.
    pub fn takes(self) -> bool {
        matches!(
            self,
            Self::Accept | Self::LoseAcknowledgement | Self::Partial(_) | Self::Garbage
        )
    }
}

/// What the server and the test share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// What its connections begin with, if not in cleartext.
    tls: Option<TlsAcceptor>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("state", &self.state).finish()
    }
}

#[derive(Debug)]
struct State {
    /// For the next requests with metrics, one each.
    queue: VecDeque<Behaviour>,
    /// For every request beyond.
    then: Behaviour,
    /// Signals that it does not know.
    without: BTreeSet<Signal>,
    arrivals: Vec<Arrival>,
    connections: usize,
    /// Connections that ended before TLS was agreed on.
    refused: usize,
    /// When it was killed.
    stops: Vec<Instant>,
    /// What was wrong with requests.
    faults: Vec<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            then: Behaviour::Accept,
            without: BTreeSet::new(),
            arrivals: Vec::new(),
            connections: 0,
            refused: 0,
            stops: Vec::new(),
            faults: Vec::new(),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }
}

/// The receiver; killed when dropped.
#[derive(Debug)]
pub struct Fake {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: Option<Serving>,
}

#[derive(Debug)]
struct Serving {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Fake {
    /// One that accepts everything, until it is told otherwise.
    pub fn start() -> Self {
        Self::launch(None)
    }

    /// One that speaks TLS: it shows `server`, and lets in only clients of that authority where one is given.
    pub fn start_tls(server: &Identity, clients: Option<&Authority>) -> Self {
        Self::launch(Some(tls::acceptor(server, clients)))
    }

    fn launch(tls: Option<TlsAcceptor>) -> Self {
        let listener = bind_steadily();
        let address = listener.local_addr().expect("bound");
        let state = Mutex::default();
        let mut fake = Self {
            address,
            shared: Arc::new(Shared { state, tls }),
            serving: None,
        };
        fake.serve(listener);
        fake
    }

    /// One that does not know these signals.
    pub fn start_without(signals: &[Signal]) -> Self {
        let fake = Self::start();
        fake.shared.lock().without.extend(signals);
        fake
    }

    fn serve(&mut self, listener: TcpListener) {
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::spawn(move || serve::run(listener, shared, stopped));
        self.serving = Some(Serving { stop, thread });
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its address, as an endpoint.
    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    /// What becomes of the next requests with metrics, one each; after them everything as before.
    pub fn play(&self, behaviours: &[Behaviour]) {
        self.shared.lock().queue.extend(behaviours);
    }

    /// What becomes of every request from now on, of any signal.
    pub fn always(&self, behaviour: Behaviour) {
        let mut state = self.shared.lock();
        state.queue.clear();
        state.then = behaviour;
    }

    /// Kills it: its port closed, every connection gone, whatever was going on.
    pub fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            self.shared.lock().stops.push(Instant::now());
            let _ = serving.stop.send(());
            serving.thread.join().expect("the fake does not panic");
        }
    }

    /// When it was killed so far.
    pub fn stops(&self) -> Vec<Instant> {
        self.shared.lock().stops.clone()
    }

    /// Starts it again on its port; what arrived before is kept.
    pub fn restart(&mut self) {
        assert!(self.serving.is_none(), "it runs");
        let listener = wait::until("the fake's port to be free", wait::SOON, || {
            TcpListener::bind(self.address).ok()
        });
        self.serve(listener);
    }

    /// Every request so far, in order of arrival.
    pub fn arrivals(&self) -> Vec<Arrival> {
        let state = self.shared.lock();
        assert!(state.faults.is_empty(), "not OTLP: {:?}", state.faults);
        state.arrivals.clone()
    }

    /// How many requests so far met this behaviour.
    pub fn met(&self, behaviour: Behaviour) -> usize {
        let arrivals = &self.shared.lock().arrivals;
        arrivals
            .iter()
            .filter(|arrival| arrival.behaviour == behaviour)
            .count()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Connections so far that ended before TLS was agreed on.
    pub fn refused(&self) -> usize {
        self.shared.lock().refused
    }

    /// Every data point that was taken so far, in order of arrival.
    pub fn points(&self) -> Vec<Point> {
        let arrivals = self.arrivals();
        let taken = arrivals.iter().filter(|arrival| arrival.taken());
        taken.flat_map(Arrival::points).collect()
    }

    /// Every log record that was taken so far, in order of arrival.
    pub fn logs(&self) -> Vec<Log> {
        let arrivals = self.arrivals();
        let of_logs = arrivals
            .iter()
            .filter(|arrival| arrival.taken())
            .filter_map(|arrival| match &arrival.message {
                Message::Logs(request) => Some(logs::flatten(request)),
                _ => None,
            });
        of_logs.flatten().collect()
    }

    /// Every span that was taken so far, in order of arrival.
    pub fn spans(&self) -> Vec<Span> {
        let arrivals = self.arrivals();
        let of_spans = arrivals
            .iter()
            .filter(|arrival| arrival.taken())
            .filter_map(|arrival| match &arrival.message {
                Message::Traces(request) => Some(spans::flatten(request)),
                _ => None,
            });
        of_spans.flatten().collect()
    }

    /// Waits until what arrived satisfies `condition` and returns what it found.
    pub fn wait_for<T>(&self, what: &str, limit: Duration, condition: impl Fn(&[Arrival]) -> Option<T>) -> T {
        let mut seen = usize::MAX;
        wait::until(what, limit, || {
            let now = self.shared.lock().arrivals.len();
            if std::mem::replace(&mut seen, now) == now {
                return None;
            }
            condition(&self.arrivals())
        })
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.take() {
            let _ = serving.stop.send(());
            let _ = serving.thread.join();
        }
    }
}

impl Arrival {
    /// Its data points, if it holds any.
    pub fn points(&self) -> Vec<Point> {
        match &self.message {
            Message::Metrics(request) => points::flatten(request),
            _ => Vec::new(),
        }
    }

    /// Whether the receiver kept it.
    pub fn taken(&self) -> bool {
        self.behaviour.takes()
    }
}

/// A port that stays free while the fake is killed: below those that the kernel gives to clients (ip(7),
/// `ip_local_port_range`). One of those could even connect to itself.
fn bind_steadily() -> TcpListener {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 10_000;
    let seed = scratch::unique().bytes().fold(0_u16, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u16::from(byte))
    });
    (0..COUNT)
        .map(|step| FIRST + (seed % COUNT + step) % COUNT)
        .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
        .expect("a free port")
}

/// When something arrived.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub instant: Instant,
    /// Unix nanoseconds.
    pub time: u64,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        Self {
            instant: Instant::now(),
            time: wait::unix_now(),
        }
    }
}
