//! Which receivers share a route, and where telemetry goes.

use super::*;
use crate::plugin::tracker::tests::{numbered, plugin};

fn receiver(name: &str, asked_for: bool) -> Receiver {
    let connection = receiver::Connection {
        url: format!("http://{name}:4317"),
        protocol: receiver::Protocol::Grpc,
        compression: Compression::None,
        headers: Vec::new(),
        tls: None,
        timeout: Duration::from_secs(1),
        proxy: None,
    };
    Receiver {
        name: name.to_owned(),
        asked_for,
        from: String::new(),
        metrics: connection.clone(),
        logs: connection.clone(),
        traces: connection,
        signals: receiver::Signals {
            metrics: true,
            logs: true,
            traces: true,
        },
        max_request: receiver::DEFAULT_MAX_REQUEST,
    }
}

fn going_to(receivers: &[&str], events: bool) -> Plugin {
    Plugin {
        receivers: receivers.iter().map(|&name| name.to_owned()).collect(),
        events,
        ..plugin("a")
    }
}

#[test]
fn telemetry_goes_where_something_goes() {
    for (asked_for, plugins, expected) in [
        (false, vec![going_to(&[], false)], Some("default")),
        (
            false,
            vec![going_to(&["b"], false), going_to(&["a"], false)],
            Some("a"),
        ),
        (true, vec![going_to(&["b"], false)], Some("default")),
        (false, vec![], None),
    ] {
        let receivers = [
            receiver("default", asked_for),
            receiver("a", true),
            receiver("b", true),
        ];
        let plugins = numbered(plugins);
        assert_eq!(telemetry_receiver(&receivers, &plugins), expected, "{plugins:?}");
    }
}

#[test]
fn a_lane_for_what_goes_there_and_no_other() {
    let receivers = ["default", "a", "b", "unused"].map(|name| receiver(name, false));
    let plugins = numbered([
        going_to(&[], false),
        going_to(&["a", "default"], true),
        going_to(&["b", "b"], false),
    ]);
    let lanes = destinations(&receivers, &plugins, Some("a"));
    let names: Vec<String> = lanes
        .iter()
        .map(|lane| format!("{}/{}", lane.receiver, lane.signal.name()))
        .collect();
    assert_eq!(
        names,
        [
            "default/metrics",
            "default/logs",
            "a/metrics",
            "a/logs",
            "a/traces",
            "b/metrics"
        ]
    );
}

#[test]
fn receivers_share_what_they_were_told_the_same_and_nothing_else() {
    let host = HostIdentity::new(None, "h".to_owned());
    let encoder = || MetricRequests::new(host.clone(), Run::Service, Temporality::Delta);
    let shown = |routes: &Routes| -> Vec<(Vec<String>, Vec<usize>)> {
        let route = |of: &Route| (of.receivers.clone(), of.takes.iter().map(|id| id.0).collect());
        routes.routes.iter().map(route).collect()
    };
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let both = numbered([going_to(&["a", "b"], false)]);
    let own = OwnWay {
        phase: 0,
        interval: Duration::from_secs(60),
        receiver: None,
    };
    let mut routes = Routes::new(both.clone(), host.clone(), encoder, own, false);
    assert_eq!(shown(&routes), [(names(&["a", "b"]), vec![0])]);

    let apart = numbered([going_to(&["a", "b"], false), going_to(&["b"], false)]);
    routes.replan(apart, None, encoder);
    assert_eq!(
        shown(&routes),
        [(names(&["a"]), vec![0]), (names(&["b"]), vec![0, 1])]
    );

    // The same again, but b has been told of one plugin more meanwhile; c has been told nothing.
    let more = numbered([going_to(&["a", "b", "c", "d"], false)]);
    routes.replan(more, None, encoder);
    assert_eq!(
        shown(&routes),
        [
            (names(&["a"]), vec![0]),
            (names(&["b"]), vec![0]),
            (names(&["c", "d"]), vec![0])
        ]
    );
    routes.replan(numbered([going_to(&["a"], false)]), None, encoder);
    assert_eq!(shown(&routes)[0], (names(&["a"]), vec![0]));
    assert_eq!(routes.receivers().collect::<Vec<_>>(), ["a"]);
    routes.replan(numbered([going_to(&["c", "b"], false)]), None, encoder);
    // b and c were told different things, also while they got nothing.
    let used: Vec<_> = shown(&routes)
        .into_iter()
        .filter(|(_, takes)| !takes.is_empty())
        .collect();
    assert_eq!(used, [(names(&["b"]), vec![0]), (names(&["c"]), vec![0])]);
}

#[test]
fn telemetry_has_a_way_of_its_own_and_goes_without_plugins_too() {
    let host = HostIdentity::new(None, "h".to_owned());
    let encoder = || MetricRequests::new(host.clone(), Run::Service, Temporality::Cumulative);
    let own = |receiver: Option<&str>| OwnWay {
        phase: 0,
        interval: Duration::from_secs(60),
        receiver: receiver.map(str::to_owned),
    };
    let both = numbered([going_to(&["a", "b"], false)]);
    let mut routes = Routes::new(both.clone(), host.clone(), encoder, own(Some("a")), false);
    let shown = |routes: &Routes| -> Vec<(Vec<String>, bool)> {
        let routes = routes.routes.iter();
        routes
            .map(|route| (route.receivers.clone(), route.telemetry))
            .collect()
    };
    let one = |name: &str, telemetry| (vec![name.to_owned()], telemetry);
    assert_eq!(shown(&routes), [one("a", true), one("b", false)]);
    let only_b = numbered([going_to(&["b"], false)]);
    routes.replan(only_b, Some("a".to_owned()), encoder);
    assert_eq!(shown(&routes), [one("a", true), one("b", false)], "once each");
    assert!(routes.is_telemetry_due(1, false));
    assert_eq!(routes.receivers().collect::<Vec<_>>(), ["b"]);
}
