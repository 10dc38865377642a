//! The harness itself, without kevmon: the receivers that are not ours take, over each transport that the tests use,
//! a request that is known to be right, and let nobody in whom they should not.

use std::time::Duration;

use kevmon_tests::{
    certificates::{Authority, Purpose, Validity},
    http::Client,
    known,
    nginx::{Nginx, Upstream},
    receiver::Receiver,
    rotel::Rotel,
    sample::Sample,
    scratch::Scratch,
    victoria_metrics::{EXACTNESS, VictoriaMetrics},
    wait,
};
use opentelemetry_proto::tonic::collector::{
    metrics::v1::metrics_service_client::MetricsServiceClient,
    trace::v1::trace_service_client::TraceServiceClient,
};
use tonic::codec::CompressionEncoding;

const SOON: Duration = Duration::from_secs(10);
const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");
const GZIP: (&str, &str) = ("Content-Encoding", "gzip");

fn sample(time: u64) -> Sample {
    Sample {
        metric: "starts".to_owned(),
        time,
        value: 7.0,
    }
}

#[test]
fn the_receiver_takes_gzip_and_spans() {
    let receiver = Receiver::start();
    let url = format!("http://127.0.0.1:{}", receiver.port());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = MetricsServiceClient::connect(url.clone()).await.unwrap();
        let mut client = client.send_compressed(CompressionEncoding::Gzip);
        client.export(known::metrics(10, 7)).await.unwrap();
        let client = TraceServiceClient::connect(url).await.unwrap();
        let mut client = client.send_compressed(CompressionEncoding::Gzip);
        client.export(known::traces(10)).await.unwrap();
    });
    assert_eq!(
        Sample::of_service(&receiver.points(), "kvt_service"),
        [sample(10)]
    );
    assert_eq!(receiver.spans()[0].name, "kvt span");
}

#[test]
fn rotel_over_http() {
    let rotel = Rotel::start();
    let now = wait::unix_now();
    let port = rotel.http_url().rsplit(':').next().unwrap().parse().unwrap();
    for (time, gzip) in [(now, false), (now + 1, true)] {
        let headers = if gzip { &[PROTOBUF, GZIP][..] } else { &[PROTOBUF] };
        let body = known::body(&known::metrics(time, 7), gzip);
        let answer = Client::plain(port).post("/v1/metrics", headers, &body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.head);
    }
    wait::until("rotel to print both", SOON, || {
        (rotel.samples(known::SERVICE) == [sample(now), sample(now + 1)]).then_some(())
    });
}

#[test]
fn victoria_metrics_keeps_what_was_sent() {
    let receiver = VictoriaMetrics::start();
    push_and_ask(&receiver, receiver.client(), &VictoriaMetrics::path());
}

#[test]
fn victoria_metrics_is_as_exact_as_the_tests_say() {
    let receiver = VictoriaMetrics::start();
    let begin = wait::unix_now() / EXACTNESS.time * EXACTNESS.time - 60_000_000_000;
    // Fractions such as CPU usage, over four powers of ten: one scale serves a whole block of values.
    let sent: Vec<(u64, f64)> = (0..200_u32)
        .map(|index| {
            let scale = [1e-4, 1.0][usize::try_from(index % 2).unwrap()];
            let value = f64::from(index + 1).sqrt().recip() * scale;
            (begin + u64::from(index) * 10 * EXACTNESS.time, value)
        })
        .collect();
    for (time, value) in &sent {
        let body = known::body(&known::gauge(*time, *value), false);
        let answer = receiver
            .client()
            .post(&VictoriaMetrics::path(), &[PROTOBUF], &body);
        assert_eq!(answer.unwrap().status, 200);
    }
    let samples = wait::until("VictoriaMetrics to have them all", SOON, || {
        Some(receiver.samples("kvt_service")).filter(|samples| samples.len() == sent.len())
    });
    for ((time, value), sample) in sent.iter().zip(samples) {
        let error = (sample.value / value - 1.0).abs();
        assert!(
            error <= EXACTNESS.value,
            "{value} became {}: {error}",
            sample.value
        );
        assert_eq!(sample.time, *time);
    }
}

