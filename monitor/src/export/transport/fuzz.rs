//! Whatever a receiver answers, it is read within bounds, and what is said of it can be shown.

use std::{sync::atomic::AtomicBool, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncWriteExt, duplex};

use super::{
    Retry, SendError,
    answer::{Accepted, Answer, End},
    connection::{Connection, Protocol, Signal},
    dial::{Deadline, Peer},
    error::Fault,
    grpc, http as over_http,
    link::{Broken, Link},
    quote::Quote,
    request::Outgoing,
    socket::{Socket, Witness},
    target::Target,
};
use crate::shown;

/// What the configured header holds, and no message may.
const SECRET: &str = "fuzz-secret-token";
/// Longest message about an answer, bytes: one quotation, and what is said around it.
const LONGEST: usize = 2048;

/// Judges `input` as an answer: a byte that says which protocol and how the body ended, two of the status, headers up to an
/// empty line (those after `~` are trailers), and the body.
pub fn answer(input: &[u8]) {
    let Some(([mode, high, low], rest)) = input.split_first_chunk() else {
        return;
    };
    let code = 100 + u16::from_be_bytes([*high, *low]) % 900;
    let Ok(status) = StatusCode::from_u16(code) else {
        return;
    };
    let (head, body) = match rest.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => (&rest[..end], &rest[end + 2..]),
        None => (rest, &[][..]),
    };
    let (headers, trailers) = headers(head);
    let end = match mode >> 1 & 3 {
        0 => End::Whole,
        1 => End::Cut,
        2 => End::TooLong,
        _ => End::Broken("the connection was lost".to_owned()),
    };
    let answer = Answer {
        status,
        headers,
        body: Bytes::copy_from_slice(body),
        trailers: (!trailers.is_empty()).then_some(trailers),
        end,
    };
    let protocol = match mode & 1 {
        0 => Protocol::Grpc,
        _ => Protocol::HttpProtobuf,
    };
    check(judge(&answer, protocol));
}

fn headers(head: &[u8]) -> (HeaderMap, HeaderMap) {
    let (mut headers, mut trailers) = (HeaderMap::new(), HeaderMap::new());
    for line in head.split(|byte| *byte == b'\n') {
        let (map, line) = match line.strip_prefix(b"~") {
            Some(line) => (&mut trailers, line),
            None => (&mut headers, line),
        };
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    (headers, trailers)
}

fn judge(answer: &Answer, protocol: Protocol) -> Result<Accepted, Fault> {
    let mut own = HeaderMap::new();
    own.insert("authorization", HeaderValue::from_static(SECRET));
    let quote = Quote::without(&own);
    match protocol {
        Protocol::Grpc => grpc::judge(answer, &quote),
        Protocol::HttpProtobuf => over_http::judge(answer, &quote),
    }
}

/// What holds of every judgement.
fn check(judged: Result<Accepted, Fault>) {
    let text = match judged {
        Ok(accepted) => {
            assert!(i64::try_from(accepted.rejected).is_ok(), "{accepted:?}");
            assert!(!accepted.unread || accepted.rejected == 0, "{accepted:?}");
            accepted.remark
        }
        Err(fault) => {
            assert!(!fault.reason.is_empty(), "{fault:?}");
            let error = SendError::new("http://receiver:4317", fault);
            if let Retry::After(Some(delay)) = error.retry() {
                assert!(
                    !delay.is_zero() && delay <= Duration::from_secs(86_400),
                    "{delay:?}"
                );
            }
            let is_final = error.is_unsupported() || error.is_too_large() || error.is_unauthorized();
            assert!(!is_final || error.retry() == Retry::Never, "{error:?}");
            assert!(!error.is_confirmed() || error.is_unreadable(), "{error:?}");
            error.to_string()
        }
    };
    assert!(text.len() <= LONGEST, "{} bytes: {text}", text.len());
    assert!(!text.contains(SECRET), "a secret is shown: {text}");
    assert!(!text.chars().any(shown::is_unsafe), "{text:?}");
}

/// Sends a request over a stream from which `input` comes, and then its end. The first byte says which protocol is spoken, and in
/// how many pieces the input comes.
pub fn connection(input: &[u8]) {
    let Some((mode, bytes)) = input.split_first() else {
        return;
    };
    let protocol = match mode & 1 {
        0 => Protocol::Grpc,
        _ => Protocol::HttpProtobuf,
    };
    let piece = (bytes.len() >> (mode >> 1 & 3)).max(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let Ok(runtime) = runtime else {
        return; // out of descriptors: nothing can be said
    };
    check(runtime.block_on(exchange(protocol, bytes, piece)));
}

async fn exchange(protocol: Protocol, bytes: &[u8], piece: usize) -> Result<Accepted, Fault> {
    /// More than a client sends in answer to any input.
    const ROOM: usize = 8 << 20;
    let connection = Connection {
        url: "http://receiver:4317".to_owned(),
        protocol,
        gzip: false,
        headers: Vec::new(),
        tls: None,
        timeout: Duration::from_secs(60),
        proxy: None,
    };
    let target = Target::new(&connection, Signal::Metrics)?;
    let deadline = Deadline::new(connection.timeout);
    let lacks_certificate = AtomicBool::new(false);
    let peer = Peer {
        target: &target,
        connection: &connection,
        lacks_certificate: &lacks_certificate,
    };
    let (near, mut far) = duplex(ROOM);
    let receiver = async {
        for piece in bytes.chunks(piece) {
            // The client may have given up.
            if far.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        let _ = far.shutdown().await;
    };
    let client = async {
        let witness = Witness::default();
        let socket = Socket::new(near, witness.clone());
        let mut link = Link::over(socket, witness, protocol == Protocol::Grpc, deadline).await?;
        let (headers, body) = (HeaderMap::new(), Bytes::from_static(b"\x0a\x00"));
        let outgoing = Outgoing::new(&target, &connection, &headers, body, deadline.remaining()).await?;
        match link.exchange(&outgoing, peer, deadline).await {
            Ok(answer) => {
                assert!(answer.body.len() <= 1 << 20, "{} bytes", answer.body.len());
                judge(&answer, protocol)
            }
            Err(Broken::Unsent(fault)) => {
                assert!(!fault.may_have_arrived, "{fault:?}");
                Err(fault)
            }
            Err(Broken::Lost(fault)) => Err(fault),
        }
    };
    tokio::join!(client, receiver).0
}
