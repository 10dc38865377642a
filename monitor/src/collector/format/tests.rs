//! Each format by its published examples, and by whatever bytes.

use regex::Regex;

use super::*;
use crate::plugin::collector::Place;

fn told(parsed: &Parsed) -> Vec<String> {
    parsed
        .values
        .iter()
        .map(|of| {
            let value = match &of.value {
                Raw::Int(value) => format!("{value}i"),
                Raw::Float(value) => format!("{value}f"),
                Raw::Text(value) => format!("{value:?}"),
            };
            let kind = of.kind.map_or(String::new(), |kind| format!(" {kind:?}"));
            let attributes: String = of
                .attributes
                .iter()
                .map(|(key, value)| format!(" {key}={value}"))
                .collect();
            format!("{} {value}{kind}{attributes}", of.name)
        })
        .collect()
}

fn metric(name: &str, place: Place) -> MetricSpec {
    MetricSpec {
        name: name.to_owned(),
        unit: String::new(),
        description: String::new(),
        kind: None,
        value: None,
        place,
        attributes: std::collections::BTreeMap::new(),
    }
}

#[test]
fn scalyr_lines() {
    let parsed = parse(
        Format::Scalyr,
        b"2014-07-29 20:22:06.789Z [random_coin_monitor()] uniform 0.982530747431 count=1\n\
          gauss 8 count=1 host=\"a b\"\n# comment\n\n up true\nid \"007\"\nstate \"not ready\" why=\"a \\\"b\\\"\"\n\
          1up 1\nlonely\nbad nan\na 1 b\nopen \"x\n",
        &[],
    );
    assert_eq!(
        told(&parsed),
        [
            "uniform 0.982530747431f count=1",
            "gauss 8i count=1 host=a b",
            "up 1i",
            "id \"007\"",
            "state \"not ready\" why=a \"b\"",
        ]
    );
    assert_eq!(
        parsed.problems,
        [
            "line 8: \"1up\" is no name of a metric; begin with a letter, then use letters, digits, '.' and '_'",
            "line 9: lonely has no value; write \"lonely 1\"",
            "line 10: the value of bad is not finite; leave it out instead",
            "line 11: \"b\" is no field; write key=value",
            "line 12: a quote is not closed; close it",
        ]
    );
}

/// Scalyr writes texts as JSON strings.
#[test]
fn texts_in_quotes_have_jsons_escapes() {
    let lines = r#"a "x\"y\\z"
b "1\n2\t3\/" k="\u00e4\u20ac\ud83d\ude00"
c "\u12" k="\ud83dx"
d \n
"#;
    let parsed = parse(Format::Scalyr, lines.as_bytes(), &[]);
    assert_eq!(
        told(&parsed),
        [
            "a \"x\\\"y\\\\z\"",
            "b \"1\\n2\\t3/\" k=\u{e4}\u{20ac}\u{1f600}",
            "c \"\u{fffd}12\" k=\u{fffd}x",
            "d \"\\\\n\"",
        ],
        "{:?}",
        parsed.problems
    );
}

#[test]
fn the_tutorials_metrics_group() {
    let group = r#"{"metrics_group_type": "example", "metrics_group_interval": 60,
        "metrics_group_creation_timestamp": 1580339222.678, "metrics_group_schema_version": "0.2",
        "resource": {"resource_id": "tutorial_device"},
        "metrics": [
          {"metric_creation_timestamp": 1580339222.681, "metric_name": "cpu_load", "metric_value": 0.3, "metric_type": "gauge"},
          {"metric_creation_timestamp": 1580339222.68, "metric_name": "context_switch_count", "metric_value": 50, "metric_type": "counter"}
        ],
        "dimensions": [{"dimension_name": "cpu_no", "dimension_value": "5"}]}"#;
    let expected = [
        "cpu_load 0.3f Gauge kevmon.metrics_group=example resource_id=tutorial_device cpu_no=5",
        "context_switch_count 50i Counter kevmon.metrics_group=example resource_id=tutorial_device cpu_no=5",
    ];
    let parsed = parse(Format::Panoptes, group.as_bytes(), &[]);
    assert_eq!(
        (told(&parsed), parsed.problems.len()),
        (expected.map(str::to_owned).to_vec(), 0)
    );
    assert_eq!(
        parsed.values[0].time.map(|time| time / 1_000_000),
        Some(1_580_339_222_681)
    );
    let group_of = |parsed: &Parsed| {
        parsed.values[0]
            .group
            .clone()
            .map(|group| (group.kind, group.interval))
    };
    assert_eq!(
        group_of(&parsed),
        Some(("example".to_owned(), Some(60_000_000_000)))
    );
    let list = format!("[{group}, {group}]");
    assert_eq!(parse(Format::Panoptes, list.as_bytes(), &[]).values.len(), 4);
    let lines = format!(
        "{}\n{}\n",
        group.replace('\n', " "),
        group.replace("\"0.2\"", "\"0.3\"")
    );
    let parsed = parse(Format::Panoptes, lines.as_bytes(), &[]);
    assert_eq!(parsed.values.len(), 2);
    assert!(
        parsed.problems[0].starts_with("line 2: the metrics group has not"),
        "{:?}",
        parsed.problems
    );
    assert_eq!(parse(Format::Panoptes, b"{", &[]).faulty, 1);
}

