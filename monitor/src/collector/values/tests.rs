//! What becomes of an output's values.

use super::{super::format, *};
use crate::plugin::collector::{DEFAULT_TIMEOUT, Format};

const S: u64 = 1_000_000_000;

fn spec(metrics: Vec<MetricSpec>) -> CollectorSpec {
    CollectorSpec {
        name: "c".into(),
        interval: None,
        timeout: DEFAULT_TIMEOUT,
        source: Source::BuiltIn("host_pressure".into()),
        metrics,
    }
}

fn metric(name: &str, from: &str, kind: Option<MetricKind>, value: Option<ValueType>) -> MetricSpec {
    MetricSpec {
        name: name.into(),
        unit: "By".into(),
        description: String::new(),
        kind,
        value,
        place: Place::Name(from.into()),
        attributes: [("extra".to_owned(), "x".to_owned())].into(),
    }
}

fn found(text: &str, time: u64) -> Vec<Found> {
    vec![Found {
        parsed: format::parse(Format::Scalyr, text.as_bytes(), &[]),
        process: None,
        time,
    }]
}

/// The series of counters are kept for as long as the collector: one of which each run has other attributes would go on
/// for ever.
#[test]
fn series_of_counters_take_bounded_memory() {
    let mut sums = Sums::default();
    let long = |number: usize| vec![(format!("k{number}"), "x".repeat(1 << 20))];
    let kept = (0..100).filter(|number| sums.start("a", &long(*number), 1.0, S).is_some());
    assert_eq!(kept.count(), 31);
    assert_eq!(
        sums.start("a", &long(0), 2.0, 2 * S),
        Some(S),
        "what is kept goes on"
    );
}

#[test]
fn names_that_come_again_are_one_failure_of_their_value() {
    let (mut sums, mut rates) = Default::default();
    let text = format!("a 1{}\nb 1 k=1 k=2\nc 1 k=1\n", " k=1 l=1".repeat(20));
    let every = Duration::from_secs(60);
    let made = make(
        &spec(vec![]),
        &[],
        found(&text, S),
        every,
        (&mut sums, &mut rates),
        |_| false,
    );
    assert_eq!(made.values.len(), 3);
    let told: Vec<&str> = made.failures.iter().map(|(_, reason)| reason.as_str()).collect();
    assert_eq!(
        told,
        [
            "a has the attribute k twice and the first is kept; print it once",
            "b has the attribute k twice and the first is kept; print it once"
        ]
    );
}

/// A point's attributes have each name once (OTLP, opentelemetry/proto/metrics/v1), and a series one value at a time.
#[test]
fn no_name_and_no_series_twice() {
    let mut spec = spec(vec![metric("a", "a", None, None), metric("b", "b", None, None)]);
    let pid = ("process.pid".to_owned(), "none".to_owned());
    spec.metrics[0].attributes.extend([pid]);
    let (mut sums, mut rates) = Default::default();
    let mut found = found("a 1 extra=y k=1 k=2\nb 1 k=1 l=1\nb 2 l=1 k=1\nb 3 l=2\n", 10 * S);
    found[0].process = Some(ProcessKey {
        tgid: crate::process::Tgid(7),
        start: crate::process::BootTime(1),
    });
    let every = Duration::from_secs(60);
    let made = make(&spec, &[], found, every, (&mut sums, &mut rates), |_| false);
    let told: Vec<String> = made
        .values
        .iter()
        .map(|of| {
            let attributes = of.attributes.iter().map(|(key, value)| format!(" {key}={value}"));
            format!("{} {:?}{}", of.name, of.value, attributes.collect::<String>())
        })
        .collect();
    assert_eq!(
        told,
        [
            "a Int(1) extra=x k=1 process.pid=7",
            "b Int(1) extra=x k=1 l=1 process.pid=7",
            "b Int(3) extra=x l=2 process.pid=7"
        ]
    );
    let kinds: Vec<&str> = made.failures.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, ["parse", "duplicate"], "{:?}", made.failures);
}

#[test]
fn what_is_asked_for_as_it_is_asked_for() {
    let spec = spec(vec![
        metric("used", "mem", Some(MetricKind::Counter), Some(ValueType::Int)),
        metric("share", "load", None, Some(ValueType::Float)),
    ]);
    let (mut sums, mut rates) = Default::default();
    let mut run = |text: &str, time: u64| {
        make(
            &spec,
            &[],
            found(text, time),
            Duration::from_secs(60),
            (&mut sums, &mut rates),
            |name| name == "taken",
        )
    };
    let made = run("mem 5\nload 2\nother 1\n", 10 * S);
    let told: Vec<_> = made
        .values
        .iter()
        .map(|of| (of.name.as_str(), of.value.clone(), of.unit.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (
                "used",
                Custom::IntSum {
                    value: 5,
                    start: 10 * S
                },
                "By"
            ),
            ("share", Custom::Float(2.0), "By")
        ]
    );
    assert_eq!(made.values[0].attributes, [("extra".to_owned(), "x".to_owned())]);
    let made = run("mem 7.0\n", 20 * S);
    assert_eq!(made.failures.len(), 1, "{:?}", made.failures);
    assert_eq!(made.failures[0].0, "missing", "share has not come");
    assert_eq!(
        made.values[0].value,
        Custom::IntSum {
            value: 7,
            start: 10 * S
        }
    );
    let made = run("mem 3\n", 30 * S);
    assert_eq!(
        made.values[0].value,
        Custom::IntSum {
            value: 3,
            start: 30 * S
        },
        "it begins again"
    );
    let made = run("mem 3.5\nload x\nmem -1\n", 40 * S);
    assert_eq!(
        made.failures.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
        ["type"; 3]
    );
}

