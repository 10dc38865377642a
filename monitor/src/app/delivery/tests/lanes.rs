//! Lanes that send to receivers which come late, refuse, are mute, or know no logs.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::{
    super::{Delivery, Destination, SpoolPlace},
    Folder, LIMITS, SECOND, request,
};
use crate::{
    export::transport::{Connection, Protocol, Signal},
    metrics::ExportReading,
};

/// How a receiver answers a request.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Status(u16),
    /// With this, and nothing else.
    Text(&'static str),
    /// Never.
    Mute,
}

/// A receiver over HTTP/1.1 that plays its answers in turn, and says yes when they are used up.
#[derive(Debug, Clone, Default)]
struct Receiver {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    taken: Arc<Mutex<Vec<String>>>,
    /// All requests, whatever became of them.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    fn new(answers: &[Answer]) -> Self {
        let receiver = Self::default();
        receiver.answers.lock().unwrap().extend(answers);
        receiver
    }

    /// The collections that it took.
    fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }

    /// The requests that it got, whatever became of them.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    async fn serve(self, address: SocketAddr) {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(self.clone().talk(stream));
        }
    }

    async fn talk(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                    return;
                }
                continue;
            };
            let length: usize = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse()
                        .ok()
                })
                .expect("a length");
            if body.len() < length {
                if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                    return;
                }
                continue;
            }
            let answer = self.answers.lock().unwrap().pop_front();
            self.asked.lock().unwrap().push(body[..length].to_owned());
            let status = match answer.unwrap_or(Answer::Status(200)) {
                Answer::Status(status) => status,
                Answer::Mute => return sleep(Duration::from_secs(3600)).await,
                Answer::Text(text) => {
                    // A client that has gone is no failure of the test.
                    let _ = stream.write_all(text.as_bytes()).await;
                    return;
                }
            };
            if status == 200 {
                self.taken.lock().unwrap().push(body[..length].to_owned());
            }
            let reply = format!(
                "HTTP/1.1 {status} x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
            );
            if stream.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
            bytes.drain(..head.len() + 4 + length);
        }
    }
}

fn free_port() -> SocketAddr {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    port.local_addr().expect("bound")
}

fn destination(receiver: &str, signal: Signal, address: SocketAddr) -> Destination {
    Destination {
        receiver: receiver.to_owned(),
        signal,
        connection: Connection {
            url: format!("http://{address}/v1/{}", signal.name()),
            protocol: Protocol::HttpProtobuf,
            gzip: false,
            headers: Vec::new(),
            tls: None,
            timeout: Duration::from_millis(400),
            proxy: None,
        },
        max_request: 4 << 20,
    }
}

fn start(folder: &Folder, destinations: Vec<Destination>) -> Delivery {
    let place = SpoolPlace {
        path: Some(folder.spool()),
        limits: LIMITS,
    };
    Delivery::start(destinations, &place, Box::new(|_| {}))
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        timeout(Duration::from_secs(30), test).await.expect("in time");
    });
}

/// Waits until `condition` holds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = timeout(Duration::from_secs(15), async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

fn collections(seconds: impl IntoIterator<Item = u64>) -> Vec<String> {
    seconds
        .into_iter()
        .map(|second| format!("collection {second}"))
        .collect()
}

fn reading(delivery: &Delivery, receiver: &str, signal: Signal) -> ExportReading {
    let mut all = delivery.readings().into_iter();
    all.find(|lane| lane.receiver == receiver && lane.signal == signal.name())
        .expect("the lane is there")
}

#[test]
fn everything_reaches_a_receiver_that_comes_late_and_refuses_at_first() {
    run(async {
        let (folder, address) = (Folder::new(), free_port());
        let delivery = start(&folder, vec![destination("default", Signal::Metrics, address)]);
        let courier = delivery.courier();
        for second in 0..3 {
            courier.push(
                "default",
                Signal::Metrics,
                vec![request(Signal::Metrics, second, 2)],
            );
            sleep(Duration::from_millis(50)).await;
        }
        let lane = reading(&delivery, "default", Signal::Metrics);
        assert!(
            lane.away && lane.failures >= 1 && lane.waiting_requests == 3,
            "{lane:?}"
        );
        let receiver = Receiver::new(&[Answer::Status(503), Answer::Mute]);
        tokio::spawn(receiver.clone().serve(address));
        until("all three", || receiver.taken().len() >= 3).await;
        courier.push("default", Signal::Metrics, vec![request(Signal::Metrics, 3, 2)]);
        until("the fourth", || receiver.taken().len() >= 4).await;
        assert_eq!(receiver.taken(), collections(0..4), "each once and in order");
        until("the last answer", || {
            reading(&delivery, "default", Signal::Metrics).delivered == 8
        })
        .await;
        let lane = reading(&delivery, "default", Signal::Metrics);
        assert_eq!(lane.repeated, 1, "the mute answer may have been a yes: {lane:?}");
        assert_eq!((lane.waiting_requests, lane.away), (0, false), "{lane:?}");
        assert_eq!(
            delivery
                .finish(3 * SECOND, true, Duration::from_secs(1))
                .await
                .kept,
            0
        );
    });
}

