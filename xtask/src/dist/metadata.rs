//! The crates that a released kevmon is made of, by `cargo metadata`: what its licences and its bill of materials list.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Release;
use crate::shell;
use crate::user;
use crate::workspace::Workspace;

/// The packages that a release is built from.
const ROOTS: [&str; 2] = ["kevmon", "kevmon-ebpf"];

/// A crate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) version: String,
    /// An SPDX expression; empty where the crate gives none.
    pub(crate) licence: String,
    pub(crate) authors: Vec<String>,
    pub(crate) repository: String,
    /// Where its files are on this machine.
    pub(crate) folder: PathBuf,
    /// Of this workspace.
    pub(crate) own: bool,
    /// By index into the list that it stands in.
    pub(crate) needs: Vec<usize>,
}

/// All that is linked into kevmon for the release's target, kevmon's own crates included, sorted.
pub(crate) fn crates(workspace: &Workspace, release: &Release) -> Result<Vec<Crate>> {
    let mut command = user::cargo(workspace, "metadata");
    command.args([
        "--format-version=1",
        "--locked",
        "--filter-platform",
        release.target.triple(),
    ]);
    let text = shell::read(&mut command).context("`cargo metadata --locked` failed; run it to see why")?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
    let nodes = edges(&metadata)?;
    let packages = array(&metadata, "packages")?;
    let mut wanted = BTreeSet::new();
    let mut queue: VecDeque<&str> = packages
        .iter()
        .filter(|package| package["source"].is_null() && ROOTS.contains(&string(package, "name")))
        .map(|package| string(package, "id"))
        .collect();
    // Macros run in the compiler, and so does what they are made of.
    let macros: BTreeSet<&str> = packages
        .iter()
        .filter(|package| is_macro(package))
        .map(|package| string(package, "id"))
        .collect();
    while let Some(id) = queue.pop_front() {
        if !macros.contains(id) && wanted.insert(id) {
            queue.extend(nodes.get(id).into_iter().flatten());
        }
    }
    let mut chosen: Vec<&Value> = packages
        .iter()
        .filter(|package| wanted.contains(string(package, "id")))
        .collect();
    for package in &chosen {
        let source = string(package, "source");
        if !package["source"].is_null() && !source.starts_with("registry+") {
            bail!(
                "{} is from {source}, which can change or go away; take it from the registry",
                string(package, "name")
            );
        }
    }
    chosen.sort_by_key(|package| (string(package, "name"), string(package, "version")));
    let at: BTreeMap<&str, usize> = chosen
        .iter()
        .enumerate()
        .map(|(at, package)| (string(package, "id"), at))
        .collect();
    Ok(chosen
        .iter()
        .map(|package| {
            let needs = nodes.get(string(package, "id")).into_iter().flatten();
            let mut needs: Vec<usize> = needs.filter_map(|id| at.get(id).copied()).collect();
            needs.sort_unstable();
            needs.dedup();
            described(package, needs)
        })
        .collect())
}

fn described(package: &Value, needs: Vec<usize>) -> Crate {
    let authors = package["authors"].as_array().into_iter().flatten();
    Crate {
        name: string(package, "name").to_owned(),
        version: string(package, "version").to_owned(),
        licence: string(package, "license").replace('/', " OR "),
        authors: authors.filter_map(Value::as_str).map(str::to_owned).collect(),
        repository: string(package, "repository").to_owned(),
        folder: PathBuf::from(string(package, "manifest_path"))
            .parent()
            .map(PathBuf::from)
            .unwrap_or_default(),
        own: package["source"].is_null(),
        needs,
    }
}

/// What each package links; what only builds or tests it is left out.
fn edges(metadata: &Value) -> Result<BTreeMap<&str, Vec<&str>>> {
    let nodes = metadata["resolve"]["nodes"]
        .as_array()
        .context("cargo metadata has no resolve.nodes")?;
    let linked = |dependency: &&Value| {
        let kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
        kinds.into_iter().any(|kind| kind["kind"].is_null())
    };
    Ok(nodes
        .iter()
        .map(|node| {
            let dependencies = node["deps"].as_array().into_iter().flatten();
            (
                string(node, "id"),
                dependencies
                    .filter(linked)
                    .map(|dependency| string(dependency, "pkg"))
                    .collect(),
            )
        })
        .collect())
}

fn is_macro(package: &Value) -> bool {
    let targets = package["targets"].as_array().into_iter().flatten();
    let mut kinds = targets.filter_map(|target| target["kind"].as_array()).flatten();
    kinds.any(|kind| kind == "proc-macro")
}

fn array<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key]
        .as_array()
        .with_context(|| format!("cargo metadata has no {key}"))
}

fn string<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
