//! `kill -9` at any moment: what is there afterwards is one commit, whole.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    time::Duration,
};

use super::{BOOT, NOW, Random, Scratch, child, child_arguments, key, open, ready};
use crate::store::{Commit, Opened, Store};

const GROUPS: [&str; 3] = ["a", "b", "c"];

/// Commits in which everything says the same number, one after the other, and tells each that was acknowledged.
#[test]
#[ignore = "run by a_kill_leaves_one_whole_commit"]
fn commits_for_ever() {
    let Some((path, first)) = child_arguments() else {
        return;
    };
    let mut store = open(&path);
    let mut random = Random(1);
    for number in first as u64.. {
        let groups = GROUPS.map(|plugin| {
            let mut group = random.group(20);
            group.happened.starts = number;
            group.exits = vec![(crate::process::Reason::Oom, number)];
            group.downtime.sum = number;
            for member in &mut group.members {
                member.key.start.0 = number;
            }
            (key(plugin), group)
        });
        store
            .commit(Commit {
                time: number,
                groups: groups.to_vec(),
                ..Commit::default()
            })
            .unwrap();
        println!("committed {number}");
    }
}

#[test]
fn a_kill_leaves_one_whole_commit() {
    let scratch = Scratch::new();
    let mut random = Random(42);
    let mut acknowledged = 0;
    for _ in 0..10 {
        let mut writer = child(
            "kills::commits_for_ever",
            &scratch.store(),
            acknowledged as usize + 1,
        )
        .spawn()
        .unwrap();
        let output = writer.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let numbers = BufReader::new(output).lines().map_while(Result::ok);
            numbers
                .filter_map(|line| line.split_once("committed ")?.1.parse::<u64>().ok())
                .last()
        });
        std::thread::sleep(Duration::from_millis(60 + random.next() % 90));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let told = reader.join().unwrap().unwrap_or(acknowledged);

        let store = ready(Store::open(&scratch.store(), BOOT, NOW));
        assert_eq!(store.notes(), []);
        let last = store.outage().map_or(0, |outage| outage.from);
        assert!(last >= told, "{told} was acknowledged, {last} is there");
        let groups = store.groups();
        for group in groups.values() {
            assert_eq!((group.happened.starts, group.downtime.sum), (last, last));
            assert_eq!(group.exits, [(crate::process::Reason::Oom, last)]);
            assert_eq!(group.members.len(), 20);
            assert!(group.members.iter().all(|member| member.key.start.0 == last));
        }
        acknowledged = last;
    }
    assert!(acknowledged > 10, "{acknowledged} commits");
}

#[test]
#[ignore = "run by a_kill_while_a_new_one_is_made"]
fn opens() {
    let Some((path, _)) = child_arguments() else {
        return;
    };
    println!("opening");
    drop(open(&path));
}

/// Also outside the transaction: while the file is made, its mode set, its log begun.
#[test]
fn a_kill_while_a_new_one_is_made() {
    let mut random = Random(43);
    let mut cut_short = 0;
    for _ in 0..30 {
        let scratch = Scratch::new();
        let mut opening = child("kills::opens", &scratch.store(), 0).spawn().unwrap();
        let mut output = BufReader::new(opening.stdout.take().unwrap()).lines();
        while !output.next().unwrap().unwrap().contains("opening") {}
        std::thread::sleep(Duration::from_micros(random.next() % 6_000));
        opening.kill().unwrap();
        cut_short += u32::from(!opening.wait().unwrap().success());
        let left = fs::metadata(scratch.store()).map(|file| file.len()).ok();
        match Store::open(&scratch.store(), BOOT, NOW) {
            Opened::Ready(store) => assert_eq!(store.groups().len(), 0),
            Opened::Without { reason } => panic!("{left:?} bytes: {reason}"),
        }
    }
    println!("{cut_short} of 30 cut short");
    assert!(cut_short > 0);
}
