//! TLS: who is trusted, who is let in, and what is said when not.

use std::{path::Path, sync::Arc, time::Duration};

use http::Version;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use super::{
    Folder, body,
    certificates::{Authority, Identity},
    failed, plain,
    servers::{Receiver, grpc_reply, reply, tcp},
};
use crate::export::transport::{
    Failure, Retry, SendError, Transport,
    connection::{Protocol, Signal, TlsFiles},
};

const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];
const PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];

async fn receiver(config: ServerConfig) -> Receiver {
    Receiver::start(false, Some(config), |received| {
        match received.header("grpc-timeout") {
            Some(_) => grpc_reply(&[0; 5][..], &[("grpc-status", "0")]),
            None => reply(200, &[], ""),
        }
    })
    .await
}

fn transport(receiver: &Receiver, protocol: Protocol, files: TlsFiles) -> Transport {
    let url = format!("https://localhost:{}/v1/metrics", receiver.address.port());
    let url = match protocol {
        Protocol::Grpc => url.trim_end_matches("/v1/metrics").to_owned(),
        Protocol::HttpProtobuf => url,
    };
    let mut connection = plain(url, protocol);
    connection.tls = Some(files);
    Transport::new(connection, Signal::Metrics)
}

fn trusting(ca: &Path) -> TlsFiles {
    TlsFiles {
        ca: Some(ca.to_owned()),
        ..TlsFiles::default()
    }
}

/// Nothing was sent, and it is tried again.
#[track_caller]
fn check(error: &SendError) {
    assert_eq!(error.failure(), Failure::Unreachable, "{error}");
    assert_eq!(error.retry(), Retry::After(None), "{error}");
    assert!(!error.may_have_arrived(), "{error}");
}

struct Scene {
    folder: Folder,
    authority: Authority,
    server: Identity,
}

impl Scene {
    fn new() -> Self {
        let authority = Authority::new("right");
        Self {
            folder: Folder::new(),
            server: authority.identity("localhost", 2090),
            authority,
        }
    }

    fn ca(&self) -> std::path::PathBuf {
        self.folder.write("ca.pem", self.authority.pem())
    }
}

#[tokio::test]
async fn a_receiver_of_the_right_authority_is_trusted() {
    let scene = Scene::new();
    for (protocol, protocols, version) in [
        (Protocol::Grpc, &PROTOCOLS[..1], Version::HTTP_2),
        (Protocol::HttpProtobuf, &PROTOCOLS[..], Version::HTTP_2),
        (Protocol::HttpProtobuf, &PROTOCOLS[1..], Version::HTTP_11),
        (Protocol::HttpProtobuf, &[], Version::HTTP_11),
    ] {
        let receiver = receiver(scene.server.server(None, protocols)).await;
        let mut transport = transport(&receiver, protocol, trusting(&scene.ca()));
        for _ in 0..2 {
            transport.send(body(3)).await.unwrap();
        }
        let received = receiver.received();
        assert_eq!(received[1].version, version, "{protocols:?}");
        assert!(received[1].body.ends_with(&body(3)));
        assert_eq!(receiver.connections(), 1);
    }
}

