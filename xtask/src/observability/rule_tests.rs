//! Unit tests of the alerts, as `promtool test rules` and `vmalert-tool unittest` read them.

use std::fmt::Write as _;

use super::rules::Rule;

/// An alert that fires.
#[derive(Debug)]
pub(super) struct Fired {
    /// Without those of the rule itself.
    pub(super) labels: Vec<(String, String)>,
    /// The value, as the description's template writes it.
    pub(super) value: &'static str,
}

/// Input series, and whether an alert fires at a time. Points are a minute apart.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) alert: &'static str,
    /// Names with labels, and values in promtool's notation.
    pub(super) series: Vec<(String, String)>,
    /// Minutes.
    pub(super) at: u32,
    pub(super) fired: Option<Fired>,
    /// What the rule says of itself.
    severity: String,
    summary: String,
    description: String,
}

impl Case {
    pub(super) fn new(
        rule: &Rule,
        name: &str,
        at: u32,
        series: Vec<(String, String)>,
        fired: Option<Fired>,
    ) -> Self {
        let expanded = |template: &str| {
            fired
                .as_ref()
                .map_or_else(String::new, |fired| expand(template, fired))
        };
        Self {
            name: format!("{}: {name}", rule.alert),
            alert: rule.alert,
            severity: rule.severity.name().to_owned(),
            summary: expanded(&rule.summary),
            description: expanded(&rule.description),
            series,
            at,
            fired,
        }
    }
}

/// Label templates become the labels' values, and what is made of the value becomes its text.
fn expand(template: &str, fired: &Fired) -> String {
    let mut text = template.to_owned();
    for (label, value) in &fired.labels {
        text = text.replace(&format!("{{{{ $labels.{label} }}}}"), value);
    }
    while let Some((before, rest)) = text.split_once("{{ $value |") {
        let after = rest.split_once("}}").map_or("", |(_, after)| after);
        text = format!("{before}{}{after}", fired.value);
    }
    text
}

pub(super) fn text(rules: &str, cases: &[Case]) -> String {
    let mut text = format!(
        "# Written by `cargo xtask observability`.\nrule_files:\n  - {rules}\nevaluation_interval: 1m\ntests:\n"
    );
    for case in cases {
        let _ = writeln!(
            text,
            "  - name: {}\n    interval: 1m\n    input_series:",
            quoted(&case.name)
        );
        for (series, values) in &case.series {
            let _ = writeln!(
                text,
                "      - series: {}\n        values: {}",
                quoted(series),
                quoted(values)
            );
        }
        let _ = writeln!(
            text,
            "    alert_rule_test:\n      - eval_time: {}m\n        alertname: {}",
            case.at, case.alert
        );
        let Some(fired) = &case.fired else {
            text.push_str("        exp_alerts: []\n");
            continue;
        };
        text.push_str("        exp_alerts:\n          - exp_labels:\n");
        for (label, value) in &fired.labels {
            let _ = writeln!(text, "              {label}: {}", quoted(value));
        }
        let _ = writeln!(
            text,
            "              severity: {}\n            exp_annotations:\n              summary: {}\n              description: {}\n              \
             runbook_url: {}#{}",
            case.severity,
            quoted(&case.summary),
            quoted(&case.description),
            super::RUNBOOK,
            case.alert.to_lowercase(),
        );
    }
    text
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
