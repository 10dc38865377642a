//! The resource of what was pushed: the service's names as sanitised, a stable
//! instance id, the host.

use kevmon_tests::{
    plugin_dir::PluginDir,
    push::{LIMIT, plugin_file, points_of, push_to},
    receiver::{Number, Receiver},
    workload::Program,
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

#[test]
fn the_resource_names_the_service_and_the_host() {
    let program = Program::new(WORKLOAD, "who");
    let folder = PluginDir::new();
    folder.write("who", &plugin_file("who", &program.pattern(), ""));
    let _running = program.start(&["idle"]);
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("/proc is mounted");
    let identities: Vec<String> = (0..2)
        .map(|_| {
            let receiver = Receiver::start();
            let daemon = push_to(&receiver, &folder);
            let points = points_of(&receiver, "kvt_company_who", 2);
            let resource = &points[0].resource;
            assert!(
                points.iter().all(|point| point.resource == *resource),
                "the resource changed"
            );
            for (key, value) in [
                ("service.name", "Kvt Company Who"),
                ("service.namespace", "Kvt Company"),
                ("kevmon.service.id", "kvt_company_who"),
                ("kevmon.service.original_name", "Kvt Company.who"),
                ("service.version", "1.2.3"),
                ("host.name", hostname.trim()),
            ] {
                assert_eq!(
                    resource.get(key).map(String::as_str),
                    Some(value),
                    "{key} of {resource:?}"
                );
            }
            assert!(
                resource.get("host.id").is_some_and(|id| !id.is_empty()),
                "{resource:?}"
            );
            daemon.terminate();
            resource
                .get("service.instance.id")
                .expect("service.instance.id")
                .clone()
        })
        .collect();
    assert_eq!(identities[0], identities[1], "the instance id of two runs");
    let parts: Vec<&str> = identities[0].split('-').collect();
    assert_eq!(
        parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
        [8, 4, 4, 4, 12],
        "{identities:?}"
    );
    assert!(parts[2].starts_with('5'), "not a version 5 UUID: {identities:?}");
}

#[test]
fn the_contracts_sanitisation_table_also_without_any_process() {
    let table = [
        ("Strategy₿.M8MulPrc", "strategy_m8mulprc", "Strategy M8mulprc"),
        (
            "MyCompany@WebServer.v2",
            "mycompany_webserver_v2",
            "Mycompany Webserver V2",
        ),
        (
            "Service-Name With Spaces!",
            "service_name_with_spaces",
            "Service Name With Spaces",
        ),
        (
            "123numeric-start",
            "metric_123numeric_start",
            "Metric 123numeric Start",
        ),
    ];
    let folder = PluginDir::new();
    for (index, (given, ..)) in table.iter().enumerate() {
        let file = format!(
            "[plugin]\nname = \"kvt-{index}\"\n[service]\nnamespace = \"ns\"\n\
             process_name = \"^kvt-no-such-process-{index}$\"\n[monitoring]\ninterval = 1\n\
             [otel_config]\nservice_name_template = \"{given}\"\n"
        );
        folder.write(&index.to_string(), &file);
    }
    let receiver = Receiver::start();
    let mut daemon = push_to(&receiver, &folder);
    for (index, (given, stored, shown)) in table.into_iter().enumerate() {
        let points = points_of(&receiver, stored, 2);
        let resource = &points[0].resource;
        assert_eq!(resource["service.name"], shown);
        assert_eq!(resource["kevmon.service.original_name"], given);
        let counts: Vec<Number> = points
            .iter()
            .filter(|point| point.metric == "process_count")
            .map(|point| point.value)
            .collect();
        assert!(
            counts.len() >= 2 && counts.iter().all(|count| *count == Number::Int(0)),
            "{given}: {counts:?}"
        );
        let plugin = format!("kvt-{index}");
        let tick = daemon.wait_until("its group", LIMIT, |tick| tick.group(&plugin).is_some());
        let service = &tick.expect_group(&plugin).0["service"];
        assert_eq!(
            (&service["id"], &service["display_name"]),
            (&stored.into(), &shown.into())
        );
        assert_eq!(service["namespace"], "ns");
    }
    daemon.terminate();
}