#[tokio::test]
async fn an_untrusted_receiver_is_sent_nothing() {
    let scene = Scene::new();
    let other = scene.folder.write("other.pem", Authority::new("wrong").pem());
    let namesake = scene.folder.write("namesake.pem", Authority::new("right").pem());
    let receiver = receiver(scene.server.server(None, &PROTOCOLS)).await;
    for protocol in BOTH {
        for ca in [&other, &namesake] {
            let against = format!("is not trusted: checked against {}; set ca_file", ca.display());
            let error = failed(
                transport(&receiver, protocol, trusting(ca)).send(body(1)).await,
                &[&against],
            );
            check(&error);
        }
        // The system's certificates may be missing where this runs.
        let error = transport(&receiver, protocol, TlsFiles::default())
            .send(body(1))
            .await
            .expect_err("nobody knows that authority")
            .to_string();
        assert!(
            error.contains("checked against the system's certificates")
                || error.contains("no CA certificates"),
            "{error}"
        );
    }
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn an_expired_certificate_and_another_hosts() {
    let scene = Scene::new();
    for (identity, words) in [
        (
            scene.authority.identity("localhost", 2020),
            "certificate has expired, on 2020-12-31; renew it",
        ),
        (scene.authority.identity("elsewhere.example", 2090), "is for "),
    ] {
        let receiver = receiver(identity.server(None, &PROTOCOLS)).await;
        for protocol in BOTH {
            let error = failed(
                transport(&receiver, protocol, trusting(&scene.ca()))
                    .send(body(1))
                    .await,
                &[words],
            );
            check(&error);
            let names_host = error.to_string().contains("elsewhere.example");
            assert_eq!(names_host, words == "is for ", "{error}");
        }
        assert!(receiver.received().is_empty());
    }
}

fn with_client(ca: &Path, (certificate, key): (std::path::PathBuf, std::path::PathBuf)) -> TlsFiles {
    TlsFiles {
        ca: Some(ca.to_owned()),
        certificate: Some(certificate),
        key: Some(key),
    }
}

#[tokio::test]
async fn a_receiver_that_wants_client_certificates() {
    let scene = Scene::new();
    let ca = scene.ca();
    let receiver = receiver(scene.server.server(Some(&scene.authority), &PROTOCOLS)).await;
    let good = scene
        .authority
        .identity("client", 2090)
        .write(&scene.folder, "good");
    let expired = scene
        .authority
        .identity("client", 2020)
        .write(&scene.folder, "expired");
    let foreign = Authority::new("wrong")
        .identity("client", 2090)
        .write(&scene.folder, "foreign");
    for protocol in BOTH {
        // The alert comes after the handshake and races with the request: often enough to see both orders.
        for _ in 0..20 {
            let error = failed(
                transport(&receiver, protocol, trusting(&ca)).send(body(1)).await,
                &["the receiver wants a client certificate; set certificate_file and key_file"],
            );
            check(&error);
            let error = failed(
                transport(&receiver, protocol, with_client(&ca, foreign.clone()))
                    .send(body(1))
                    .await,
                &["refused the client certificate", "foreign.pem"],
            );
            check(&error);
            let large = vec![0; 4 << 20].into();
            let error = failed(
                transport(&receiver, protocol, with_client(&ca, expired.clone()))
                    .send(large)
                    .await,
                &["refused the client certificate", "expired.pem: it has expired"],
            );
            check(&error);
        }
        transport(&receiver, protocol, with_client(&ca, good.clone()))
            .send(body(1))
            .await
            .unwrap();
    }
    assert_eq!(receiver.received().len(), 2);
}

/// The alert is lost where the receiver closes with something unread; that it had asked is known all the same. nginx says it
/// with a page.
#[tokio::test]
async fn a_receiver_that_wants_a_client_certificate_and_does_not_say_so() {
    let scene = Scene::new();
    let ca = scene.ca();
    let config = Arc::new(scene.server.asking_server(&scene.authority, &PROTOCOLS));
    let address = tcp(move |stream| {
        let acceptor = TlsAcceptor::from(Arc::clone(&config));
        async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let stream = stream.into_inner().0.into_std().unwrap();
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        }
    })
    .await;
    let page = "<html><head><title>400 No required SSL certificate was sent</title></head></html>";
    let nginx = Receiver::start(false, Some(scene.server.server(None, &PROTOCOLS)), move |_| {
        reply(400, &[("content-type", "text/html")], page)
    })
    .await;
    for protocol in BOTH {
        for address in [address, nginx.address] {
            let mut connection = plain(format!("https://localhost:{}", address.port()), protocol);
            connection.tls = Some(trusting(&ca));
            let error = failed(
                Transport::new(connection, Signal::Metrics).send(body(1)).await,
                &["wants a client certificate", "set certificate_file and key_file"],
            );
            check(&error);
        }
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let scene = Scene::new();
    let folder = &scene.folder;
    let (ca, missing) = (scene.ca(), folder.0.join("missing.pem"));
    let (certificate, key) = scene.authority.identity("client", 2090).write(folder, "client");
    let (_, other_key) = scene.authority.identity("client", 2090).write(folder, "other");
    let empty = folder.write("empty.pem", "nothing\n");
    let cut = folder.write("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let junk = folder.write(
        "junk.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let locked = folder.write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let receiver = receiver(scene.server.server(None, &PROTOCOLS)).await;
    let client = |certificate: &Path, key: &Path| with_client(&ca, (certificate.to_owned(), key.to_owned()));
    for (files, words) in [
        (trusting(&missing), ["CA file", "missing.pem: No such file"]),
        (trusting(&empty), ["CA file", "empty.pem holds no certificate"]),
        (trusting(&key), ["CA file", "client.key holds no certificate"]),
        (trusting(&cut), ["CA file", "cut.pem is damaged"]),
        (
            trusting(&junk),
            ["CA file", "junk.pem holds an unusable certificate"],
        ),
        (
            client(&missing, &key),
            ["client certificate", "missing.pem: No such file"],
        ),
        (
            client(&empty, &key),
            ["client certificate", "empty.pem holds no certificate"],
        ),
        (
            client(&junk, &key),
            ["client certificate", "junk.pem is unusable"],
        ),
        (
            client(&certificate, &missing),
            ["client key", "missing.pem: No such file"],
        ),
        (
            client(&certificate, &certificate),
            ["client key", "client.pem holds no private key"],
        ),
        (
            client(&certificate, &locked),
            ["client key", "locked.key is encrypted"],
        ),
        (
            client(&certificate, &other_key),
            ["other.key is not that of the certificate", "client.pem"],
        ),
    ] {
        for protocol in BOTH {
            let error = failed(
                transport(&receiver, protocol, files.clone()).send(body(1)).await,
                &words,
            );
            assert_eq!(error.failure(), Failure::Settings, "{error}");
            assert_eq!(error.retry(), Retry::After(None), "{error}");
            assert!(!error.may_have_arrived(), "{error}");
        }
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn rotated_files_are_picked_up() {
    let scene = Scene::new();
    let ca = scene.ca();
    let receiver = receiver(scene.server.server(Some(&scene.authority), &PROTOCOLS)).await;
    let client = scene
        .authority
        .identity("client", 2090)
        .write(&scene.folder, "client");
    for protocol in BOTH {
        scene.ca();
        scene
            .authority
            .identity("client", 2090)
            .write(&scene.folder, "client");
        receiver
            .restart(Some(scene.server.server(Some(&scene.authority), &PROTOCOLS)))
            .await;
        let mut transport = transport(&receiver, protocol, with_client(&ca, client.clone()));
        transport.send(body(1)).await.unwrap();

        let next = Authority::new("next");
        let server = next.identity("localhost", 2090);
        receiver
            .restart(Some(server.server(Some(&next), &PROTOCOLS)))
            .await;
        failed(
            transport.send(body(1)).await,
            &["is not trusted: checked against", "ca.pem"],
        );

        scene.folder.write("ca.pem", next.pem());
        tokio::time::sleep(Duration::from_millis(1100)).await;
        failed(
            transport.send(body(1)).await,
            &["refused the client certificate", "client.pem"],
        );

        next.identity("client", 2090).write(&scene.folder, "client");
        tokio::time::sleep(Duration::from_millis(1100)).await;
        transport.send(body(1)).await.unwrap();
    }
}

#[tokio::test]
async fn tls_never_falls_back_to_cleartext() {
    let scene = Scene::new();
    let receiver = Receiver::start(false, None, |_| reply(200, &[], "")).await;
    for protocol in BOTH {
        let sent = transport(&receiver, protocol, trusting(&scene.ca()))
            .send(body(1))
            .await;
        let error = failed(sent, &["does not speak TLS there; check the port"]);
        check(&error);
        // Without TLS settings https is TLS all the same.
        let url = format!("https://localhost:{}", receiver.address.port());
        let sent = Transport::new(plain(url, protocol), Signal::Metrics)
            .send(body(1))
            .await;
        assert!(!sent.expect_err("no TLS there").may_have_arrived());
        let mut connection = plain(format!("http://{}", receiver.address), protocol);
        connection.tls = Some(TlsFiles::default());
        let sent = Transport::new(connection, Signal::Metrics).send(body(1)).await;
        failed(sent, &["TLS is wanted, and the address begins with http://"]);
    }
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn cleartext_to_a_tls_port_is_told() {
    let scene = Scene::new();
    let receiver = receiver(scene.server.server(None, &PROTOCOLS)).await;
    for protocol in BOTH {
        let connection = plain(format!("http://{}", receiver.address), protocol);
        failed(
            Transport::new(connection, Signal::Metrics).send(body(1)).await,
            &["the receiver speaks TLS there; write https://"],
        );
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_end() {
    let scene = Scene::new();
    let silent = tcp(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let closing = tcp(|stream| async move { drop(stream) }).await;
    for protocol in BOTH {
        for (address, words) in [
            (silent, "the TLS handshake did not end within 300ms"),
            (closing, "during the TLS handshake"),
        ] {
            let mut connection = plain(format!("https://{address}"), protocol);
            connection.timeout = Duration::from_millis(300);
            connection.tls = Some(trusting(&scene.ca()));
            let sent = Transport::new(connection, Signal::Metrics).send(body(1)).await;
            check(&failed(sent, &[words]));
        }
    }
}
