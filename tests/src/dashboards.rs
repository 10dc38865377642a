//! The dashboards and alerts that packages hold, as Grafana, Prometheus and vmalert read them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// A query of a panel.
#[derive(Debug, Clone)]
pub struct Query {
    pub panel: String,
    pub expression: String,
    /// The labels that its legend names.
    pub legend: Vec<String>,
}

/// A dashboard's file.
#[derive(Debug)]
pub struct Dashboard(Value);

/// The folder of all of them.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/observability")
}

/// The folder of the tests of alerts.
pub fn tests_of_alerts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/alerts")
}

/// The files of a folder whose names end so.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    files
}

/// The expressions of a file of alerts, by the alert's name.
pub fn alerts(file: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut alerts: Vec<(String, String)> = Vec::new();
    let mut is_expression = false;
    for line in text.lines() {
        if let Some(name) = line.trim().strip_prefix("- alert: ") {
            alerts.push((name.to_owned(), String::new()));
        }
        is_expression = line.trim() == "expr: |-" || is_expression && !line.trim().starts_with("for: ");
        if let Some((_, expression)) = alerts
            .last_mut()
            .filter(|_| is_expression && line.trim() != "expr: |-")
        {
            expression.push_str(line.trim());
            expression.push('\n');
        }
    }
    alerts
}

impl Dashboard {
    /// Reads one.
    pub fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Self(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
    }

    /// All panels, those of collapsed rows as well.
    pub fn panels(&self) -> Vec<&Value> {
        let top = self.0["panels"].as_array().expect("panels");
        let nested = top
            .iter()
            .filter_map(|panel| panel["panels"].as_array())
            .flatten();
        top.iter()
            .chain(nested)
            .filter(|panel| panel["type"] != "row")
            .collect()
    }

    /// Each query, with Grafana's own variables replaced and all services and hosts chosen.
    pub fn queries(&self, rate_interval: &str, range: &str) -> Vec<Query> {
        let replaced = |expression: &str| {
            let expression = expression.replace("$__rate_interval", rate_interval);
            let expression = expression.replace("$__range", range);
            expression.replace("$service", ".*").replace("$host", ".*")
        };
        let of = |panel: &Value| -> Vec<Query> {
            let title = panel["title"].as_str().expect("a title");
            let targets = panel["targets"].as_array().expect("targets").clone();
            let query = |target: Value| Query {
                panel: title.to_owned(),
                expression: replaced(target["expr"].as_str().expect("an expression")),
                legend: labels(target["legendFormat"].as_str().unwrap_or_default()),
            };
            targets.into_iter().map(query).collect()
        };
        self.panels().into_iter().flat_map(of).collect()
    }

    /// The variables that are filled from a label: the name, the label and the series, all services chosen.
    pub fn variables(&self) -> Vec<(String, String, String)> {
        let list = self.0["templating"]["list"].as_array().expect("variables");
        let queried = list.iter().filter(|variable| variable["type"] == "query");
        let parts = |variable: &Value| {
            let query = variable["query"]["query"].as_str()?;
            let inside = query.strip_prefix("label_values(")?.strip_suffix(')')?;
            let (series, label) = inside.rsplit_once(", ")?;
            let name = variable["name"].as_str()?.to_owned();
            Some((name, label.to_owned(), series.replace("$service", ".*")))
        };
        queried
            .map(|variable| parts(variable).unwrap_or_else(|| panic!("{variable}")))
            .collect()
    }
}

fn labels(legend: &str) -> Vec<String> {
    let inside = legend.split("{{").skip(1);
    inside
        .filter_map(|part| Some(part.split_once("}}")?.0.to_owned()))
        .collect()
}
