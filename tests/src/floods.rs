//! Receivers that never stop: raw servers over HTTP/1.1 and HTTP/2 that send the same bytes over and over, within the protocol or
//! nearly so. HTTP/2 frames are those of RFC 9113, section 6.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// Written at a time.
const BURST: usize = 64 << 10;

/// What a receiver does with each connection.
#[derive(Debug, Clone)]
pub struct Flood {
    /// Its name in the configuration.
    pub name: &'static str,
    /// `grpc` or `http/protobuf`.
    pub protocol: &'static str,
    /// Sent once, behind the request.
    start: Vec<u8>,
    /// Sent again and again.
    over: Vec<u8>,
    /// The connection is idle meanwhile: its first request is answered before.
    after_answers: bool,
}

/// A frame of HTTP/2: type, flags, stream, payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `:status: 200` and gRPC's content type, in HPACK (RFC 7541, appendix A).
fn headers() -> Vec<u8> {
    let mut block = vec![0x88, 0x5f, 16];
    block.extend(b"application/grpc");
    block
}

fn http2(name: &'static str, start: Vec<u8>, over: Vec<u8>) -> Flood {
    Flood {
        name,
        protocol: "grpc",
        start: [frame(4, 0, 0, &[]), start].concat(),
        over,
        after_answers: false,
    }
}

fn http1(name: &'static str, start: &str, over: &str) -> Flood {
    Flood {
        name,
        protocol: "http/protobuf",
        start: start.into(),
        over: over.into(),
        after_answers: false,
    }
}

/// Every way.
pub fn all() -> Vec<Flood> {
    let answer = || frame(1, 4, 1, &headers());
    let status = [0x00, 11].into_iter().chain(*b"grpc-status").chain([1, b'0']);
    let whole = [
        answer(),
        frame(0, 0, 1, &[0; 5]),
        frame(1, 5, 1, &status.collect::<Vec<u8>>()),
    ];
    let window_of_one = frame(4, 0, 0, &[0, 4, 0, 0, 0, 1]);
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut idle = http2("ping_idle", whole.concat(), frame(6, 0, 0, &[7; 8]));
    idle.after_answers = true;
    vec![
        http2("ping", vec![], frame(6, 0, 0, &[7; 8])),
        http2("pong", vec![], frame(6, 1, 0, &[7; 8])),
        http2("settings", vec![], frame(4, 0, 0, &[])),
        http2(
            "settings_long",
            vec![],
            frame(4, 0, 0, &[0, 3, 0, 0, 0, 9].repeat(80)),
        ),
        http2("data_empty", answer(), frame(0, 0, 1, &[])),
        http2("data_of_one", answer(), frame(0, 0, 1, b"x")),
        http2("data_padded", answer(), frame(0, 8, 1, &[1, 0])),
        http2("headers", answer(), frame(1, 4, 1, &headers())),
        http2(
            "interim_frames",
            vec![],
            frame(1, 4, 1, &[8, 3, b'1', b'0', b'3']),
        ),
        http2("continuation", frame(1, 0, 1, &headers()), frame(9, 0, 1, &[])),
        http2("window", vec![], frame(8, 0, 0, &[0, 0, 0, 1])),
        http2("window_of_one", window_of_one, frame(8, 0, 1, &[0, 0, 0, 1])),
        http2("reset", vec![], frame(3, 0, 1, &[0, 0, 0, 8])),
        http2("priority", vec![], frame(2, 0, 1, &[0, 0, 0, 0, 1])),
        http2("unknown", vec![], frame(0xfa, 0, 0, &[])),
        idle,
        http1("interim", "", "HTTP/1.1 100 Continue\r\n\r\n"),
        http1(
            "interim_hints",
            "",
            "HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n",
        ),
        http1("header_lines", "HTTP/1.1 200 OK\r\n", "x: y\r\n"),
        http1("header_value", "HTTP/1.1 200 OK\r\nx: ", "y"),
        http1("chunk_extensions", &format!("{chunked}1;"), "x"),
        http1("chunks_of_one", chunked, "1\r\nx\r\n"),
        http1("chunks_extended", chunked, "1;x=y\r\nx\r\n"),
        http1("trailers", &format!("{chunked}0\r\n"), "x: y\r\n"),
        http1("body", "HTTP/1.1 200 OK\r\n\r\n", "x"),
    ]
}

impl Flood {
    /// The same by one byte a write, which is one packet each.
    #[must_use]
    pub fn by_bytes(mut self, name: &'static str) -> Self {
        self.name = name;
        self.over.truncate(1);
        self
    }
}

/// A receiver that floods.
#[derive(Debug)]
pub struct Flooding {
    port: u16,
    connections: Arc<AtomicU64>,
}

impl Flooding {
    /// Listens until the test's process ends.
    pub fn start(flood: Flood) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let connections = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::Relaxed);
                // A client that goes away ends it.
                serve(stream, &flood).unwrap_or_default();
            }
        });
        Self { port, connections }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

fn serve(mut stream: TcpStream, flood: &Flood) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    // A request, or its beginning; the rest is thrown away.
    let mut buffer = [0; 4_096];
    let mut from = stream.try_clone()?;
    let _ = from.read(&mut buffer)?;
    // Long enough for the rest: frames of a stream that is not open yet are a fault.
    thread::sleep(Duration::from_millis(100));
    stream.write_all(&flood.start)?;
    if flood.after_answers {
        thread::sleep(Duration::from_millis(100));
    }
    thread::spawn(move || while matches!(from.read(&mut buffer), Ok(1..)) {});
    if flood.over.len() == 1 && flood.start.is_empty() || flood.name.ends_with("_bytes") {
        loop {
            stream.write_all(&flood.over)?;
        }
    }
    let burst = flood.over.repeat(BURST / flood.over.len());
    loop {
        stream.write_all(&burst)?;
    }
}