#[test]
fn victoria_metrics_over_tls_and_behind_nginx() {
    let folder = Scratch::new();
    let authority = Authority::new(folder.path(), "authority");
    let foreign = Authority::new(folder.path(), "foreign");
    let server = authority.sign(folder.path(), "server", Purpose::Server, Validity::Now);
    let receiver = VictoriaMetrics::start_tls(&server, &authority);
    push_and_ask(&receiver, receiver.client(), &VictoriaMetrics::path());
    let refused = Client::tls(receiver.port(), &foreign, None).get("/");
    assert!(refused.is_err(), "a server of another authority: {refused:?}");
    let expired = authority.sign(folder.path(), "expired", Purpose::Server, Validity::Expired);
    let receiver = VictoriaMetrics::start_tls(&expired, &authority);
    let refused = receiver.client().get("/").unwrap_err();
    assert!(refused.to_string().contains("xpired"), "{refused}");

    let client = authority.sign(folder.path(), "client", Purpose::Client, Validity::Now);
    let receiver = VictoriaMetrics::start();
    let nginx = Nginx::start(Upstream::Http(receiver.port()), &server, Some(&authority));
    let path = receiver.url_behind("");
    assert_eq!(path + "/v1/metrics", VictoriaMetrics::path());
    let let_in = Client::tls(nginx.port(), &authority, Some(&client));
    push_and_ask(&receiver, &let_in, &VictoriaMetrics::path());
}

fn push_and_ask(receiver: &VictoriaMetrics, client: &Client, path: &str) {
    let now = wait::unix_now();
    for (time, gzip) in [(now, false), (now + 5 * EXACTNESS.time, true)] {
        let headers = if gzip { &[PROTOBUF, GZIP][..] } else { &[PROTOBUF] };
        let body = known::body(&known::metrics(time, 7), gzip);
        let answer = client.post(path, headers, &body).unwrap();
        assert!((200..300).contains(&answer.status), "{}", answer.head);
    }
    let cut = |time: u64| time / EXACTNESS.time * EXACTNESS.time;
    let expected = [sample(cut(now)), sample(cut(now) + 5 * EXACTNESS.time)];
    let mut samples = Vec::new();
    wait::until("VictoriaMetrics to have both", SOON, || {
        samples = receiver.samples("kvt_service");
        (samples.len() == 2).then_some(())
    });
    assert_eq!(samples, expected);
}

#[test]
fn nginx_lets_clients_with_a_certificate_through_to_rotel() {
    let folder = Scratch::new();
    let authority = Authority::new(folder.path(), "authority");
    let foreign = Authority::new(folder.path(), "foreign");
    let server = authority.sign(folder.path(), "server", Purpose::Server, Validity::Now);
    let client = authority.sign(folder.path(), "client", Purpose::Client, Validity::Now);
    let stranger = foreign.sign(folder.path(), "stranger", Purpose::Client, Validity::Now);
    let rotel = Rotel::start();
    let nginx = Nginx::start(
        Upstream::Grpc(rotel.port().parse().unwrap()),
        &server,
        Some(&authority),
    );
    let now = wait::unix_now();
    let push = |time: u64, identity| {
        let path = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
        let headers = [("Content-Type", "application/grpc"), ("TE", "trailers")];
        let body = known::frame(&known::metrics(time, 7), false);
        Client::tls(nginx.port(), &authority, identity).post(path, &headers, &body)
    };
    for refused in [None, Some(&stranger)] {
        let answer = push(now, refused);
        assert!(
            answer.as_ref().is_ok_and(|answer| answer.status == 400),
            "{refused:?}: {answer:?}"
        );
    }
    assert_eq!(push(now + 1, Some(&client)).unwrap().status, 200);
    wait::until("rotel to print it", SOON, || {
        (rotel.samples(known::SERVICE) == [sample(now + 1)]).then_some(())
    });
}
