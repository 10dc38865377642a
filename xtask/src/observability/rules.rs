//! Alerting rules as Prometheus and vmalert read them.

use std::fmt::Write as _;

/// How soon a person has to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    /// Now.
    Critical,
    /// Today.
    Warning,
    /// When there is time.
    Info,
}

impl Severity {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) alert: &'static str,
    pub(super) severity: Severity,
    /// How long the expression has to hold.
    pub(super) lasts: &'static str,
    pub(super) expression: String,
    pub(super) summary: String,
    pub(super) description: String,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) rules: Vec<Rule>,
}

impl Group {
    /// The file's text. JSON's strings are YAML's, too.
    pub(super) fn text(&self, about: &str) -> String {
        let mut text = String::new();
        for line in about
            .lines()
            .chain(["Written by `cargo xtask observability`.", super::RUNBOOK])
        {
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(
            text,
            "groups:\n  - name: {}\n    interval: 1m\n    rules:",
            self.name
        );
        for rule in &self.rules {
            let _ = writeln!(
                text,
                "      - alert: {alert}\n        expr: |-\n          {expression}\n        for: {lasts}\n        labels:\n          \
                 severity: {severity}\n        annotations:\n          summary: {summary}\n          description: {description}\n          \
                 runbook_url: {runbook}#{anchor}",
                alert = rule.alert,
                expression = rule.expression.replace('\n', "\n          "),
                lasts = rule.lasts,
                severity = rule.severity.name(),
                summary = quoted(&rule.summary),
                description = quoted(&rule.description),
                runbook = super::RUNBOOK,
                anchor = rule.alert.to_lowercase(),
            );
        }
        text
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
