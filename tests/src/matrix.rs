//! The frame of the tests about answers: kevmon sends the same collections to many receivers at once, each of which answers
//! in its own way, and each way has one expectation.

use std::{fmt::Write as _, panic::AssertUnwindSafe, time::Duration};

use serde_json::Value;

use crate::{
    telemetry::lane,
    tick::Tick,
    watched::{Watched, run_for},
};

/// How long collections are sent, one in half a second.
const TIME: Duration = Duration::from_secs(8);

/// What becomes of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Delivered, sent once.
    Once,
    /// Delivered, sent once; what was rejected of it is unknown, and counted.
    OnceUnread,
    /// Sent at most twice, then counted as delivered.
    Repeated,
    /// Cut in halves until it is taken.
    Split,
    /// Sent once, and counted as refused.
    Refused,
    /// The same, with a pause after each: whoever does not know the client may do so soon.
    RefusedSlowly,
    /// Not taken: it waits, with all that is newer.
    Kept,
    /// The same, and the receiver says that it has not even looked at it.
    KeptUnprocessed,
}

/// A receiver.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its name in the configuration.
    pub name: String,
    pub url: String,
    /// `grpc` or `http/protobuf`.
    pub protocol: &'static str,
    /// `none` or `gzip`.
    pub compression: &'static str,
    /// Further lines of its table in the configuration.
    pub further: String,
}

/// Runs kevmon with these receivers; returns the last line.
pub fn run(workload: &str, stem: &str, endpoints: &[Endpoint]) -> Tick {
    let names: Vec<String> = endpoints.iter().map(|of| format!("\"{}\"", of.name)).collect();
    let further = format!("[export]\nendpoints = [{}]\n", names.join(", "));
    let watched = Watched::new(workload, stem, 2, "500ms", &further);
    let mut settings = "[telemetry]\nenabled = false\n".to_owned();
    for of in endpoints {
        write!(
            settings,
            "[endpoints.{}]\nendpoint = \"{}\"\nprotocol = \"{}\"\ntimeout = \"1s\"\ncompression = \"{}\"\n{}\n",
            of.name, of.url, of.protocol, of.compression, of.further
        )
        .expect("text");
    }
    let settings = watched.write_settings(&settings);
    let mut daemon = watched.start(&["--config", &settings]);
    run_for(&mut daemon, TIME);
    let last = daemon.ticks().last().expect("lines").clone();
    let said = daemon.stderr();
    assert!(!said.contains("panicked"), "{said}");
    daemon.terminate();
    last
}

/// Whether what was sent to `name`, each request so many times, and what the last line says of it are as expected; says why
/// not on standard error, so that every wrong cell of a matrix is seen and not the first one alone.
pub fn holds(what: &str, name: &str, attempts: &[usize], last: &Tick, expected: Expected) -> bool {
    let lane = lane(last, name, "metrics");
    std::panic::catch_unwind(AssertUnwindSafe(|| check(what, attempts, lane, expected))).is_ok()
}

fn check(what: &str, attempts: &[usize], lane: &Value, expected: Expected) {
    let number = |key: &str| lane[key].as_u64().unwrap_or_default();
    let refused = lane["lost"]["refused"].as_u64().unwrap_or_default();
    let most = attempts.iter().copied().max().unwrap_or_default();
    let told = format!("{what}, {expected:?}: attempts {attempts:?}; {lane}");
    let moves = attempts.len() >= 5 && number("waiting_requests") <= 2;
    let is_delivered = number("delivered") > 0 && refused == 0;
    let unread = number("unreadable_answers");
    match expected {
        Expected::Once => assert!(most == 1 && moves && is_delivered && unread == 0, "{told}"),
        Expected::OnceUnread => assert!(most == 1 && moves && is_delivered && unread > 0, "{told}"),
        Expected::Repeated => assert!(most == 2 && moves && is_delivered && unread > 0, "{told}"),
        Expected::Split => assert!(
            most == 1 && moves && is_delivered && attempts.len() > 10,
            "{told}"
        ),
        Expected::Refused => assert!(
            most == 1 && moves && number("delivered") == 0 && refused > 0,
            "{told}"
        ),
        Expected::RefusedSlowly => assert!(
            most == 1 && attempts.len() > 1 && number("delivered") == 0 && refused > 0,
            "{told}"
        ),
        Expected::Kept | Expected::KeptUnprocessed => assert!(
            attempts.len() == usize::from(expected == Expected::Kept)
                && number("delivered") == 0
                && refused == 0
                && number("waiting_requests") >= 5,
            "{told}"
        ),
    }
}