#[test]
fn what_is_refused_for_good_is_counted_and_does_not_hold_up_the_rest() {
    run(async {
        let (folder, address) = (Folder::new(), free_port());
        let receiver = Receiver::new(&[Answer::Status(400), Answer::Status(200), Answer::Status(401)]);
        tokio::spawn(receiver.clone().serve(address));
        let delivery = start(&folder, vec![destination("default", Signal::Metrics, address)]);
        for second in 0..4 {
            let one = vec![request(Signal::Metrics, second, 5)];
            delivery.courier().push("default", Signal::Metrics, one);
        }
        until("the last one", || {
            reading(&delivery, "default", Signal::Metrics).delivered == 10
        })
        .await;
        assert_eq!(receiver.taken(), collections([1, 3]));
        let lane = reading(&delivery, "default", Signal::Metrics);
        assert_eq!(
            (lane.refused, lane.failures, lane.repeated),
            (10, 2, 0),
            "{lane:?}"
        );
    });
}

#[test]
fn a_receiver_without_logs_gets_metrics_and_nothing_waits_for_it() {
    run(async {
        let (folder, address) = (Folder::new(), free_port());
        let receiver = Receiver::new(&[Answer::Status(404)]);
        tokio::spawn(receiver.clone().serve(address));
        let lanes = [Signal::Logs, Signal::Metrics].map(|signal| destination("default", signal, address));
        let delivery = start(&folder, lanes.to_vec());
        let push = |signal, second| {
            let one = vec![request(signal, second, 1)];
            delivery.courier().push("default", signal, one);
        };
        push(Signal::Logs, 0);
        until("the refusal", || {
            reading(&delivery, "default", Signal::Logs).closed
        })
        .await;
        push(Signal::Logs, 1);
        push(Signal::Metrics, 2);
        until("the metrics", || !receiver.taken().is_empty()).await;
        assert_eq!(receiver.taken(), collections([2]));
        let logs = reading(&delivery, "default", Signal::Logs);
        assert_eq!((logs.waiting_requests, logs.refused), (0, 0), "{logs:?}");
    });
}

/// One request of this signal, of this second.
fn push(delivery: &Delivery, signal: Signal, second: u64) {
    let one = vec![request(signal, second, 1)];
    delivery.courier().push("default", signal, one);
}

#[test]
fn an_answer_that_cannot_be_read_costs_one_repeat_and_the_queue_moves_on() {
    const BROKEN: Answer = Answer::Text("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc");
    run(async {
        let (folder, address) = (Folder::new(), free_port());
        let receiver = Receiver::new(&[BROKEN, BROKEN, BROKEN]);
        tokio::spawn(receiver.clone().serve(address));
        let delivery = start(&folder, vec![destination("default", Signal::Metrics, address)]);
        for second in 0..3 {
            push(&delivery, Signal::Metrics, second);
        }
        until("the last one", || receiver.taken() == collections(1..3)).await;
        // The first one twice; the second one once more, as its repeat is answered well.
        assert_eq!(receiver.asked(), collections([0, 0, 1, 1, 2]));
        until("its answer", || {
            reading(&delivery, "default", Signal::Metrics).delivered == 3
        })
        .await;
        let lane = reading(&delivery, "default", Signal::Metrics);
        assert_eq!((lane.unread, lane.repeated, lane.refused), (1, 2, 0), "{lane:?}");
        assert_eq!((lane.waiting_requests, lane.away), (0, false), "{lane:?}");
    });
}

