use kevmon_common::{Kind, MARK_KNOWN};

use super::*;
use crate::{
    kernel::decode::tests::{BLIND, array, end},
    process::Counter,
};

fn raw_end(flags: u32, exe_len: u32) -> kevmon_common::LostEnd {
    kevmon_common::LostEnd {
        end: end(Kind::Free),
        sequence: 6,
        flags,
        exe_len,
        comm: array(b"worker\0"),
        exe: array(b"worker-of-many"),
    }
}

#[test]
fn a_lost_end_holds_what_both_records_would_have_told() {
    let lost = lost_end(&raw_end(MARK_TOLD | MARK_KNOWN, 14), &BLIND);
    assert_eq!((lost.key.tgid.0, lost.key.start), (7, BootTime(5)));
    assert_eq!(lost.unheard, None, "its names were told");
    assert_eq!(
        (lost.identified, lost.ended, lost.freed),
        (BootTime(6), Some(BootTime(8)), BootTime(9))
    );
    assert_eq!(lost.ending.status, Some(0x700));
    assert_eq!(
        (lost.usage.get(Counter::Runtime), lost.peak_rss),
        (Some(3), Some(8192))
    );
}

#[test]
fn names_that_no_record_told_come_with_the_end() {
    for (flags, exe_len, exe) in [
        (MARK_KNOWN, 14, "worker-of-many"),
        (MARK_KNOWN, 0, ""),
        (MARK_KNOWN | MARK_EXE_CUT, 14, ""),
    ] {
        let lost = lost_end(&raw_end(flags, exe_len), &BLIND);
        let identity = lost.unheard.expect("no record told it");
        assert_eq!((identity.exe.as_str(), identity.comm.as_str()), (exe, "worker"));
    }
    let mut bad = raw_end(MARK_KNOWN, u32::MAX);
    (bad.exe, bad.comm) = ([b'e'; 64], [b'c'; 16]);
    let identity = lost_end(&bad, &BLIND).unheard.expect("no record told it");
    assert_eq!(
        (identity.exe, identity.comm),
        ("e".repeat(64), "c".repeat(16)),
        "bounded by the arrays"
    );
}

fn lives_key(exe: &[u8], flags: u32) -> LivesKey {
    let mut key = LivesKey {
        exe: [0; 64],
        comm: [0; 16],
        status: 9,
        flags,
    };
    key.exe[..exe.len()].copy_from_slice(exe);
    key.comm[..3].copy_from_slice(b"abc");
    key
}

fn sums(count: u64, peak_rss: u64) -> Lives {
    Lives {
        count,
        usage: Usage {
            runtime: count * 10,
            read_bytes: count,
            ..Usage::default()
        },
        peak_rss,
    }
}

#[test]
fn lost_lives_are_told_once_as_what_they_have_grown_by() {
    let now = Instant::now();
    let (a, b) = (lives_key(b"a", 0), lives_key(b"b", 0));
    let mut told = Told::default();
    // What the map holds at each look, and what is told: (exe, lives, CPU time, peak).
    type Look<'a> = (&'a [(LivesKey, Lives)], &'a [(&'a str, u64, u64, Option<u64>)]);
    let looks: [Look<'_>; 5] = [
        (&[(a, sums(3, 5))], &[("a", 3, 30, Some(5 * 4096))]),
        (&[(a, sums(3, 5))], &[]),
        (
            &[(a, sums(4, 5)), (b, sums(1, 0))],
            &[("a", 1, 10, None), ("b", 1, 10, None)],
        ),
        (
            &[(b, sums(1, 0)), (a, sums(9, 6))],
            &[("a", 5, 50, Some(6 * 4096))],
        ),
        (&[], &[]),
    ];
    for (look, (held, expected)) in looks.into_iter().enumerate() {
        let lives = told.advance(held, now, &BLIND);
        let lives: Vec<_> = lives
            .iter()
            .map(|lives| {
                let exe = lives.identity.as_ref().expect("whole").exe.as_str();
                let runtime = lives.usage.get(Counter::Runtime).expect("known");
                (exe, lives.count, runtime, lives.peak_rss)
            })
            .collect();
        assert_eq!(lives, expected, "look {look}");
    }
}

#[test]
fn a_half_read_life_is_told_in_two_parts() {
    let now = Instant::now();
    let key = lives_key(b"a", 0);
    let mut told = Told::default();
    told.advance(&[(key, sums(1, 0))], now, &BLIND);
    // The usage has been added, the life has not been counted yet.
    let half = Lives {
        count: 1,
        ..sums(2, 0)
    };
    let first = told.advance(&[(key, half)], now, &BLIND);
    let second = told.advance(&[(key, sums(2, 0))], now, &BLIND);
    let parts = [&first[0], &second[0]].map(|lives| (lives.count, lives.usage.get(Counter::Runtime)));
    assert_eq!(parts, [(0, Some(10)), (1, Some(0))]);
}

#[test]
fn how_lost_lives_ended_and_began() {
    for (flags, named, forked, oom_victim) in [
        (0, true, false, false),
        (MARK_FORKED, true, true, false),
        (MARK_EXE_CUT, false, false, false),
        (LIVES_OOM, true, false, true),
    ] {
        let key = lives_key(b"a", flags);
        let lives = lost_lives(&key, &Lives::default(), &sums(1, 1), &BLIND);
        assert_eq!(
            (lives.identity.is_some(), lives.forked, lives.ending.oom_victim),
            (named, forked, oom_victim),
            "{flags:#x}"
        );
        assert_eq!((lives.ending.status, lives.ending.sender), (Some(9), None));
    }
}

#[test]
fn sums_that_rest_may_go_when_there_are_many() {
    let begin = Instant::now();
    let mut told = Told::default();
    let held: Vec<_> = (0..=SUMS as u32)
        .map(|n| (lives_key(&n.to_le_bytes(), 0), sums(1, 1)))
        .collect();
    told.advance(&held[1..], begin, &BLIND);
    assert_eq!(told.idle(begin + IDLE), [], "half of the map is free");
    told.advance(&held, begin, &BLIND);
    assert_eq!(told.idle(begin + IDLE / 2), [], "not for long enough");
    // One of them moves.
    told.advance(&[(held[0].0, sums(2, 1))], begin + IDLE / 2, &BLIND);
    let idle = told.idle(begin + IDLE);
    assert_eq!(idle.len(), SUMS);
    assert!(!idle.contains(&held[0].0));
    // Removed from the map and told to be: the same name counts from nothing again.
    told.forget(&held[1].0);
    let lives = told.advance(&[(held[1].0, sums(1, 1))], begin + IDLE, &BLIND);
    assert_eq!(lives.iter().map(|lives| lives.count).collect::<Vec<_>>(), [1]);
}
