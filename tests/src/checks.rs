//! Comparisons that several tests share: a group against the truth, and the rules that hold for every
//! group at every tick.

use std::time::Duration;

use serde_json::Value;

use crate::{
    tick::{Group, Tick},
    truth::Truth,
    wait,
};

/// Tolerance for CPU time, a fraction.
pub const CPU_TOLERANCE: f64 = 0.005;

/// Switches that a process may make on its way out, after the totals of its exit record were taken.
const SWITCHES_ON_THE_WAY_OUT: u64 = 4;

/// The same for CPU time, nanoseconds: the tear-down of the address space (docs/adr/0005), and what a hypervisor takes from it.
const CPU_ON_THE_WAY_OUT: f64 = 3e6;

/// Asserts that a group whose members have all been reaped shows exactly what wait4 showed.
///
/// Some kernels do not tell every free (docs/adr/0005): kevmon then counts the process as unsettled. For each of
/// those, and only for those, switches and CPU time may be short by what a process does on its way out; at most one process in a
/// hundred, or one, may be so.
pub fn assert_equals_truth(group: Group<'_>, truth: &Truth) {
    let exact = [
        ("exits", truth.count),
        ("disk_write_bytes", truth.write_bytes),
        ("disk_read_bytes", truth.read_bytes),
        ("process_count", 0),
    ];
    let unsettled = group.0["unsettled"].as_u64().expect("unsettled in every group");
    assert!(
        unsettled <= (truth.count / 100).max(1),
        "{unsettled} of {} ends without final totals: {}",
        truth.count,
        group.0
    );
    for (metric, expected) in [
        ("voluntary_ctx_switches", truth.voluntary),
        ("nonvoluntary_ctx_switches", truth.involuntary),
    ] {
        let told = group.int(metric);
        let short = unsettled * SWITCHES_ON_THE_WAY_OUT;
        assert!(
            (expected.saturating_sub(short)..=expected).contains(&told),
            "{metric}: {told}, not {expected} ({unsettled} unsettled); truth {truth:?}; group {}",
            group.0
        );
    }
    for (metric, expected) in exact {
        assert_eq!(
            group.int(metric),
            expected,
            "{metric}; truth {truth:?}; group {}",
            group.0
        );
    }
    assert_cpu(group, truth);
}

/// Lines of a log at warn or error, but for ticks that were missed: a busy host may take the time for them.
pub fn complaints(log: &str) -> impl Iterator<Item = &str> {
    log.lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .filter(|line| !line.contains("ticks came too late"))
}

/// Asserts that the group's CPU time is the truth's, within the tolerance, and that its parts add up.
pub fn assert_cpu(group: Group<'_>, truth: &Truth) {
    let (told, expected) = (float(group.int("cpu_time_ns")), float(truth.cpu_ns));
    let error = told / expected - 1.0;
    let short = float(group.0["unsettled"].as_u64().unwrap_or(0)) * CPU_ON_THE_WAY_OUT;
    assert!(
        (-CPU_TOLERANCE - short / expected..=CPU_TOLERANCE).contains(&error),
        "cpu_time_ns {told} is {:+.3} % off the truth {expected}; group {}",
        error * 100.0,
        group.0
    );
    let parts = 1e9 * (group.float("cpu_user_time_total") + group.float("cpu_system_time_total"));
    // A runtime that no tick has hit yet is split when the process settles.
    let held_back = if group.0["unsettled"].as_u64().unwrap_or(0) == 0 {
        1e3
    } else {
        told * CPU_TOLERANCE
    };
    assert!(
        (parts - told).abs() <= held_back,
        "user + system = {parts} ns, cpu_time_ns = {told}: {}",
        group.0
    );
}

/// Asserts the usage of what a storm started, with tolerances for what the storm itself cannot tell.
pub fn assert_usage_of_storm(tick: &Tick, group: Group<'_>, truth: &Truth) {
    assert_cpu(group, truth);
    let bytes = (group.int("disk_read_bytes"), group.int("disk_write_bytes"));
    assert_eq!(
        bytes,
        (truth.read_bytes, truth.write_bytes),
        "bytes read and written: {}",
        group.0
    );
    // Upwards: the storm reaps as fast as it can, also children whose last switch is still to come and is
    // missing in their rusage. Downwards: an end whose totals have not settled lacks its last switches.
    let unsettled = tick.unsettled();
    assert!(
        unsettled <= truth.count / 100,
        "{unsettled} ends without settled totals: {}",
        tick.0
    );
    for (metric, expected) in [
        ("voluntary_ctx_switches", truth.voluntary),
        ("nonvoluntary_ctx_switches", truth.involuntary),
    ] {
        // One child in twenty, where the machine is busy with other things.
        let bounds = expected - unsettled * SWITCHES_ON_THE_WAY_OUT..=expected + truth.count / 20;
        assert!(
            bounds.contains(&group.int(metric)),
            "{metric} outside {bounds:?}: {}",
            tick.0
        );
    }
}

/// Asserts that the group has at least the truth's CPU time, within the tolerance, and not much more: for groups with
/// a member of which the truth does not tell, whose start takes a slow machine longer.
pub fn assert_cpu_at_least(group: Group<'_>, truth: &Truth) {
    let (told, least) = (float(group.int("cpu_time_ns")), float(truth.cpu_ns));
    let start = wait::patiently(Duration::from_millis(100)).as_secs_f64() * 1e9;
    let bounds = least * (1.0 - CPU_TOLERANCE)..least * 1.5 + start;
    assert!(
        bounds.contains(&told),
        "cpu_time_ns {told} outside {bounds:?}; group {}",
        group.0
    );
}

