//! What the spool costs; for people, not a test.

use std::time::Instant;

use super::{Limits, NOW, Parcel, ROOMY, Scratch, parcel, spool};

#[test]
#[ignore = "prints figures for docs/store.md"]
fn spool_costs() {
    for (count, length) in [(3_000, 2_000), (3_000, 20_000), (60_000, 1_000)] {
        let scratch = Scratch::on_disk();
        let mut spool = spool(&scratch.store(), ROOMY);
        let parcels: Vec<Parcel> = (0..count).map(|number| parcel("a", number, length)).collect();
        let start = Instant::now();
        let mut worst = start.elapsed();
        for parcel in &parcels {
            let one = Instant::now();
            spool.push(std::slice::from_ref(parcel), NOW).unwrap();
            worst = worst.max(one.elapsed());
        }
        let push = start.elapsed() / count as u32;
        drop(spool);
        let file = std::fs::metadata(scratch.store()).unwrap().len();
        let start = Instant::now();
        let mut spool = super::spool(
            &scratch.store(),
            Limits {
                bytes: 1 << 40,
                ..ROOMY
            },
        );
        let opening = start.elapsed();
        let counted = super::state(&spool, "a").waiting.bytes;
        let start = Instant::now();
        let mut slowest = start.elapsed();
        while let Some(oldest) = spool.peek("a").unwrap() {
            let one = Instant::now();
            spool.remove(&oldest).unwrap();
            slowest = slowest.max(one.elapsed());
        }
        let drain = start.elapsed() / count as u32;
        println!(
            "{count} of {length} bytes: push {push:?} (worst {worst:?}), peek and remove {drain:?} (worst {slowest:?}), \
             open {opening:?}, file {:.2} of what is counted",
            file as f64 / counted as f64
        );
    }
}
