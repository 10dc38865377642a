//! Receivers that are away, silent, or break off.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::{body, failed, over_grpc, over_http, plain, servers::tcp};
use crate::export::transport::{
    Failure, Retry, SendError, Transport,
    connection::{Protocol, Signal},
};

const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

fn transport(address: std::net::SocketAddr, protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Grpc => over_grpc(address),
        Protocol::HttpProtobuf => over_http(address),
    }
}

fn impatient(address: std::net::SocketAddr, protocol: Protocol) -> Transport {
    let mut connection = plain(format!("http://{address}"), protocol);
    connection.timeout = Duration::from_millis(300);
    Transport::new(connection, Signal::Metrics)
}

#[track_caller]
fn check(error: &SendError, failure: Failure, may_have_arrived: bool) {
    assert_eq!(error.failure(), failure, "{error}");
    assert_eq!(error.may_have_arrived(), may_have_arrived, "{error}");
    assert_eq!(error.retry(), Retry::After(None), "{error}");
}

/// Closing a socket with unread data, or lingering for no time, resets the connection.
fn reset(stream: TcpStream) {
    let stream = stream.into_std().unwrap();
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for protocol in BOTH {
        let port = format!("port {}", address.port());
        let error = failed(
            transport(address, protocol).send(body(1)).await,
            &[
                "no connection to 127.0.0.1",
                &port,
                "refused",
                "; check host and port",
            ],
        );
        check(&error, Failure::Unreachable, false);
    }
}

#[tokio::test]
async fn a_name_without_an_address() {
    for protocol in BOTH {
        let connection = plain("http://no-such-host.invalid:4317", protocol);
        let error = failed(
            Transport::new(connection, Signal::Logs).send(body(1)).await,
            &[
                "no address found for the host no-such-host.invalid",
                "check the name",
            ],
        );
        check(&error, Failure::Unreachable, false);
    }
}

#[tokio::test]
async fn a_name_with_several_addresses_is_tried_at_each() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut connection = plain(format!("http://localhost:{port}"), Protocol::HttpProtobuf);
    connection.timeout = Duration::from_millis(300);
    let error = failed(
        Transport::new(connection, Signal::Logs).send(body(1)).await,
        &["no answer within"],
    );
    check(&error, Failure::Unanswered, true);
}

#[tokio::test]
async fn a_receiver_that_never_answers_is_given_up_in_time() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let address = tcp(move |mut stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            let mut buffer = [0; 1024];
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        }
    })
    .await;
    for protocol in BOTH {
        let mut transport = impatient(address, protocol);
        let begin = Instant::now();
        let error = failed(transport.send(body(1)).await, &["no answer within 300ms"]);
        check(&error, Failure::Unanswered, true);
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        let before = connections.load(Ordering::Relaxed);
        failed(transport.send(body(1)).await, &["no answer within 300ms"]);
        assert_eq!(
            connections.load(Ordering::Relaxed),
            before + 1,
            "a silent connection is given up"
        );
    }
}

#[tokio::test]
async fn a_receiver_that_does_not_read_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for protocol in BOTH {
        let large = vec![0; 16 << 20].into();
        let error = failed(
            impatient(address, protocol).send(large).await,
            &["no answer within 300ms"],
        );
        check(&error, Failure::Unanswered, true);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(tasks(), before, "nobody goes on sending to it");
    }
}