/// Asserts the rules that hold for every plugin at every tick: [`assert_sum_rule`] where there are two
/// ticks to compare, and [`assert_sums_up`].
pub fn assert_rules(ticks: &[Tick]) {
    let mut plugins: Vec<&str> = ticks
        .iter()
        .flat_map(Tick::groups)
        .filter_map(|group| group.0["plugin"].as_str())
        .collect();
    plugins.sort_unstable();
    plugins.dedup();
    for plugin in plugins {
        let groups = ticks.iter().filter_map(|tick| tick.group(plugin));
        if groups.map(assert_sums_up).count() >= 2 {
            assert_sum_rule(ticks, plugin);
        }
    }
}

/// Asserts that totals are the sums of their parts, at one tick.
pub fn assert_sums_up(group: Group<'_>) {
    assert_eq!(
        group.int("exits"),
        group.ends(|_| true),
        "exits by reason; {}",
        group.0
    );
    assert_eq!(
        group.int("restarts"),
        group.int("respawns") + group.int("reexecs"),
        "restarts by kind; {}",
        group.0
    );
    let (downtime, lifetime) = (group.downtime(), group.lifetime());
    assert!(
        downtime.count <= group.int("respawns") && lifetime.count <= group.int("exits"),
        "more lengths of time than what they belong to: {}",
        group.0
    );
    assert_eq!(
        (downtime.count > 0, lifetime.count > 0),
        (downtime.last.is_some(), lifetime.last.is_some()),
        "a last length of none: {}",
        group.0
    );
}

/// Asserts starts + worker starts + joins − exits − leaves = the change of `process_count`, between
/// every two ticks of the plugin, and that no counter fell.
pub fn assert_sum_rule(ticks: &[Tick], plugin: &str) {
    let groups: Vec<Group<'_>> = ticks.iter().filter_map(|tick| tick.group(plugin)).collect();
    assert!(groups.len() >= 2, "{} ticks of {plugin}", groups.len());
    let balance = |group: &Group<'_>| {
        let count = |metric| i128::from(group.int(metric));
        count("starts") + count("worker_starts") + count("joins")
            - count("exits")
            - count("leaves")
            - count("process_count")
    };
    for pair in groups.windows(2) {
        assert_eq!(
            balance(&pair[0]),
            balance(&pair[1]),
            "the sum rule between {} and {}",
            pair[0].0,
            pair[1].0
        );
        assert_never_falls(pair[0], pair[1]);
        assert_sums_up(pair[1]);
    }
}

/// Asserts that every record that the kernel side sent has arrived or is counted as lost. Only a tick at
/// which nothing happened beside it can say so; `ticks` must hold one.
pub fn assert_records_add_up(ticks: &[Tick]) {
    let told: Vec<_> = ticks.iter().map(Tick::records).collect();
    assert!(
        told.iter().any(|told| told.received + told.lost == told.sent),
        "received + lost is not sent, in any of {told:?}"
    );
    for told in told {
        assert!(
            told.received + told.lost <= told.sent,
            "more arrived than was sent: {told:?}"
        );
    }
}

/// Asserts that no cumulative value is smaller in the later tick, and that the start time stayed.
pub fn assert_never_falls(earlier: Group<'_>, later: Group<'_>) {
    const COUNTERS: [&str; 17] = [
        "disk_read_bytes",
        "disk_write_bytes",
        "voluntary_ctx_switches",
        "nonvoluntary_ctx_switches",
        "cpu_user_time_total",
        "cpu_system_time_total",
        "starts",
        "worker_starts",
        "restarts",
        "respawns",
        "reexecs",
        "unpaired_starts",
        "failed_starts",
        "exits",
        "joins",
        "leaves",
        "cpu_time_ns",
    ];
    for metric in COUNTERS {
        let (before, after) = (earlier.float(metric), later.float(metric));
        assert!(
            after >= before,
            "{metric} fell from {before} to {after}: {}",
            later.0
        );
    }
    for (before, after) in [
        (earlier.downtime(), later.downtime()),
        (earlier.lifetime(), later.lifetime()),
    ] {
        assert!(
            after.count >= before.count && after.sum >= before.sum,
            "{before:?} became {after:?}: {}",
            later.0
        );
    }
    for before in earlier.0["exits_by_reason"].as_array().into_iter().flatten() {
        let same = |end: &Value| {
            ["reason", "code", "signal", "core_dumped"]
                .iter()
                .all(|key| end.get(key) == before.get(key))
        };
        let (count, now) = (before["count"].as_u64(), later.ends(same));
        assert!(Some(now) >= count, "{before} fell to {now}: {}", later.0);
    }
    assert_eq!(
        earlier.start_time(),
        later.start_time(),
        "start_time moved: {}",
        later.0
    );
}

/// Asserts that kevmon lost nothing in any tick.
pub fn assert_complete(ticks: &[Tick]) {
    for tick in ticks {
        assert_eq!(tick.source(), "ebpf", "source of {}", tick.0);
        assert!(tick.complete(), "a tick is incomplete: {}", tick.0);
    }
}

/// Asserts that two numbers that went different ways are the same but for rounding.
pub fn assert_close(told: f64, expected: f64, what: &str) {
    assert!(
        (told - expected).abs() <= expected.abs() * 1e-9 + 1e-9,
        "{what}: {told}, not {expected}"
    );
}

/// For comparisons with a tolerance.
#[expect(
    clippy::cast_precision_loss,
    reason = "compared with a tolerance far above 2^-53"
)]
pub fn float(value: u64) -> f64 {
    value as f64
}
