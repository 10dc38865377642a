//! What VictoriaMetrics says of what it gets: it takes metrics alone, and warns of each request for another signal.

use std::time::Duration;

use kevmon_tests::{
    telemetry::lane,
    victoria_metrics::VictoriaMetrics,
    watched::{Watched, run_for},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const WARNING: &str = "unsupported path requested";

/// Runs kevmon with all that it can send, and these further lines in `[export]`; returns the receiver's warnings.
fn warnings(further: &str) -> Vec<String> {
    let receiver = VictoriaMetrics::start();
    let watched = Watched::new(WORKLOAD, "warned", 1, "300ms", "[events]\nenabled = true\n");
    let settings = watched.write_settings(&format!(
        "[export]\nendpoint = \"{}\"\nprotocol = \"http/protobuf\"\n{further}[telemetry]\ninterval = \"1s\"\n",
        receiver.url()
    ));
    let mut daemon = watched.start_with(&["--config", &settings], &[("OTEL_BSP_SCHEDULE_DELAY", "500")]);
    for _ in 0..3 {
        assert_eq!(watched.program().start(&["idle"]).finish().status, 0);
        run_for(&mut daemon, Duration::from_secs(1));
    }
    let metrics = lane(daemon.ticks().last().unwrap(), "default", "metrics").clone();
    assert!(
        metrics["delivered"].as_u64().is_some_and(|count| count > 100),
        "{metrics}"
    );
    assert_eq!(
        metrics["lost"].as_object().map(serde_json::Map::len),
        Some(0),
        "{metrics}"
    );
    daemon.terminate();
    receiver.complaints()
}

#[test]
fn nothing_is_warned_of_where_metrics_alone_are_sent() {
    let warned = warnings("signals = [\"metrics\"]\n");
    assert!(warned.is_empty(), "{warned:#?}");
}

/// Its address says what it is.
#[test]
fn nothing_is_warned_of_at_defaults() {
    let warned = warnings("");
    assert!(warned.is_empty(), "{warned:#?}");
}

#[test]
fn each_other_signal_is_asked_for_twice_at_most() {
    let warned = warnings("signals = [\"metrics\", \"logs\", \"traces\"]\n");
    for path in ["/v1/logs", "/v1/traces"] {
        let count = warned.iter().filter(|line| line.contains(path)).count();
        // The request itself, and an empty one that tells a refusal from a receiver that takes none.
        assert!((1..=2).contains(&count), "{path}: {warned:#?}");
    }
    assert!(warned.iter().all(|line| line.contains(WARNING)), "{warned:#?}");
}
