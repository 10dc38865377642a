//! What packaging/kubernetes may ask a cluster for, as tests: exactly what kevmon needs.

use serde_json::{Value, json};

const MANIFEST: &str = include_str!("../../../packaging/kubernetes/daemonset.yaml");
const CHART: &str = include_str!("../../../packaging/kubernetes/chart/templates/daemonset.yaml");
const VALUES: &str = include_str!("../../../packaging/kubernetes/chart/values.yaml");

fn documents() -> Vec<Value> {
    MANIFEST
        .split("\n---\n")
        .map(|document| yaml_serde::from_str(document).expect("a manifest"))
        .collect()
}

fn of_kind(kind: &str) -> Vec<Value> {
    documents()
        .into_iter()
        .filter(|document| document["kind"] == kind)
        .collect()
}

#[test]
fn the_pod_has_four_capabilities_a_read_only_root_and_no_more() {
    let daemon_set = &of_kind("DaemonSet")[0];
    let pod = &daemon_set["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(
        container["securityContext"],
        json!({
            "runAsUser": 0,
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"], "add": ["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        })
    );
    assert_eq!(pod["hostPID"], true);
    assert_eq!(pod["automountServiceAccountToken"], false);
    for forbidden in ["hostNetwork", "hostIPC"] {
        assert!(pod[forbidden].is_null(), "{forbidden}");
    }
    let path = |probe: &str| container[probe]["httpGet"]["path"].clone();
    assert_eq!(
        [path("livenessProbe"), path("readinessProbe")],
        ["/-/healthy", "/-/ready"]
    );
    let paths: Vec<&Value> = pod["volumes"]
        .as_array()
        .expect("volumes")
        .iter()
        .filter_map(|volume| volume.get("hostPath"))
        .map(|volume| &volume["path"])
        .collect();
    assert_eq!(paths, ["/var/lib/kevmon"]);
}

#[test]
fn the_mounts_are_volumes_and_the_volumes_are_config_maps_of_the_file() {
    let maps: Vec<Value> = of_kind("ConfigMap")
        .iter()
        .map(|map| map["metadata"]["name"].clone())
        .collect();
    let pod = &of_kind("DaemonSet")[0]["spec"]["template"]["spec"];
    let volumes = pod["volumes"].as_array().expect("volumes");
    for volume in volumes
        .iter()
        .filter_map(|volume| volume["configMap"].get("name"))
    {
        assert!(maps.contains(volume), "{volume}");
    }
    for mount in pod["containers"][0]["volumeMounts"].as_array().expect("mounts") {
        assert!(
            volumes.iter().any(|volume| volume["name"] == mount["name"]),
            "{mount}"
        );
    }
}

#[test]
fn the_chart_asks_for_the_same() {
    let part = |text: &str, from: &str, to: &str| -> Vec<String> {
        let start = text.find(from).expect(from);
        let end = text[start..].find(to).expect(to) + start;
        text[start..end]
            .lines()
            .map(|line| line.trim().to_owned())
            .collect()
    };
    let of = |text: &str| part(text, "securityContext:", "volumeMounts:");
    let added = |line: &String| line.starts_with("add:");
    let (manifest, chart) = (of(MANIFEST), of(CHART));
    let without_added =
        |lines: &[String]| -> Vec<String> { lines.iter().filter(|line| !added(line)).cloned().collect() };
    assert_eq!(without_added(&manifest), without_added(&chart));
    let expected = "add: {{ concat (list \"BPF\" \"PERFMON\" \"SYS_PTRACE\" \"DAC_READ_SEARCH\") .Values.extraCapabilities | toJson }}";
    assert_eq!(chart.iter().find(|line| added(line)).expect("add"), expected);
    assert!(VALUES.contains("\nextraCapabilities: []\n"));
    let probes = |text: &str| part(text, "livenessProbe:", "resources:");
    assert_eq!(probes(MANIFEST), probes(CHART));
}
