//! Servers over HTTP/1.1 that answer as real ones do, one port for each answer: status, headers, body, and what becomes of
//! the connection. Plain sockets, so that it can also answer what no HTTP library would.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// A moment in which a client has read what was sent and has not sent the next request.
const MOMENT: Duration = Duration::from_millis(50);
/// Longer than a test.
const FOREVER: Duration = Duration::from_secs(600);

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// It stays.
    Stays,
    /// It is closed after each answer, which says so.
    Closes,
    /// It is closed after each answer without a word: the next request meets a closed connection.
    ClosesSilently,
    /// It is reset in place of an answer.
    Resets,
    /// It is reset in the middle of the body.
    ResetsInBody,
    /// It is reset a moment after each answer.
    ResetsWhenIdle,
    /// 408 comes a moment after each answer, without a request, and it is closed, as by a proxy that is tired of waiting.
    TimesOutWhenIdle,
    /// It stays, and no answer comes.
    HalfOpen,
    /// The first one falls silent behind its first answer, as when a firewall has forgotten it. Nothing that is sent there
    /// later arrives.
    Dies,
}

/// What a port answers to each request.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub connection: Connection,
    /// Requests that are longer than this get 413 in place of it.
    pub largest: Option<usize>,
}

impl Answer {
    /// This status, content type and body; the connection stays.
    pub fn new(status: u16, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut headers = Vec::new();
        if !media_type.is_empty() {
            headers.push(("content-type", media_type.to_owned()));
        }
        Self {
            status,
            headers,
            body: body.into(),
            connection: Connection::Stays,
            largest: None,
        }
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// With another end of the connection.
    #[must_use]
    pub fn ending(mut self, connection: Connection) -> Self {
        self.connection = connection;
        self
    }
}

/// Path and body of each request.
type Asked = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A port.
#[derive(Debug)]
pub struct Server {
    port: u16,
    asked: Asked,
}

impl Server {
    /// Listens until the test's process ends.
    pub fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let asked = Asked::default();
        let kept = Arc::clone(&asked);
        thread::spawn(move || {
            for (index, stream) in listener.incoming().flatten().enumerate() {
                let (answer, kept) = (answer.clone(), Arc::clone(&kept));
                // A client that goes away ends the conversation.
                thread::spawn(move || converse(stream, &answer, index, &kept).unwrap_or_default());
            }
        });
        Self { port, asked }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How often each request with metrics came.
    pub fn attempts(&self) -> Vec<usize> {
        let asked = self.asked.lock().expect("no panics");
        let mut counts = BTreeMap::<&[u8], usize>::new();
        for (_, body) in asked.iter().filter(|(path, _)| path.ends_with("/v1/metrics")) {
            *counts.entry(body).or_default() += 1;
        }
        counts.into_values().collect()
    }
}

/// Serves the port's connection number `index`.
fn converse(stream: TcpStream, answer: &Answer, index: usize, asked: &Asked) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut head = Vec::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            head.push(line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let path = head[0].split(' ').nth(1).unwrap_or_default().to_owned();
        asked.lock().expect("no panics").push((path, body));
        let status = match answer.largest {
            Some(largest) if length > largest => 413,
            _ => answer.status,
        };
        match answer.connection {
            Connection::HalfOpen => thread::sleep(FOREVER),
            Connection::Resets => return reset(&writer),
            _ => {}
        }
        let closes = answer.connection == Connection::Closes;
        let mut text = format!("HTTP/1.1 {status} x\r\n");
        for (name, value) in &answer.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if status != 204 {
            text += &format!("content-length: {}\r\n", answer.body.len());
        }
        text += if closes {
            "connection: close\r\n\r\n"
        } else {
            "\r\n"
        };
        writer.write_all(text.as_bytes())?;
        if answer.connection == Connection::ResetsInBody {
            writer.write_all(&answer.body[..answer.body.len() / 2])?;
            thread::sleep(MOMENT);
            return reset(&writer);
        }
        writer.write_all(&answer.body)?;
        match answer.connection {
            Connection::Closes | Connection::ClosesSilently => return Ok(()),
            Connection::ResetsWhenIdle => {
                thread::sleep(MOMENT);
                return reset(&writer);
            }
            Connection::TimesOutWhenIdle => {
                thread::sleep(MOMENT);
                return writer.write_all(b"HTTP/1.1 408 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
            Connection::Dies if index == 0 => thread::sleep(FOREVER),
            _ => {}
        }
    }
}

/// The connection ends with a reset (tcp(7): a linger time of zero).
pub(crate) fn reset(stream: &TcpStream) -> std::io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let size = libc::socklen_t::try_from(size_of_val(&linger)).expect("a few bytes");
    // SAFETY: the descriptor is that of an open stream, and `linger` is valid for its size.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size,
        )
    };
    assert_eq!(result, 0, "setsockopt");
    stream.shutdown(std::net::Shutdown::Read)
}