#[tokio::test]
async fn a_receiver_that_allows_no_request_is_given_up_in_time() {
    let address = tcp(|mut stream| async move {
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0];
        let max_concurrent_streams = [0, 3, 0, 0, 0, 0];
        let _ = stream
            .write_all(&[&settings[..], &max_concurrent_streams].concat())
            .await;
        let mut buffer = [0; 1024];
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let mut connection = plain(format!("http://{address}"), Protocol::Grpc);
    connection.timeout = Duration::from_millis(300);
    let mut transport = Transport::new(connection, Signal::Metrics);
    for _ in 0..2 {
        failed(transport.send(body(1)).await, &["no answer within 300ms"]);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(tasks(), before, "nobody waits for it any longer");
    }
}

#[tokio::test]
async fn a_receiver_that_does_not_accept_is_given_up_in_time() {
    // Two connections fill a backlog of one; the system then leaves the next unanswered.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    let address = listener.local_addr().unwrap();
    let _waiting = [
        TcpStream::connect(address).await,
        TcpStream::connect(address).await,
    ];
    for protocol in BOTH {
        let begin = Instant::now();
        let error = failed(
            impatient(address, protocol).send(body(1)).await,
            &["no connection to 127.0.0.1", "no answer within 300ms"],
        );
        check(&error, Failure::Unreachable, false);
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn a_receiver_that_resets() {
    let address = tcp(|stream| async move { reset(stream) }).await;
    for protocol in BOTH {
        let error = transport(address, protocol)
            .send(body(1))
            .await
            .expect_err("reset");
        assert_eq!(error.retry(), Retry::After(None), "{error}");
    }
    let address = tcp(|mut stream| async move {
        // All that gRPC says first is a preface; the request follows.
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("protobuf") && seen.len() < 100 {
            let _ = stream.read_buf(&mut seen).await;
        }
        reset(stream);
    })
    .await;
    for protocol in BOTH {
        let error = failed(
            transport(address, protocol).send(body(1)).await,
            &["connection was lost", "reset"],
        );
        check(&error, Failure::Unanswered, true);
    }
}

#[tokio::test]
async fn a_receiver_that_closes_without_a_word() {
    let address = tcp(|mut stream| async move {
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.shutdown().await;
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    for protocol in BOTH {
        let error = failed(
            transport(address, protocol).send(body(1)).await,
            &["closed the connection before"],
        );
        check(&error, Failure::Unanswered, true);
    }
}

#[tokio::test]
async fn a_receiver_that_breaks_off_in_its_answer() {
    let address = tcp(|mut stream| async move {
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        let half =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 100\r\n\r\nhalf";
        stream.write_all(half).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        reset(stream);
    })
    .await;
    let error = failed(over_http(address).send(body(1)).await, &["broke off", "reset"]);
    check(&error, Failure::Unreadable, true);
}

#[tokio::test]
async fn a_receiver_that_answers_slowly_for_ever() {
    let address = tcp(|mut stream| async move {
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n")
            .await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let sent = impatient(address, Protocol::HttpProtobuf).send(body(1)).await;
    let error = failed(sent, &["broke off: it did not end within 300ms"]);
    check(&error, Failure::Unreadable, true);
}

#[tokio::test]
async fn a_receiver_that_says_anything() {
    let address = tcp(|mut stream| async move {
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(&[0xa5; 4096]).await;
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    for protocol in BOTH {
        let error = failed(
            transport(address, protocol).send(body(1)).await,
            &["something that is not HTTP"],
        );
        check(&error, Failure::Garbled, true);
    }
}

#[tokio::test]
async fn a_refusal_before_all_was_sent_is_heard() {
    let address = tcp(|mut stream| async move {
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        let _ = stream
            .write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
            .await;
        reset(stream);
    })
    .await;
    for _ in 0..20 {
        let large = vec![0; 4 << 20].into();
        let error = failed(
            over_http(address).send(large).await,
            &["413 Payload Too Large: big"],
        );
        assert_eq!(error.retry(), Retry::Never);
    }
}

#[tokio::test]
async fn a_sending_that_is_dropped_ends_its_connection() {
    let (ended, mut ends) = mpsc::unbounded_channel();
    let address = tcp(move |mut stream| {
        let ended = ended.clone();
        async move {
            let mut buffer = [0; 1024];
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
            let _ = ended.send(());
        }
    })
    .await;
    for protocol in BOTH {
        let mut transport = transport(address, protocol);
        let sending = tokio::time::timeout(Duration::from_millis(100), transport.send(body(1))).await;
        assert!(sending.is_err(), "it was under way");
        let end = tokio::time::timeout(Duration::from_secs(5), ends.recv()).await;
        assert_eq!(end.expect("the connection ends"), Some(()), "{protocol:?}");
    }
}

#[tokio::test]
async fn an_unusable_address_is_an_error_of_sending() {
    for (url, words) in [
        ("nonsense", "neither http nor https"),
        ("http://user:secret@host:port", "its port is no port"),
    ] {
        let mut transport = Transport::new(plain(url, Protocol::Grpc), Signal::Logs);
        let error = failed(
            transport.send(body(1)).await,
            &[words, "write scheme://host:port"],
        );
        check(&error, Failure::Settings, false);
        let shown = format!("{error} {error:?} {transport:?} {}", transport.endpoint());
        assert!(!shown.contains("secret"), "{shown}");
    }
}

/// Whoever sends may do so in a task.
#[tokio::test]
async fn sending_can_be_spawned() {
    let address = tcp(|stream| async move { drop(stream) }).await;
    let sending = tokio::spawn(async move { over_http(address).send(body(1)).await.is_err() });
    assert!(sending.await.unwrap());
}
