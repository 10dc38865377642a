//! The OpenTelemetry Collector, whose gRPC server (grpc-go) answers in the encoding of the request whatever it was asked for
//! (grpc/grpc-go#2749): each collection arrives once. Optional: tests/collector/README.md says how it is built.

use std::{thread, time::Duration};

use kevmon_tests::{
    cells::{self, Cells, WAYS},
    collector::Collector,
    wait,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);

/// Every way at once, so often at this interval.
fn every_way(collections: u32, interval: Duration) {
    let collector = Collector::start();
    let mut cells = ["cumulative", "delta"].map(|temporality| {
        let url = |_: &str, protocol: &str| collector.url(protocol);
        Cells::start(WORKLOAD, temporality, interval, &WAYS, url)
    });
    thread::scope(|scope| {
        for of_temporality in &mut cells {
            scope.spawn(|| of_temporality.run_for(interval * collections));
        }
    });
    for (of_temporality, temporality) in cells.into_iter().zip(["cumulative", "delta"]) {
        let ticks = of_temporality.finish(usize::try_from(collections).unwrap());
        let last = ticks.last().unwrap().time();
        for (way, ..) in WAYS {
            let points = wait::until("the last collection at the Collector", LIMIT, || {
                thread::sleep(Duration::from_millis(50));
                let points = collector.points();
                let plugin = cells::plugin(temporality, way);
                let is_last = |point: &kevmon_tests::points::Point| {
                    point.time == last && point.resource.get("kevmon.plugin") == Some(&plugin)
                };
                points.iter().any(is_last).then_some(points)
            });
            cells::assert_each_once(&points, &ticks, temporality, way);
        }
    }
    let log = collector.log();
    assert!(!log.contains("\terror\t") && !log.contains("\twarn\t"), "{log}");
}

#[test]
fn each_collection_arrives_once_in_every_way() {
    every_way(8, Duration::from_millis(200));
}

#[test]
#[ignore = "a minute: cargo xtask test --e2e -- --ignored otel_collector::"]
fn sixty_collections_arrive_once_in_every_way() {
    every_way(60, Duration::from_secs(1));
}
