//! `cargo xtask conventions`: what OpenTelemetry's semantic conventions say of the names that kevmon uses, extracted from
//! their model files (<https://github.com/open-telemetry/semantic-conventions>, folder `model`) into a fixture of the
//! tests. A test compares with it what kevmon really sends.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use crate::workspace::Workspace;

/// Where the extract is kept, below the workspace's root.
const EXTRACT: &str = "tests/fixtures/conventions.json";

/// Namespaces whose every metric and attribute is extracted: a name of theirs that is not there is wrong.
const NAMESPACES: [&str; 10] = [
    "container.",
    "cpu.",
    "disk.",
    "error.",
    "host.",
    "k8s.",
    "os.",
    "process.",
    "service.",
    "system.paging.",
];

/// Extracts from the checkout at `source` and writes the fixture.
///
/// # Errors
/// The folder is no checkout of the conventions, or a model file cannot be read as YAML.
pub(crate) fn extract(workspace: &Workspace, source: &Path) -> Result<()> {
    let model = source.join("model");
    let manifest = document(&model.join("manifest.yaml"))
        .with_context(|| format!("{} is no checkout of semantic-conventions", source.display()))?;
    let schema_url = manifest["schema_url"]
        .as_str()
        .context("manifest.yaml has no schema_url")?;
    let mut conventions = Conventions::default();
    for file in yaml_files(&model)? {
        conventions
            .read(&document(&file)?)
            .with_context(|| file.display().to_string())?;
    }
    ensure!(
        !conventions.metrics.is_empty() && !conventions.attributes.is_empty(),
        "no metric or no attribute was found below {}",
        model.display()
    );
    let path = workspace.root().join(EXTRACT);
    let text = serde_json::to_string_pretty(&json!({
        "schema_url": schema_url,
        "attributes": conventions.attributes,
        "metrics": conventions.metrics,
    }))?;
    fs::write(&path, text + "\n").with_context(|| path.display().to_string())?;
    println!(
        "{EXTRACT}: {} attributes and {} metrics of {schema_url}",
        conventions.attributes.len(),
        conventions.metrics.len()
    );
    Ok(())
}

#[derive(Default)]
struct Conventions {
    /// By name: the type, and the values of an enumeration.
    attributes: BTreeMap<String, Value>,
    /// By name: instrument, unit, and the requirement level of each attribute.
    metrics: BTreeMap<String, Value>,
}

impl Conventions {
    fn read(&mut self, document: &Value) -> Result<()> {
        for group in list(document, "groups") {
            match group["type"].as_str() {
                Some("metric") => self.metric(group)?,
                Some("attribute_group") => {
                    for attribute in list(group, "attributes") {
                        self.attribute(attribute)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn metric(&mut self, group: &Value) -> Result<()> {
        let name = group["metric_name"].as_str().context("a metric without a name")?;
        if !wanted(name) || is_deprecated(group) {
            return Ok(());
        }
        let mut attributes = Map::new();
        for attribute in list(group, "attributes") {
            let Some(key) = attribute["ref"].as_str() else {
                continue;
            };
            // A condition stands where a word would: conditionally required.
            let level = attribute["requirement_level"].as_str().unwrap_or("conditional");
            attributes.insert(key.to_owned(), level.into());
        }
        let text = |key: &str| {
            let text = group[key].as_str().map(str::to_owned);
            text.with_context(|| format!("{name} has no {key}"))
        };
        self.metrics.insert(
            name.to_owned(),
            json!({ "instrument": text("instrument")?, "unit": text("unit")?, "attributes": attributes }),
        );
        Ok(())
    }

    fn attribute(&mut self, attribute: &Value) -> Result<()> {
        // What only refers to an attribute is defined elsewhere.
        let Some(name) = attribute["id"].as_str().filter(|name| wanted(name)) else {
            return Ok(());
        };
        if is_deprecated(attribute) {
            return Ok(());
        }
        let kind = &attribute["type"];
        ensure!(!kind.is_null(), "{name} has no type");
        let value = match kind.as_str() {
            Some(kind) => json!({ "type": kind }),
            None => {
                let values: Vec<&str> = list(kind, "members")
                    .filter_map(|member| member["value"].as_str())
                    .collect();
                json!({ "type": "string", "values": values })
            }
        };
        self.attributes.insert(name.to_owned(), value);
        Ok(())
    }
}

fn wanted(name: &str) -> bool {
    NAMESPACES.iter().any(|namespace| name.starts_with(namespace))
}

fn is_deprecated(of: &Value) -> bool {
    !of["deprecated"].is_null()
}

/// A model file is one document of what JSON has, too.
fn document(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    yaml_serde::from_str(&text).with_context(|| path.display().to_string())
}

fn list<'a>(of: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    of[key].as_array().into_iter().flatten()
}

/// All of them below a folder, in a fixed order.
fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
