//! The software bill of materials: CycloneDX 1.5 as JSON, without a serial number or a time, which would differ in each build.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::Release;
use super::metadata::Crate;

/// The crate that is the product.
const PRODUCT: &str = "kevmon";

/// The document.
pub(crate) fn text(release: &Release, crates: &[Crate]) -> Result<String> {
    let product = crates
        .iter()
        .find(|krate| krate.own && krate.name == PRODUCT)
        .context("cargo metadata has no kevmon")?;
    let mut component = component(product);
    component.insert("type".to_owned(), json!("application"));
    component.insert("version".to_owned(), json!(release.version));
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": component,
            "properties": [
                { "name": "kevmon:commit", "value": release.commit },
                { "name": "kevmon:target", "value": release.target.triple() },
            ],
        },
        "components": crates.iter().filter(|krate| *krate != product).map(self::component).collect::<Vec<_>>(),
        "dependencies": crates.iter().map(|krate| json!({
            "ref": reference(krate),
            "dependsOn": krate.needs.iter().filter_map(|&at| crates.get(at)).map(reference).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    });
    Ok(format!("{document:#}\n"))
}

fn component(krate: &Crate) -> Map<String, Value> {
    let mut component = Map::new();
    let mut set = |key: &str, value: Value| component.insert(key.to_owned(), value);
    set("type", json!("library"));
    set("bom-ref", json!(reference(krate)));
    set("name", json!(krate.name));
    set("version", json!(krate.version));
    if !krate.licence.is_empty() {
        set("licenses", json!([{ "expression": krate.licence }]));
    }
    if !krate.own {
        set("purl", json!(reference(krate)));
    }
    if !krate.repository.is_empty() {
        set(
            "externalReferences",
            json!([{ "type": "vcs", "url": krate.repository }]),
        );
    }
    component
}

fn reference(krate: &Crate) -> String {
    format!("pkg:cargo/{}@{}", krate.name, krate.version)
}