#[test]
fn a_refusal_means_unsupported_where_metrics_are_taken_and_an_empty_request_is_refused_likewise() {
    for status in [400, 405, 415, 501] {
        run(async {
            let (folder, address) = (Folder::new(), free_port());
            // The metrics are taken, after a while; then come the request and the empty one, and those asked later.
            let refusals = [Answer::Status(status); 3];
            let receiver = Receiver::new(&refusals);
            let metrics = Receiver::default();
            let other = free_port();
            tokio::spawn(receiver.clone().serve(address));
            tokio::spawn(metrics.clone().serve(other));
            let lanes = vec![
                destination("default", Signal::Logs, address),
                destination("default", Signal::Metrics, other),
            ];
            let delivery = start(&folder, lanes);
            push(&delivery, Signal::Logs, 0);
            sleep(Duration::from_millis(200)).await;
            push(&delivery, Signal::Metrics, 1);
            until("the end", || reading(&delivery, "default", Signal::Logs).closed).await;
            push(&delivery, Signal::Logs, 2);
            assert_eq!(receiver.asked(), ["collection 0", ""]);
            let logs = reading(&delivery, "default", Signal::Logs);
            assert_eq!(
                (logs.unsupported, logs.refused, logs.waiting_requests),
                (2, 0, 0),
                "{logs:?}"
            );

            // Asked again, it refuses once more, and then takes logs.
            until("the question", || {
                delivery.ask_again();
                receiver.asked().len() == 3
            })
            .await;
            assert!(reading(&delivery, "default", Signal::Logs).closed);
            until("logs to be taken", || {
                delivery.ask_again();
                !reading(&delivery, "default", Signal::Logs).closed
            })
            .await;
            push(&delivery, Signal::Logs, 3);
            until("the log", || {
                receiver.taken().contains(&"collection 3".to_owned())
            })
            .await;
        });
    }
}

#[test]
fn any_other_refusal_is_of_that_request_alone() {
    const BAD: Answer = Answer::Status(400);
    const TAKEN: Answer = Answer::Status(200);
    // What the receiver of metrics answers, what that of logs does, and whether the latter is sent an empty request.
    for (metrics, logs, asks) in [
        (TAKEN, vec![BAD, TAKEN], true),
        (TAKEN, vec![BAD, Answer::Status(405)], true),
        (TAKEN, vec![BAD, Answer::Status(503)], true),
        (BAD, vec![BAD], false),
        (TAKEN, vec![Answer::Status(422)], false),
    ] {
        run(async {
            let folder = Folder::new();
            let (of_metrics, of_logs) = (Receiver::new(&[metrics]), Receiver::new(&logs));
            let addresses = [free_port(), free_port()];
            tokio::spawn(of_metrics.clone().serve(addresses[0]));
            tokio::spawn(of_logs.clone().serve(addresses[1]));
            let lanes = vec![
                destination("default", Signal::Metrics, addresses[0]),
                destination("default", Signal::Logs, addresses[1]),
            ];
            let delivery = start(&folder, lanes);
            push(&delivery, Signal::Metrics, 0);
            until("its answer", || !of_metrics.asked().is_empty()).await;
            push(&delivery, Signal::Logs, 1);
            push(&delivery, Signal::Logs, 2);
            until("the second", || {
                of_logs.taken().contains(&"collection 2".to_owned())
            })
            .await;
            let reading = reading(&delivery, "default", Signal::Logs);
            assert_eq!(
                (reading.refused, reading.unsupported),
                (1, 0),
                "{logs:?}: {reading:?}"
            );
            assert_eq!(of_logs.asked().contains(&String::new()), asks, "{logs:?}");
        });
    }
}

#[test]
fn a_receiver_that_has_taken_logs_refuses_single_ones() {
    run(async {
        let (folder, address) = (Folder::new(), free_port());
        let receiver = Receiver::new(&[Answer::Status(200), Answer::Status(200), Answer::Status(400)]);
        tokio::spawn(receiver.clone().serve(address));
        let lanes = [Signal::Metrics, Signal::Logs].map(|signal| destination("default", signal, address));
        let delivery = start(&folder, lanes.to_vec());
        push(&delivery, Signal::Metrics, 0);
        until("metrics", || receiver.taken().len() == 1).await;
        for second in 1..4 {
            push(&delivery, Signal::Logs, second);
        }
        until("the last one", || receiver.taken() == collections([0, 1, 3])).await;
        assert_eq!(receiver.asked(), collections(0..4), "no empty request");
        let logs = reading(&delivery, "default", Signal::Logs);
        assert_eq!((logs.refused, logs.closed), (1, false), "{logs:?}");
    });
}