#[test]
fn everything_where_nothing_is_asked_for_but_kevmons_own_names() {
    let (mut sums, mut rates) = Default::default();
    let made = make(
        &spec(Vec::new()),
        &[],
        found("a 1\nb true\nstate ready\ntaken 1\n", S),
        Duration::from_secs(1),
        (&mut sums, &mut rates),
        |name| name == "taken",
    );
    let told: Vec<_> = made.values.iter().map(|of| of.value.clone()).collect();
    assert_eq!(
        told,
        [Custom::Int(1), Custom::Int(1), Custom::Text("ready".into())]
    );
    assert_eq!(made.failures[0].0, "name_taken");
}

/// A metrics group of one metric, as its output has it.
fn group(kind: &str, device: &str, (name, value, metric): (&str, i64, &str), seconds: u64) -> String {
    format!(
        r#"{{"metrics_group_type":"{kind}","metrics_group_interval":60,"metrics_group_schema_version":"0.2","resource":{{"resource_id":"{device}"}},"metrics":[{{"metric_name":"{name}","metric_value":{value},"metric_type":"{metric}","metric_creation_timestamp":{seconds}}}],"dimensions":[]}}"#
    ) + "\n"
}

fn groups(text: &str, time: u64) -> Vec<Found> {
    vec![Found {
        parsed: format::parse(Format::Panoptes, text.as_bytes(), &[]),
        process: None,
        time,
    }]
}

fn written(values: &[CustomValue]) -> Vec<String> {
    let one = |of: &CustomValue| {
        let attributes = of.attributes.iter().map(|(key, value)| format!(" {key}={value}"));
        format!("{} {:?}{}", of.name, of.value, attributes.collect::<String>())
    };
    values.iter().map(one).collect()
}

/// Two groups, and two devices, of one metric: each is a series of its own, whatever their times, and so are their sums
/// and rates.
#[test]
fn groups_and_devices_are_series_of_their_own() {
    let transforms = ["cpu", "disk"].map(|group| Transform {
        group: group.into(),
        result: format!("{group}_rates"),
        counters: vec!["n".into()],
    });
    let (mut sums, mut rates) = Default::default();
    let mut run = |text: &str, at: u64| {
        let every = Duration::from_secs(60);
        let spec = spec(Vec::new());
        make(
            &spec,
            &transforms,
            groups(text, at * S),
            every,
            (&mut sums, &mut rates),
            |_| false,
        )
    };
    let all = |at: u64, by: i64| {
        [("cpu", "r1", 100), ("disk", "r1", 5), ("cpu", "r2", 70)]
            .map(|(kind, device, value)| group(kind, device, ("n", value + by, "counter"), at))
            .concat()
    };
    let made = run(&all(1_000, 0), 1_000);
    assert_eq!(made.failures, []);
    assert_eq!(
        written(&made.values),
        [
            "n IntSum { value: 100, start: 1000000000000 } kevmon.metrics_group=cpu resource_id=r1",
            "n IntSum { value: 5, start: 1000000000000 } kevmon.metrics_group=disk resource_id=r1",
            "n IntSum { value: 70, start: 1000000000000 } kevmon.metrics_group=cpu resource_id=r2",
        ]
    );
    let made = run(&all(1_060, 120), 1_060);
    assert_eq!(made.failures, []);
    assert_eq!(
        written(&made.values),
        [
            "n_rate Float(2.0) kevmon.metrics_group=cpu_rates resource_id=r1",
            "n IntSum { value: 220, start: 1000000000000 } kevmon.metrics_group=cpu resource_id=r1",
            "n_rate Float(2.0) kevmon.metrics_group=disk_rates resource_id=r1",
            "n IntSum { value: 125, start: 1000000000000 } kevmon.metrics_group=disk resource_id=r1",
            "n_rate Float(2.0) kevmon.metrics_group=cpu_rates resource_id=r2",
            "n IntSum { value: 190, start: 1000000000000 } kevmon.metrics_group=cpu resource_id=r2",
        ]
    );
}