/// What tells series apart: the group's type, and of its resource what names it, not what describes it.
#[test]
fn a_groups_type_and_resource_are_attributes() {
    let group = |kind: &str, resource: &str, dimensions: &str| {
        format!(
            r#"{{"metrics_group_type": {kind}, "metrics_group_schema_version": "0.2", {resource}
            "metrics": [{{"metric_name": "n", "metric_value": 1, "metric_type": "gauge"}}], "dimensions": [{dimensions}]}}"#
        )
    };
    let whole = r#""resource": {"resource_site": "s", "resource_class": "c", "resource_subclass": "u", "resource_type": "t",
        "resource_id": "i", "resource_endpoint": "e", "resource_metadata": {"_resource_ttl": "900"},
        "resource_creation_timestamp": 1580339222.6, "resource_plugin": "p"},"#;
    let dimension = |name: &str| format!(r#"{{"dimension_name": "{name}", "dimension_value": "d"}}"#);
    for (text, expected) in [
        (
            group(r#""g""#, whole, ""),
            "n 1i Gauge kevmon.metrics_group=g resource_site=s resource_class=c resource_subclass=u resource_type=t \
             resource_id=i resource_endpoint=e resource_plugin=p",
        ),
        (group(r#""g""#, "", ""), "n 1i Gauge kevmon.metrics_group=g"),
        (group("null", "", ""), "n 1i Gauge"),
        (
            group(r#""""#, r#""resource": null,"#, &dimension("a")),
            "n 1i Gauge a=d",
        ),
        (
            group(
                r#""g""#,
                r#""resource": {"resource_id": 7, "resource_site": "", "resource_plugin": null},"#,
                "",
            ),
            "n 1i Gauge kevmon.metrics_group=g resource_id=7",
        ),
        // A dimension comes behind what it has the name of, and the first of a name is kept.
        (
            group(
                r#""g""#,
                r#""resource": {"resource_id": "i"},"#,
                &dimension("resource_id"),
            ),
            "n 1i Gauge kevmon.metrics_group=g resource_id=i resource_id=d",
        ),
    ] {
        let parsed = parse(Format::Panoptes, text.as_bytes(), &[]);
        assert_eq!(
            (told(&parsed), parsed.problems),
            (vec![expected.to_owned()], vec![]),
            "{text}"
        );
    }
    for (resource, part) in [
        (r#""resource": "router","#, "the resource is no object"),
        (r#""resource": {"resource_id": ["a"]},"#, "resource_id is neither"),
    ] {
        let parsed = parse(Format::Panoptes, group(r#""g""#, resource, "").as_bytes(), &[]);
        assert!(
            parsed.values.is_empty() && parsed.problems[0].contains(part),
            "{resource}: {parsed:?}"
        );
    }
}

#[test]
fn a_metric_without_a_time_has_its_groups() {
    let text = r#"{"metrics_group_type": "g", "metrics_group_schema_version": "0.2", "metrics_group_creation_timestamp": 100.5,
        "metrics": [{"metric_name": "a", "metric_value": 1, "metric_type": "gauge"},
                    {"metric_name": "b", "metric_value": 1, "metric_type": "gauge", "metric_creation_timestamp": 101},
                    {"metric_name": "c", "metric_value": 1, "metric_type": "gauge", "metric_creation_timestamp": -1}]}"#;
    let parsed = parse(Format::Panoptes, text.as_bytes(), &[]);
    let times: Vec<_> = parsed.values.iter().map(|value| value.time).collect();
    assert_eq!(
        times,
        [100_500_000_000, 101_000_000_000, 100_500_000_000].map(Some)
    );
}

#[test]
fn prometheus_text() {
    let parsed = parse(
        Format::Prometheus,
        b"# HELP http_requests_total The total.\n# TYPE http_requests_total counter\n\
          http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\n\
          http_requests_total{path=\"C:\\\\DIR\\n\\\"x\\\"\"} 3\n\
          # TYPE rpc summary\nrpc{quantile=\"0.5\"} 4.5\nrpc_sum 1.5e3\nrpc_count 2\n\
          job:up 1\nbad{a=\"b} 1\nnothing\nworse NaN\n",
        &[],
    );
    assert_eq!(
        told(&parsed),
        [
            "http_requests_total 1027i Counter method=post code=200",
            "http_requests_total 3i Counter path=C:\\DIR\n\"x\"",
            "rpc 4.5f Gauge quantile=0.5",
            "rpc_sum 1500f Counter",
            "rpc_count 2i Counter",
            "job_up 1i Gauge",
        ]
    );
    assert_eq!(parsed.values[0].time, Some(1_395_066_363_000_000_000));
    assert_eq!(parsed.faulty, 3, "{:?}", parsed.problems);
}

#[test]
fn keys_expressions_and_pointers() {
    let status = b"Name:\tcat\nThreads:\t4\nvoluntary_ctxt_switches:\t17\nload=0.5 x\n";
    let parsed = parse(
        Format::Text,
        status,
        &[
            metric("threads", Place::Key("Threads".into())),
            metric("load", Place::Key("load".into())),
            metric(
                "switches",
                Place::Regex(Regex::new(r"voluntary_ctxt_switches:\s+(\d+)").unwrap()),
            ),
            metric("name", Place::Key("Name".into())),
            metric("none", Place::Key("Thread".into())),
        ],
    );
    assert_eq!(
        told(&parsed),
        ["threads 4i", "load 0.5f", "switches 17i", "name \"cat\""]
    );
    assert_eq!(
        parsed.problems,
        ["line 1: none was not found; correct its key, regex or pointer"]
    );

    let parsed = parse(
        Format::Json,
        br#"{"queue": {"depth": 7, "rate": "1.5", "open": true}, "a/b": [1, 2]}"#,
        &[
            metric("depth", Place::Pointer("/queue/depth".into())),
            metric("rate", Place::Pointer("/queue/rate".into())),
            metric("open", Place::Pointer("/queue/open".into())),
            metric("second", Place::Pointer("/a~1b/1".into())),
            metric("all", Place::Pointer("/queue".into())),
            metric("none", Place::Pointer("/none".into())),
        ],
    );
    assert_eq!(told(&parsed), ["depth 7i", "rate 1.5f", "open 1i", "second 2i"]);
    assert_eq!(parsed.faulty, 2);
}

#[test]
fn whatever_the_bytes() {
    let seeds: [&[u8]; 4] = [
        b"uniform 0.5 count=1 a=\"b c\"\n2014-07-29 20:22:06.789Z [m()] x 1\n",
        br#"[{"metrics_group_type":"a","metrics_group_schema_version":"0.2","metrics":[{"metric_name":"a","metric_value":1,"metric_type":"gauge"}],"dimensions":[]}]"#,
        b"# TYPE a counter\na{b=\"c\\\"\"} 1 2\n",
        br#"{"a":{"b":[1,2.5,"x"]}}"#,
    ];
    let metrics = [
        metric("a", Place::Key("a".into())),
        metric("b", Place::Pointer("/a/b/0".into())),
        metric("c", Place::Regex(Regex::new("(.)").unwrap())),
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % end.max(1) as u64).unwrap()
    };
    let mut values = 0;
    for _ in 0..4_000 {
        let mut bytes = seeds[below(4)].to_vec();
        for _ in 0..below(4) {
            let at = below(bytes.len());
            match below(4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, u8::try_from(below(256)).unwrap()),
                2 if !bytes.is_empty() => bytes[at] = b"{}[]\"\\=\n "[below(9)],
                _ => bytes.extend_from_slice(&seeds[below(4)][..at.min(20)]),
            }
        }
        for format in [
            Format::Scalyr,
            Format::Panoptes,
            Format::Prometheus,
            Format::Json,
            Format::Text,
        ] {
            let parsed = parse(format, &bytes, &metrics);
            values += parsed.values.len();
            for value in &parsed.values {
                assert!(check_name(&value.name).is_ok());
                assert!(!matches!(value.value, Raw::Float(float) if !float.is_finite()));
            }
            for problem in &parsed.problems {
                assert!(
                    problem.starts_with("line ") && problem.contains("; "),
                    "{problem:?}"
                );
            }
        }
    }
    assert!(values > 4_000, "{values}: damaged beyond use");
}

/// The attributes of a group are each of its metrics': an output of 1 MiB could ask for 10 GiB.
#[test]
fn values_take_bounded_memory() {
    let each =
        |count: usize, text: &dyn Fn(usize) -> String| (0..count).map(text).collect::<Vec<_>>().join(",");
    let output = |metrics: usize, dimensions: usize, length: usize| {
        let metrics = each(metrics, &|number| {
            format!(r#"{{"metric_name":"a{number}","metric_type":"gauge","metric_value":1}}"#)
        });
        let dimensions = each(dimensions, &|number| {
            let value = "x".repeat(length);
            format!(r#"{{"dimension_name":"d{number}","dimension_value":"{value}"}}"#)
        });
        format!(
            r#"{{"metrics_group_schema_version":"0.2","dimensions":[{dimensions}],"metrics":[{metrics}]}}"#
        )
    };
    let memory = |parsed: &Parsed| {
        parsed
            .values
            .iter()
            .map(|value| bytes_of(&value.attributes))
            .sum::<usize>()
    };
    let parsed = parse(Format::Panoptes, output(9_000, 100, 100).as_bytes(), &[]);
    assert!(
        (4_000..5_000).contains(&parsed.values.len()),
        "{}",
        parsed.values.len()
    );
    assert!(memory(&parsed) <= MOST_BYTES, "{}", memory(&parsed));
    assert_eq!(
        parsed.values.len() as u64 + parsed.faulty,
        9_000,
        "each is a value or a fault"
    );
    assert_eq!(
        parsed.problems[0],
        "line 1: the values take more than 64 MiB; the rest is left out; use fewer or shorter attributes"
    );
    let parsed = parse(Format::Panoptes, output(2, 100, 4_000).as_bytes(), &[]);
    assert_eq!(
        (parsed.values.len(), parsed.faulty),
        (0, 2),
        "{:?}",
        parsed.problems
    );
}

#[test]
fn a_value_has_a_bounded_number_of_attributes() {
    for (count, values) in [(MOST_ATTRIBUTES, 1), (MOST_ATTRIBUTES + 1, 0)] {
        let attributes = |one: &dyn Fn(usize) -> String, between: &str| {
            let all: Vec<String> = (0..count).map(one).collect();
            all.join(between)
        };
        let scalyr = attributes(&|number| format!("k{number}=1"), " ");
        let prometheus = attributes(&|number| format!("k{number}=\"1\""), ",");
        let panoptes = attributes(
            &|number| format!(r#"{{"dimension_name":"k{number}","dimension_value":"1"}}"#),
            ",",
        );
        let group = format!(
            r#"{{"metrics_group_schema_version":"0.2","dimensions":[{panoptes}],"metrics":[{{"metric_name":"a","metric_type":"gauge","metric_value":1}}]}}"#
        );
        for (format, output) in [
            (Format::Scalyr, format!("a 1 {scalyr}")),
            (Format::Prometheus, format!("a{{{prometheus}}} 1")),
            (Format::Panoptes, group),
        ] {
            let parsed = parse(format, output.as_bytes(), &[]);
            assert_eq!(parsed.values.len(), values, "{format:?} {:?}", parsed.problems);
            assert_eq!(parsed.faulty, 1 - values as u64, "{format:?}");
        }
    }
}

#[test]
fn a_problem_shows_the_beginning_of_what_is_wrong() {
    let long = "\u{1}".repeat(10_000);
    for (format, output) in [
        (Format::Scalyr, format!("a 1 {long}")),
        (Format::Scalyr, format!("{long} 1")),
        (Format::Prometheus, format!("a {long}")),
        (Format::Prometheus, format!("{long} 1")),
    ] {
        let parsed = parse(format, output.as_bytes(), &[]);
        assert_eq!(parsed.problems.len(), 1);
        assert!(
            parsed.problems[0].len() < 500,
            "{} bytes",
            parsed.problems[0].len()
        );
    }
}

#[test]
fn an_escape_has_four_digits() {
    let parsed = parse(Format::Scalyr, b"a \"\\u+041\" k=\"\\u0041\"\n", &[]);
    assert_eq!(told(&parsed), ["a \"\u{fffd}+041\" k=A"]);
}
