//! What a commit costs: `cargo test --release -p kevmon commit_costs -- --ignored --nocapture`.

use std::time::Instant;

use super::{NOW, Random, Scratch, key, open};
use crate::{plugin::SavedGroup, process::Counter, store::Commit};

fn cpu_time() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

#[test]
#[ignore = "prints figures"]
fn commit_costs() {
    const COMMITS: u64 = 50;
    for (groups, members) in [(10_u32, 10_u32), (1, 2_000), (10, 0)] {
        for durable in [true, false] {
            let scratch = Scratch::on_disk();
            let mut store = open(&scratch.store());
            let mut random = Random(1);
            let mut saved: Vec<(_, SavedGroup)> = (0..groups)
                .map(|number| (key(&format!("plugin-{number}")), random.group(members)))
                .collect();
            let (mut cpu, mut longest, mut elapsed) = (0, 0, 0);
            for number in 0..=COMMITS {
                for (_, group) in &mut saved {
                    group.happened.starts = number;
                    for member in &mut group.members {
                        for counter in [Counter::Runtime, Counter::User, Counter::Voluntary] {
                            member.totals = member.totals.with(counter, Some(number * 1_000_000));
                            member.attributed = member.totals;
                        }
                    }
                }
                let commit = Commit {
                    is_durable: durable,
                    time: NOW + number,
                    groups: saved.clone(),
                    ..Commit::default()
                };
                let (start, began) = (cpu_time(), Instant::now());
                store.commit(commit).unwrap();
                let took = cpu_time() - start;
                // The first one writes everything.
                if number > 0 {
                    cpu += took;
                    longest = longest.max(took);
                    elapsed += began.elapsed().as_nanos() as u64;
                }
            }
            println!(
                "{groups} groups × {members} members, durable {durable}: {} µs CPU a commit (longest {} µs), {} µs elapsed",
                cpu / COMMITS / 1_000,
                longest / 1_000,
                elapsed / COMMITS / 1_000
            );
        }
    }
}
