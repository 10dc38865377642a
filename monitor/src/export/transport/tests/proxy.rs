//! Proxies and Unix sockets on the way to a receiver.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};

use super::{
    Folder, body,
    certificates::Authority,
    failed, plain,
    servers::{Receiver, Reply, grpc_reply, on_socket, reply, tcp},
};
use crate::export::transport::{
    Failure, Proxy, Retry, Transport,
    connection::{Connection, Protocol, Signal, TlsFiles},
};

/// What the proxies of these tests ask for: user and password.
const PASS: &str = "Basic dTpw";

fn taken(is_grpc: bool) -> Reply {
    if is_grpc {
        grpc_reply(&[0; 5][..], &[("grpc-status", "0")])
    } else {
        reply(200, &[], "")
    }
}

/// A proxy that connects to `to`, whatever is asked for, and keeps what was asked.
async fn tunnels(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&heads);
    let address = tcp(move |mut stream| {
        let kept = Arc::clone(&kept);
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let is_known = head.contains(PASS);
            kept.lock().unwrap().push(head);
            if !is_known {
                let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
                let _ = stream.write_all(answer).await;
                return;
            }
            let mut other = TcpStream::connect(to).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                .await
                .unwrap();
            let _ = copy_bidirectional(&mut stream, &mut other).await;
        }
    })
    .await;
    (address, heads)
}

fn through(proxy: SocketAddr, mut connection: Connection, pass: Option<&str>) -> Transport {
    connection.proxy = Some(Proxy {
        host: proxy.ip().to_string(),
        port: proxy.port(),
        authorization: pass.map(SecretString::from),
    });
    Transport::new(connection, Signal::Metrics)
}

#[tokio::test]
async fn grpc_and_https_go_through_a_tunnel() {
    let authority = Authority::new("right");
    let server = authority.identity("receiver.test", 2090);
    let folder = Folder::new();
    let tls = TlsFiles {
        ca: Some(folder.write("ca.pem", authority.pem())),
        ..TlsFiles::default()
    };
    for (protocol, is_tls) in [
        (Protocol::Grpc, false),
        (Protocol::Grpc, true),
        (Protocol::HttpProtobuf, true),
    ] {
        let is_grpc = protocol == Protocol::Grpc;
        let config = is_tls.then(|| server.server(None, &["h2", "http/1.1"]));
        let receiver = Receiver::start(is_grpc, config, move |_| taken(is_grpc)).await;
        let (proxy, heads) = tunnels(receiver.address).await;
        let scheme = if is_tls { "https" } else { "http" };
        let mut connection = plain(format!("{scheme}://receiver.test:4317"), protocol);
        connection.tls = is_tls.then(|| tls.clone());
        let mut transport = through(proxy, connection.clone(), Some(PASS));
        for _ in 0..2 {
            transport.send(body(3)).await.unwrap();
        }
        assert_eq!(receiver.received().len(), 2, "{protocol:?}");
        let heads = heads.lock().unwrap().clone();
        assert_eq!(heads.len(), 1, "one tunnel for both");
        let expected = "CONNECT receiver.test:4317 HTTP/1.1\r\nHost: receiver.test:4317\r\n";
        assert!(heads[0].starts_with(expected), "{}", heads[0]);
        assert!(
            receiver
                .received()
                .iter()
                .all(|of| of.header("proxy-authorization").is_none()),
            "the receiver does not get the password"
        );

        let error = failed(
            through(proxy, connection, None).send(body(3)).await,
            &[
                "the proxy 127.0.0.1, port",
                "does not know the client (407)",
                "HTTPS_PROXY",
            ],
        );
        assert_eq!(
            (error.failure(), error.retry()),
            (Failure::Unreachable, Retry::After(None))
        );
    }
}

#[tokio::test]
async fn plain_http_is_forwarded_by_the_proxy() {
    let proxy = Receiver::start(false, None, |received| {
        if received.header("proxy-authorization") == Some(PASS) {
            taken(false)
        } else {
            reply(407, &[], "")
        }
    })
    .await;
    let connection = plain("http://receiver.test:4318/v1/metrics", Protocol::HttpProtobuf);
    through(proxy.address, connection.clone(), Some(PASS))
        .send(body(3))
        .await
        .unwrap();
    let received = &proxy.received()[0];
    assert_eq!(received.header("host"), Some("receiver.test:4318"));
    assert_eq!(received.path, "/v1/metrics");
    let error = failed(
        through(proxy.address, connection, None).send(body(3)).await,
        &["407", "user and password"],
    );
    assert_eq!(error.retry(), Retry::After(None), "it is kept");
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_not_there_is_named() {
    let refusing = tcp(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
    })
    .await;
    let noisy = tcp(|mut stream| async move {
        let _ = stream.write_all(b"220 smtp\r\n\r\n").await;
    })
    .await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for (proxy, words) in [
        (
            refusing,
            [
                "does not connect to receiver.test:4317: HTTP/1.1 403 Forbidden",
                "NO_PROXY",
            ],
        ),
        (noisy, ["does not speak HTTP", "HTTP_PROXY"]),
        (nobody, ["the proxy cannot be reached", "refused"]),
    ] {
        let connection = plain("http://receiver.test:4317", Protocol::Grpc);
        let error = failed(through(proxy, connection, None).send(body(1)).await, &words);
        assert!(!error.may_have_arrived(), "{error}");
    }
}

#[tokio::test]
async fn a_unix_socket_takes_both_protocols() {
    let folder = Folder::new();
    for (protocol, path) in [
        (
            Protocol::Grpc,
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        ),
        (Protocol::HttpProtobuf, "/v1/metrics"),
    ] {
        let is_grpc = protocol == Protocol::Grpc;
        let socket = folder.0.join(format!("{is_grpc}.sock"));
        let url = format!("unix://{}", socket.display());
        let mut transport = Transport::new(plain(url.clone(), protocol), Signal::Metrics);
        let error = failed(
            transport.send(body(1)).await,
            &[&url, "no connection to the socket"],
        );
        assert_eq!(error.failure(), Failure::Unreachable);
        let received = on_socket(&socket, is_grpc, move |_| taken(is_grpc));
        transport.send(body(2)).await.unwrap();
        transport.send(body(2)).await.unwrap();
        let received = received.lock().unwrap();
        assert_eq!(received.len(), 2);
        assert_eq!(received[0].path, path);
    }
}
