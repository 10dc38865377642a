//! Configured headers: they arrive, follow their files, and are never shown.

use std::{path::Path, time::Duration};

use super::{
    Folder, body, failed, plain,
    servers::{Receiver, grpc_reply, reply},
};
use crate::export::transport::{
    Failure, Transport,
    connection::{HeaderValue, Protocol, Signal},
};

const SECRET: &str = "s3cr3t-t0ken";

fn text(value: &str) -> HeaderValue {
    HeaderValue::Text(value.to_owned().into())
}

fn file(path: &Path) -> HeaderValue {
    HeaderValue::File(path.to_owned())
}

fn transport(receiver: &Receiver, protocol: Protocol, headers: Vec<(&str, HeaderValue)>) -> Transport {
    let mut connection = plain(format!("http://{}", receiver.address), protocol);
    connection.headers = headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    Transport::new(connection, Signal::Metrics)
}

#[tokio::test]
async fn headers_arrive_and_follow_their_files() {
    let folder = Folder::new();
    let token = folder.write("token", format!("Bearer {SECRET}\r\n"));
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        folder.write("token", format!("Bearer {SECRET}\r\n"));
        let receiver = match protocol {
            Protocol::Grpc => {
                Receiver::start(true, None, |_| grpc_reply(&[0; 5][..], &[("grpc-status", "0")])).await
            }
            Protocol::HttpProtobuf => Receiver::start(false, None, |_| reply(200, &[], "")).await,
        };
        let headers = vec![("authorization", file(&token)), ("x-tenant", text("one"))];
        let mut transport = transport(&receiver, protocol, headers);
        transport.send(body(1)).await.unwrap();
        let first = receiver.received().pop().unwrap();
        assert_eq!(first.header("authorization"), Some("Bearer s3cr3t-t0ken"));
        assert_eq!(first.header("x-tenant"), Some("one"));

        folder.write("token", "Bearer another");
        tokio::time::sleep(Duration::from_millis(1100)).await;
        transport.send(body(1)).await.unwrap();
        let second = receiver.received().pop().unwrap();
        assert_eq!(second.header("authorization"), Some("Bearer another"));
        assert_eq!(receiver.connections(), 2, "made anew");
    }
}

#[tokio::test]
async fn a_header_that_cannot_be_used_is_named_without_its_value() {
    let folder = Folder::new();
    let missing = folder.0.join("missing");
    let broken = folder.write("broken", format!("{SECRET}\n{SECRET}\n"));
    let receiver = Receiver::start(false, None, |_| reply(200, &[], "")).await;
    for (name, value, words) in [
        (
            "authorization",
            file(&missing),
            ["header authorization", "missing: No such file"],
        ),
        (
            "authorization",
            file(&folder.0),
            ["header authorization", "it is a folder"],
        ),
        (
            "authorization",
            file(&broken),
            ["header authorization in ", "broken holds a line break"],
        ),
        (
            "x-key",
            text("s3cr3t-t0ken\u{1}"),
            ["header x-key", "control character"],
        ),
        (
            "no name",
            text(SECRET),
            ["\"no name\" is no name of a header", "write letters"],
        ),
        (
            "content-length",
            text(SECRET),
            ["content-length is set by kevmon", "remove it"],
        ),
        (
            "grpc-timeout",
            text(SECRET),
            ["grpc-timeout is set by kevmon", "remove it"],
        ),
    ] {
        let mut transport = transport(&receiver, Protocol::HttpProtobuf, vec![(name, value)]);
        let error = failed(transport.send(body(1)).await, &words);
        assert_eq!(error.failure(), Failure::Settings);
        assert!(!error.may_have_arrived());
        let shown = format!("{error} {error:?} {transport:?}");
        assert!(!shown.contains(SECRET), "{shown}");
    }
    assert_eq!(receiver.connections(), 0, "nothing is sent without its headers");
}

#[tokio::test]
async fn a_file_that_comes_later_is_found() {
    let folder = Folder::new();
    let path = folder.0.join("token");
    let receiver = Receiver::start(false, None, |_| reply(200, &[], "")).await;
    let mut transport = transport(&receiver, Protocol::HttpProtobuf, vec![("x-key", file(&path))]);
    failed(transport.send(body(1)).await, &["No such file"]);
    folder.write("token", "there");
    transport.send(body(1)).await.unwrap();
    assert_eq!(receiver.received()[0].header("x-key"), Some("there"));
}

#[tokio::test]
async fn what_the_receiver_echoes_is_not_shown() {
    let echo = "no access with Bearer s3cr3t-t0ken";
    let plain = Receiver::start(false, None, move |_| reply(403, &[], echo)).await;
    let grpc = Receiver::start(true, None, move |_| {
        grpc_reply("", &[("grpc-status", "7"), ("grpc-message", echo)])
    })
    .await;
    for (receiver, protocol) in [(plain, Protocol::HttpProtobuf), (grpc, Protocol::Grpc)] {
        let headers = vec![("authorization", text("Bearer s3cr3t-t0ken"))];
        let mut transport = transport(&receiver, protocol, headers);
        let error = failed(transport.send(body(1)).await, &["no access with ***"]);
        assert!(error.is_unauthorized());
        let shown = format!("{error} {error:?} {transport:?}");
        assert!(!shown.contains(SECRET), "{shown}");
    }
}
