//! The spool's files are deleted while it is open: what waits is still there for the next start.

use std::fs;

use super::{ROOMY, Scratch, drain, parcel, spool};
use crate::store::{
    files::beside,
    spool::{Spool, Why},
};

/// What a kill at this moment leaves.
fn after_a_kill(scratch: &Scratch, number: usize) -> Spool {
    let copy = scratch.0.join(format!("killed-{number}.db"));
    for suffix in ["", "-wal"] {
        if let Ok(bytes) = fs::read(beside(&scratch.store(), suffix)) {
            fs::write(beside(&copy, suffix), bytes).unwrap();
        }
    }
    spool(&copy, ROOMY)
}

#[test]
fn requests_outlive_the_deletion_of_their_file() {
    for (number, deleted) in [
        &[""][..],
        &["", "-wal", "-shm", ".lock"],
        &["-wal"],
        &["-shm"],
        &[".lock"],
    ]
    .into_iter()
    .enumerate()
    {
        let scratch = Scratch::new();
        let mut spooling = spool(&scratch.store(), ROOMY);
        let parcels: Vec<_> = (0..4).map(|number| parcel("a/metrics", number, 5_000)).collect();
        let dropped = spooling.push(&parcels[..2], super::NOW).unwrap();
        assert!(dropped.iter().all(|of| of.why == Why::Old), "{dropped:?}");
        for suffix in deleted {
            fs::remove_file(beside(&scratch.store(), suffix)).unwrap();
        }
        spooling.push(&parcels[2..], super::NOW).unwrap();
        assert_eq!(
            drain(&mut after_a_kill(&scratch, number), "a/metrics"),
            parcels,
            "{deleted:?}"
        );
        assert_eq!(
            drain(&mut spooling, "a/metrics"),
            parcels,
            "{deleted:?}, in this run"
        );
        assert!(
            Spool::open(&scratch.store(), ROOMY, super::NOW).is_err(),
            "{deleted:?}"
        );
    }
}

#[test]
fn the_run_is_noted_in_the_file_that_is_there() {
    let scratch = Scratch::new();
    let mut spooling = spool(&scratch.store(), ROOMY);
    spooling.note_collection(7).unwrap();
    fs::remove_file(scratch.store()).unwrap();
    spooling.note_collection(8).unwrap();
    let last = after_a_kill(&scratch, 0).last_run().unwrap().unwrap();
    assert_eq!((last.ended, last.collection), (false, Some(8)));
}