#[test]
fn a_mute_receiver_delays_no_other() {
    run(async {
        let folder = Folder::new();
        let (mute, well) = (free_port(), free_port());
        tokio::spawn(Receiver::new(&[Answer::Mute; 100]).serve(mute));
        let receiver = Receiver::default();
        tokio::spawn(receiver.clone().serve(well));
        let delivery = start(
            &folder,
            vec![
                destination("mute", Signal::Metrics, mute),
                destination("well", Signal::Metrics, well),
            ],
        );
        for second in 0..20 {
            for name in ["mute", "well"] {
                let one = vec![request(Signal::Metrics, second, 1)];
                delivery.courier().push(name, Signal::Metrics, one);
            }
            let arrived = second as usize + 1;
            timeout(
                Duration::from_millis(300),
                until("it", || receiver.taken().len() >= arrived),
            )
            .await
            .expect("before the mute one's time-out");
        }
        assert_eq!(receiver.taken(), collections(0..20));
    });
}

#[test]
fn what_cannot_be_sent_at_the_end_is_sent_by_the_next_run() {
    run(async {
        let (folder, address) = (Folder::new(), free_port());
        let lanes = || vec![destination("default", Signal::Metrics, address)];
        let delivery = start(&folder, lanes());
        assert_eq!(delivery.unsettled(Some(SECOND)), None, "nobody knows yet");
        for second in 0..3 {
            delivery.announce(second * SECOND);
            let one = vec![request(Signal::Metrics, second, 1)];
            delivery.courier().push("default", Signal::Metrics, one);
        }
        assert_eq!(
            delivery
                .finish(2 * SECOND, true, Duration::from_millis(200))
                .await
                .kept,
            3
        );

        let receiver = Receiver::default();
        tokio::spawn(receiver.clone().serve(address));
        let delivery = start(&folder, lanes());
        assert_eq!(delivery.unsettled(Some(9 * SECOND)), None, "it ended in order");
        until("all three", || receiver.taken().len() == 3).await;
        assert_eq!(receiver.taken(), collections(0..3));
        let lane = reading(&delivery, "default", Signal::Metrics);
        assert_eq!(lane.repeated, 0, "no connection, no duplicate: {lane:?}");
        let one = vec![request(Signal::Metrics, 3, 1)];
        delivery.announce(3 * SECOND);
        delivery.courier().push("default", Signal::Metrics, one);
        delivery.kill().await;

        let delivery = start(&folder, lanes());
        assert_eq!(
            delivery.unsettled(Some(9 * SECOND)),
            Some(3 * SECOND),
            "it was killed, whatever the store was given since"
        );
        // One that hands no collection over changes nothing, and one that ends in order settles it.
        delivery.kill().await;
        let delivery = start(&folder, lanes());
        assert_eq!(delivery.unsettled(None), Some(3 * SECOND));
        delivery
            .finish(9 * SECOND, true, Duration::from_millis(200))
            .await;
        assert_eq!(start(&folder, lanes()).unsettled(Some(10 * SECOND)), None);
    });
}

#[test]
fn what_kevmon_tells_of_itself_is_no_collection_that_may_be_lost() {
    run(async {
        let folder = Folder::new();
        let lanes = || vec![destination("default", Signal::Traces, free_port())];
        let delivery = start(&folder, lanes());
        delivery.announce(SECOND);
        delivery.finish(SECOND, true, Duration::from_millis(200)).await;
        let delivery = start(&folder, lanes());
        let one = vec![request(Signal::Traces, 2, 1)];
        delivery.courier().push("default", Signal::Traces, one);
        delivery.kill().await;
        assert_eq!(start(&folder, lanes()).unsettled(Some(SECOND)), None);
    });
}

#[test]
fn what_was_on_its_way_at_the_end_may_come_twice_and_is_counted() {
    run(async {
        let (folder, address) = (Folder::new(), free_port());
        let receiver = Receiver::new(&[Answer::Mute]);
        tokio::spawn(receiver.clone().serve(address));
        let lanes = || vec![destination("default", Signal::Metrics, address)];
        let delivery = start(&folder, lanes());
        let one = vec![request(Signal::Metrics, 0, 1)];
        delivery.courier().push("default", Signal::Metrics, one);
        sleep(Duration::from_millis(100)).await;
        let left = delivery.finish(0, true, Duration::from_millis(50)).await;
        assert_eq!((left.kept, left.lost), (1, 0));
        assert!(left.place.ends_with("metadata.db.spool"), "{left:?}");
        let delivery = start(&folder, lanes());
        until("it", || receiver.taken().len() == 1).await;
        assert_eq!(reading(&delivery, "default", Signal::Metrics).repeated, 1);
    });
}