#[test]
fn a_series_has_one_type_and_one_value_in_a_group() {
    let double = group("g", "r", ("n", 1, "gauge"), 10).replace(
        "}],",
        r#"},{"metric_name":"n","metric_value":2,"metric_type":"gauge","metric_creation_timestamp":11}],"#,
    );
    for (text, kept, part) in [
        (double, 1, "twice in one metrics group"),
        (
            group("g", "r", ("n", 1, "gauge"), 10) + &group("g", "r", ("n", 2, "counter"), 11),
            1,
            "of two types",
        ),
        (
            group("g", "r", ("n", 1, "gauge"), 10) + &group("g", "r", ("n", 2, "gauge"), 10),
            1,
            "two values at one time",
        ),
        // Two samples, and two types in two groups.
        (
            group("g", "r", ("n", 1, "gauge"), 10) + &group("g", "r", ("n", 2, "gauge"), 11),
            2,
            "",
        ),
        (
            group("g", "r", ("n", 1, "gauge"), 10) + &group("h", "r", ("n", 2, "counter"), 10),
            2,
            "",
        ),
    ] {
        let (mut sums, mut rates) = Default::default();
        let every = Duration::from_secs(60);
        let found = groups(&text, 20 * S);
        let made = make(
            &spec(Vec::new()),
            &[],
            found,
            every,
            (&mut sums, &mut rates),
            |_| false,
        );
        assert_eq!(made.values.len(), kept, "{text}");
        let first = &made.values[0].value;
        assert!(matches!(first, Custom::Int(1)), "{first:?}: the first is kept");
        assert_eq!(
            made.failures.len(),
            usize::from(!part.is_empty()),
            "{:?}",
            made.failures
        );
        for (kind, reason) in &made.failures {
            assert!(*kind == "duplicate" && reason.contains(part), "{reason}");
        }
    }
}

/// A group's samples may come in any order, and less often than its collector runs.
#[test]
fn samples_go_by_their_times_and_gaps_by_the_groups_interval() {
    let transforms = [Transform {
        group: "g".into(),
        result: "out".into(),
        counters: vec!["n".into()],
    }];
    let (mut sums, mut rates) = Default::default();
    let text = [(1_120, 30), (1_000, 10), (1_060, 20)]
        .map(|(at, value)| group("g", "r", ("n", value, "counter"), at))
        .concat();
    let every = Duration::from_secs(10);
    let found = groups(&text, 1_200 * S);
    let made = make(
        &spec(Vec::new()),
        &transforms,
        found,
        every,
        (&mut sums, &mut rates),
        |_| false,
    );
    assert_eq!(made.failures, []);
    let starts: Vec<_> = made.values.iter().filter(|of| of.name == "n").collect();
    assert!(
        starts
            .iter()
            .all(|of| matches!(of.value, Custom::IntSum { start, .. } if start == 1_000 * S)),
        "{starts:?}"
    );
    let rates = made.values.iter().filter(|of| of.name == "n_rate");
    assert_eq!(
        rates.count(),
        2,
        "60 s apart, of a collector that runs every 10 s"
    );
}

/// Both a collector and a group may have the name of a transform; several may ask for one counter.
#[test]
fn a_counter_of_several_transforms_has_a_rate_in_each() {
    let transform = |group: &str, result: &str| Transform {
        group: group.into(),
        result: result.into(),
        counters: vec!["n".into()],
    };
    let transforms = [
        transform("c", "one"),
        transform("g", "two"),
        transform("h", "two"),
    ];
    let (mut sums, mut rates) = Default::default();
    let mut run = |text: &str, at: u64| {
        let every = Duration::from_secs(60);
        let spec = spec(Vec::new());
        make(
            &spec,
            &transforms,
            groups(text, at * S),
            every,
            (&mut sums, &mut rates),
            |_| false,
        )
    };
    run(&group("g", "r", ("n", 0, "counter"), 1_000), 1_000);
    let made = run(&group("g", "r", ("n", 60, "counter"), 1_060), 1_060);
    let of_rate = made.values.iter().filter(|of| of.name == "n_rate").cloned();
    assert_eq!(
        written(&of_rate.collect::<Vec<_>>()),
        [
            "n_rate Float(1.0) kevmon.metrics_group=one resource_id=r",
            "n_rate Float(1.0) kevmon.metrics_group=two resource_id=r",
        ]
    );
    // Two groups whose rates would be one series.
    let both = |at: u64, value: i64| {
        ["g", "h"]
            .map(|kind| group(kind, "r", ("n", value, "counter"), at))
            .concat()
    };
    run(&both(1_120, 120), 1_120);
    let made = run(&both(1_180, 180), 1_180);
    assert_eq!(made.failures.len(), 2, "{:?}", made.failures);
    assert!(made.failures.iter().all(|(kind, _)| *kind == "duplicate"));
}

#[test]
fn rates_of_the_groups_that_are_named() {
    let transforms = [Transform {
        group: "c".into(),
        result: "out".into(),
        counters: vec!["n".into()],
    }];
    let (mut sums, mut rates) = Default::default();
    let mut run = |text: &str, time: u64| {
        let made = make(
            &spec(Vec::new()),
            &transforms,
            found(text, time),
            Duration::from_secs(10),
            (&mut sums, &mut rates),
            |_| false,
        );
        made.values
            .into_iter()
            .find(|of| of.name == "n_rate")
            .map(|of| (of.value, of.attributes))
    };
    assert_eq!(run("n 1\nm 1\n", 10 * S), None);
    let group = vec![("kevmon.metrics_group".to_owned(), "out".to_owned())];
    assert_eq!(run("n 6\nm 9\n", 20 * S), Some((Custom::Float(0.5), group)));
}
