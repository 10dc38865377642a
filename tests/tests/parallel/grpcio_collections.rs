//! Collections to grpcio, whose answers are compressed as grpc-go's are: each is taken once, and none is repeated.

use std::{thread, time::Duration};

use kevmon_tests::{
    cells::{Cells, WAYS},
    grpcio::{Grpcio, Played},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

fn every_way(collections: u32, interval: Duration) {
    let temporalities = ["cumulative", "delta"];
    let ways = &WAYS[..2];
    let name = |temporality: &str, way: &str| format!("{temporality}-{way}");
    let played: Vec<(String, Played)> = temporalities
        .iter()
        .flat_map(|temporality| ways.iter().map(|(way, ..)| name(temporality, way)))
        .map(|name| {
            let played = Played {
                compression: "gzip",
                code: "OK",
                details: false,
                age: None,
            };
            (name, played)
        })
        .collect();
    let server = Grpcio::start(&played);
    let mut cells = temporalities.map(|temporality| {
        let url = |way: &str, _: &str| server.url(&name(temporality, way));
        Cells::start(WORKLOAD, temporality, interval, ways, url)
    });
    thread::scope(|scope| {
        for of_temporality in &mut cells {
            scope.spawn(|| of_temporality.run_for(interval * collections));
        }
    });
    for (of_temporality, temporality) in cells.into_iter().zip(temporalities) {
        let ticks = of_temporality.finish(usize::try_from(collections).unwrap());
        for (way, ..) in ways {
            let attempts = server.attempts(&name(temporality, way));
            assert!(
                attempts.iter().all(|count| *count == 1),
                "{temporality} {way}: {attempts:?}"
            );
            assert_eq!(
                attempts.len(),
                ticks.len(),
                "{temporality} {way}: requests and collections"
            );
        }
    }
}

#[test]
fn each_collection_is_taken_once() {
    every_way(8, Duration::from_millis(200));
}

#[test]
#[ignore = "a minute: cargo xtask test --e2e -- --ignored grpcio_collections::"]
fn sixty_collections_are_taken_once() {
    every_way(60, Duration::from_secs(1));
}
