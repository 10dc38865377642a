//! Attributes of all resources: which source outranks which, and what none may say.

use super::*;

const VARIABLE: &str = "OTEL_RESOURCE_ATTRIBUTES";

#[track_caller]
fn settled(variable: &str, file: &str) -> (Vec<(String, String)>, Vec<String>) {
    let case = Case {
        variables: &[(VARIABLE, variable)],
        file,
        ..Case::default()
    };
    let settings = case
        .settle()
        .unwrap_or_else(|faults| panic!("{file}: {faults:?}"));
    let warnings = settings.warnings.iter().map(ToString::to_string).collect();
    (settings.resource.into_iter().collect(), warnings)
}

#[test]
fn the_file_outranks_the_variable_key_by_key() {
    for (variable, file, expected) in [
        ("", "", &[][..]),
        ("host.name=a", "", &[("host.name", "a")]),
        ("", "[resource]\n\"host.name\" = 'b'\n", &[("host.name", "b")]),
        // With and without quotes, in one table or several, all in one line.
        (
            "host.name=a,k8s.node.name=n",
            "[resource]\nhost.name = 'b'\nhost.id = 'i'\n",
            &[("host.id", "i"), ("host.name", "b"), ("k8s.node.name", "n")],
        ),
        (
            "",
            "[resource.host]\nname = 'b'\n[resource.cloud]\nregion = 'r'\n",
            &[("cloud.region", "r"), ("host.name", "b")],
        ),
        (
            "",
            "resource = { team = 't', \"a.b\" = 'c' }\n",
            &[("a.b", "c"), ("team", "t")],
        ),
        ("host.arch=riscv64", "", &[("host.arch", "riscv64")]),
    ] {
        let (resource, warnings) = settled(variable, file);
        let shown: Vec<(&str, &str)> = resource
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(shown, expected, "{variable} {file}");
        assert_eq!(warnings, [""; 0], "{variable} {file}");
    }
}

#[test]
fn the_environment_renames_no_service_and_keeps_kevmon_from_nothing() {
    let (resource, warnings) = settled(
        "service.name=shop,service.version=1,process.pid=1,kevmon.plugin=x,host.name=a",
        "",
    );
    assert_eq!(resource, [("host.name".to_owned(), "a".to_owned())]);
    let expected = [
        "environment: OTEL_RESOURCE_ATTRIBUTES: \"kevmon.plugin\" is left out: kevmon sets it itself; remove it",
        "environment: OTEL_RESOURCE_ATTRIBUTES: \"process.pid\" is left out: it is about one process, and a resource is \
         about a whole service; remove it",
        "environment: OTEL_RESOURCE_ATTRIBUTES: \"service.name\" is left out: each plugin is a service of its own, and \
         kevmon another; write name = \"…\" in [service] of a plugin file",
        "environment: OTEL_RESOURCE_ATTRIBUTES: \"service.version\" is left out: each plugin is a service of its own, \
         and kevmon another; write it into attributes in [service] of a plugin file",
    ];
    assert_eq!(warnings, expected);

    let (resource, warnings) = settled("host.name=a,b=%zz", "[resource]\n\"host.id\" = 'i'\n");
    assert_eq!(
        resource,
        [("host.id".to_owned(), "i".to_owned())],
        "all or nothing"
    );
    assert_eq!(
        warnings,
        [
            "environment: OTEL_RESOURCE_ATTRIBUTES: entry 2, \"b=%zz\", is wrongly percent-encoded: %XX, UTF-8, is what it \
             takes; all of it is left out; write name=value, separated by commas, both percent-encoded, or set [resource] \
             in kevmon.toml"
        ]
    );

    let case = Case {
        variables: &[("OTEL_SERVICE_NAME", "shop")],
        ..Case::default()
    };
    let warnings = case.settle().unwrap().warnings;
    assert!(
        warnings.len() == 1
            && warnings[0]
                .to_string()
                .contains("OTEL_SERVICE_NAME: \"shop\" is left out"),
        "{warnings:?}"
    );
}

#[test]
fn what_the_file_may_not_say_is_a_fault() {
    let long = format!("[resource]\n\"host.name\" = '{}'\n", "x".repeat(1025));
    for (file, expected) in [
        (
            "[resource]\n\"service.name\" = 'x'\n",
            "kevmon.toml:3: resource: the attribute \"service.name\" is not for all resources: each plugin is a service of \
             its own, and kevmon another; write name = \"…\" in [service] of a plugin file",
        ),
        (
            "[resource]\nservice.instance.id = 'x'\n",
            "the attribute \"service.instance.id\" is not for all resources: kevmon makes one for each service; set \
             host.id, which it is made of",
        ),
        (
            "[resource]\n\"kevmon.x\" = 'x'\n",
            "kevmon sets it itself; remove it",
        ),
        ("[resource]\n\"process.pid\" = '1'\n", "it is about one process"),
        (
            "[resource]\n\"host.name\" = ''\n",
            "kevmon.toml:3: resource: the attribute \"host.name\" is empty; write a value or remove it",
        ),
        (
            "[resource]\n\"host.name\" = \"a\\nb\"\n",
            "the attribute \"host.name\" holds a control character; write",
        ),
        (
            &long,
            "the attribute \"host.name\" is longer than 1024 characters; shorten it",
        ),
        (
            "[resource]\n\"\" = 'x'\n",
            "an attribute has no name; name it or remove it",
        ),
        (
            "[resource]\n\" a\" = 'x'\n",
            "\" a\" is no attribute's name; write up to 256 characters",
        ),
        (
            "[resource]\nhost.id = 7\n",
            "the attribute \"host.id\" must be a string, found an integer; put it in quotes",
        ),
        (
            "[resource]\n\"a\" = ['x']\n",
            "the attribute \"a\" must be a string, found a list",
        ),
        (
            "[resource]\n\"host.name\" = 'a'\nhost.name = 'b'\n",
            "the attribute \"host.name\" stands here twice; remove one of them",
        ),
        (
            "resource = 'x'\n",
            "kevmon.toml:2: resource: must be a table of strings, found a string; write [resource]",
        ),
    ] {
        let case = Case {
            file,
            ..Case::default()
        };
        let faults = case.settle().expect_err(file);
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(
            lines.len() == 1 && lines[0].contains(expected),
            "{file}: {lines:?}, not {expected}"
        );
    }
}
