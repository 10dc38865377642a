//! Whatever bytes lie in the ring or come from an iterator are read within bounds.

use kevmon_common::{SampleRecord, SnapshotRecord};

use super::{
    decode::{self, Blind},
    iterator::Groups,
    ring::{Records, Told},
};
use crate::process::{Event, Identity, KeySet};

/// What a record's texts may take in memory for each of its bytes: a byte that is no text becomes three, and an argument may
/// be a single byte that takes a `String` and its place.
const EXPANSION: usize = 64;
/// What a record may take at least, bytes.
const LEAST: usize = 4096;
/// The highest bit of a length: the record is an iterator's.
const OF_AN_ITERATOR: u32 = 1 << 31;

/// Reads `input` as records: each has its length in four bytes (little endian) before it. Returns how many were understood.
pub fn records(mut input: &[u8]) -> usize {
    let blind = Blind {
        run_delay: false,
        io: false,
        page_size: 4096,
    };
    let mut ring = Records::new(blind);
    let (mut understood, mut seen_bytes) = (0, 0);
    while let Some((length, rest)) = input.split_first_chunk() {
        let length = u32::from_le_bytes(*length);
        let end =
            usize::try_from(length & !OF_AN_ITERATOR).map_or(rest.len(), |length| length.min(rest.len()));
        let (record, rest) = rest.split_at(end);
        input = rest;
        seen_bytes += record.len();
        if length & OF_AN_ITERATOR != 0 {
            understood += usize::from(of_an_iterator(record, &blind));
            continue;
        }
        // What is no record is counted by whoever reads the ring.
        let Ok(told) = ring.read(record) else {
            continue;
        };
        understood += 1;
        if let Some(told) = told {
            // Parts of arguments that came before belong to an exec.
            let most = LEAST + EXPANSION * seen_bytes;
            assert!(told.bytes() <= most, "{} bytes of {seen_bytes}", told.bytes());
            check(&told, record);
        }
    }
    understood
}

fn check(told: &Told, record: &[u8]) {
    match told {
        Told::Cgroup { path, .. } => {
            assert!(!path.is_empty() && path.len() <= record.len(), "{path:?}");
        }
        Told::Event(event, facts) => {
            let numbers = [facts.cgroup, facts.pid_namespace.map(u64::from)];
            assert!(!numbers.contains(&Some(0)), "a number that stands for nothing");
            let key = match event {
                Event::Exec { key, identity, .. } => {
                    names(identity);
                    key
                }
                Event::Rename { key, comm, .. } => {
                    assert!(!comm.contains('\0'), "{comm:?}");
                    key
                }
                Event::Exit { key, peak_rss, .. } | Event::Free { key, peak_rss, .. } => {
                    assert_ne!(*peak_rss, Some(0), "unknown is no zero");
                    key
                }
                Event::Fork { key, .. } => key,
            };
            assert_eq!(decode::key(&decode::raw_key(*key)), *key);
        }
    }
}

/// Names of a process: what matching and the exports ask of them.
fn names(identity: &Identity) {
    assert!(!identity.argv.iter().any(|argument| argument.contains('\0')));
    let all: Vec<&str> = identity.names().collect();
    assert!(all.iter().all(|name| !name.is_empty()), "{identity:?}");
    let _shown = (identity.name(), identity.cmdline());
}

fn of_an_iterator(bytes: &[u8], blind: &Blind) -> bool {
    let snapshot = decode::record::<SnapshotRecord>(bytes);
    if let Some(record) = &snapshot {
        let seen = decode::seen(record, blind);
        names(&seen.identity);
        assert_eq!(seen.end.is_some(), record.ended > 0);
    }
    let mut groups = Groups::default();
    groups.add_all(bytes);
    let samples = bytes.chunks_exact(size_of::<SampleRecord>());
    let samples = samples.filter_map(decode::record::<SampleRecord>);
    let wanted: KeySet = samples.map(|record| decode::key(&record.key)).collect();
    let samples = groups.samples(&wanted, blind);
    assert_eq!(samples.len(), wanted.len(), "each process is one sample");
    for sample in samples.values() {
        assert_ne!(sample.vms, Some(0), "unknown is no zero");
        assert_eq!(sample.threads.is_some(), sample.live, "{sample:?}");
    }
    snapshot.is_some() || !samples.is_empty()
}