#[test]
fn without_a_spool_the_end_says_what_is_lost() {
    run(async {
        let folder = Folder::new();
        let place = SpoolPlace {
            // A folder is no spool.
            path: Some(folder.as_ref().to_owned()),
            limits: LIMITS,
        };
        let lanes = vec![destination("default", Signal::Metrics, free_port())];
        let delivery = Delivery::start(lanes, &place, Box::new(|_| {}));
        for second in 0..2 {
            let one = vec![request(Signal::Metrics, second, 1)];
            delivery.courier().push("default", Signal::Metrics, one);
        }
        assert_eq!(delivery.spool_failures(), 1);
        let left = delivery.finish(SECOND, true, Duration::from_millis(200)).await;
        assert_eq!((left.kept, left.lost, left.place.as_str()), (0, 2, "in memory"));
    });
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

#[test]
fn a_spool_that_is_damaged_while_it_is_used_is_moved_aside_and_what_it_held_is_counted() {
    run(async {
        let (folder, address) = (Folder::new(), free_port());
        let delivery = start(&folder, vec![destination("default", Signal::Metrics, address)]);
        let push = |second, body: Vec<u8>| {
            let mut one = request(Signal::Metrics, second, 1);
            one.body = body.into();
            delivery.courier().push("default", Signal::Metrics, vec![one]);
        };
        // More than SQLite keeps in memory, less than the limit.
        for second in 0..8 {
            push(second, noise(120_000));
            sleep(Duration::from_millis(20)).await;
        }
        let lane = reading(&delivery, "default", Signal::Metrics);
        assert!(lane.away && lane.waiting_requests == 8, "{lane:?}");
        for suffix in ["", "-wal"] {
            let path = format!("{}{suffix}", folder.spool().display());
            let length = std::fs::metadata(&path).expect("it is there").len();
            std::fs::write(&path, vec![0xa5; length as usize]).expect("it can be written");
        }
        let receiver = Receiver::default();
        tokio::spawn(receiver.clone().serve(address));
        let mut second = 8;
        while receiver.taken().is_empty() {
            push(second, format!("collection {second}").into_bytes());
            second += 1;
            sleep(Duration::from_millis(100)).await;
        }
        push(second, format!("collection {second}").into_bytes());
        until("what came later", || {
            reading(&delivery, "default", Signal::Metrics).waiting_requests == 0
        })
        .await;
        let lane = reading(&delivery, "default", Signal::Metrics);
        assert_eq!(lane.delivered + lane.dropped_damaged, second + 1, "{lane:?}");
        assert!(lane.dropped_damaged >= 7, "{lane:?}");
        let files = std::fs::read_dir(&folder).expect("the folder");
        let names: Vec<_> = files.flatten().map(|file| file.file_name()).collect();
        let aside = names
            .iter()
            .any(|name| name.to_string_lossy().contains(".corrupt-"));
        assert!(aside, "{names:?}");
    });
}

#[test]
fn logs_that_hang_are_kept_at_the_next_collection_though_it_brings_none() {
    run(async {
        let (folder, address) = (Folder::new(), free_port());
        tokio::spawn(Receiver::new(&[Answer::Mute]).serve(address));
        let mut lane = destination("default", Signal::Logs, address);
        lane.connection.timeout = Duration::from_secs(10);
        let delivery = start(&folder, vec![lane.clone()]);
        let one = vec![request(Signal::Logs, 0, 1)];
        delivery.courier().push("default", Signal::Logs, one);
        delivery.courier().collected();
        assert_eq!(reading(&delivery, "default", Signal::Logs).waiting_requests, 1);
        sleep(Duration::from_millis(600)).await;
        delivery.courier().collected();
        delivery.kill().await;
        let delivery = start(&folder, vec![lane]);
        assert_eq!(reading(&delivery, "default", Signal::Logs).waiting_requests, 1);
    });
}

#[test]
fn the_end_gives_a_receiver_that_has_come_back_what_waits() {
    run(async {
        let (folder, address) = (Folder::new(), free_port());
        let delivery = start(&folder, vec![destination("default", Signal::Metrics, address)]);
        for second in 0..3 {
            let one = vec![request(Signal::Metrics, second, 1)];
            delivery.courier().push("default", Signal::Metrics, one);
        }
        let failures = || reading(&delivery, "default", Signal::Metrics).failures;
        // The pause is two seconds by now.
        until("a third failure", || failures() >= 3).await;
        let receiver = Receiver::default();
        tokio::spawn(receiver.clone().serve(address));
        sleep(Duration::from_millis(50)).await;
        assert_eq!(
            delivery
                .finish(2 * SECOND, true, Duration::from_secs(1))
                .await
                .kept,
            0
        );
        assert_eq!(receiver.taken(), collections(0..3));
    });
}
