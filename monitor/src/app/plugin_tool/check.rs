//! `kevmon plugin check`: faults, what each plugin matches right now, what it nearly does, and its expectations.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Result;
use serde_json::{Value as Json, json};

use super::{Exit, doubts, explain, live, live::Live, load, print};
use crate::{
    cli::CheckArgs,
    config::{self, Fault, Loaded, Overrides, Warning},
    plugin::{Matching, Plugin},
    process::Identity,
    procfs::Hidden,
    shown::{self, printable},
};

/// Processes and near misses listed of each plugin at most, for people.
const LISTED: usize = 10;
/// Near misses told of each plugin at most.
const MISSES: usize = 50;
/// What a plugin's folder may hold beside plugin.toml.
const EXPECTATIONS: &str = "expect.toml";

/// What was found out.
#[derive(Default)]
struct Report {
    faults: Vec<String>,
    warnings: Vec<String>,
    disabled: Vec<String>,
    plugins: Vec<Checked>,
}

struct Checked {
    plugin: Plugin,
    /// Each with the name that matched.
    members: Vec<(Live, String)>,
    /// Each with the reason.
    misses: Vec<(Live, String)>,
    /// Expectations that hold.
    held: usize,
}

/// Checks what was asked for, or all that kevmon would find.
///
/// # Errors
/// The processes cannot be read.
pub(super) fn run(args: &CheckArgs) -> Result<Exit> {
    let mut report = Report::default();
    if let Some(hidden) = Hidden::from(&args.proc_root) {
        report.warnings.push(hidden.to_string());
    }
    let processes = live::processes(&args.proc_root)?;
    if args.paths.is_empty() {
        report.take(
            load(Vec::new(), Vec::new(), &Overrides::default()),
            None,
            &processes,
        );
    }
    for path in &args.paths {
        if let Err(error) = path.metadata() {
            let remedy = "name a plugin file, or a folder that is searched";
            report
                .faults
                .push(format!("{}: {error}; {remedy}", path.display()));
            continue;
        }
        let is_file = path.is_file();
        let folder = if is_file { folder_of(path) } else { path.clone() };
        let loaded = load(vec![folder], Vec::new(), &Overrides::default());
        report.take(loaded, is_file.then_some(path.as_path()), &processes);
    }
    print(&if args.json {
        shown::json(&report.json()).into_owned()
    } else {
        report.text()
    })?;
    Ok(if report.faults.is_empty() {
        Exit::Success
    } else {
        Exit::Usage
    })
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

impl Report {
    /// Takes over what was loaded; with `only`, of that file.
    fn take(&mut self, loaded: Loaded, only: Option<&Path>, processes: &[Live]) {
        let only = only.map(|path| (path, path.canonicalize().ok()));
        let concerns = |path: Option<&Path>| match (&only, path) {
            (Some((_, wanted)), Some(path)) => path.canonicalize().ok() == *wanted,
            _ => true,
        };
        let count = self.faults.len() + self.plugins.len() + self.disabled.len();
        let fault = |fault: &&Fault| concerns(fault.path());
        let warning = |warning: &&Warning| concerns(warning.path());
        // That nothing is left to run is no fault where all is switched off.
        let nothing_runs = |fault: &&Fault| fault.path().is_none() && !loaded.disabled.is_empty();
        let faults = loaded
            .faults
            .iter()
            .filter(fault)
            .filter(|fault| !nothing_runs(fault));
        self.faults.extend(faults.map(ToString::to_string));
        let warnings = loaded.warnings.iter().filter(warning);
        self.warnings.extend(warnings.map(ToString::to_string));
        for disabled in loaded
            .disabled
            .iter()
            .filter(|disabled| concerns(Some(&disabled.path)))
        {
            let reason = disabled.reason.as_deref().unwrap_or("switched off");
            self.disabled.push(format!(
                "{} ({}): {reason}",
                disabled.name,
                disabled.path.display()
            ));
        }
        let plugins = loaded.plugins.into_iter();
        let plugins: Vec<Plugin> = plugins
            .filter(|plugin| concerns(plugin.origin.as_deref()))
            .collect();
        self.expectations(&plugins);
        for plugin in plugins {
            let held = held(&plugin);
            // Instances share most of them.
            let doubts = doubts::of(&plugin).into_iter();
            let new: Vec<String> = doubts.filter(|doubt| !self.warnings.contains(doubt)).collect();
            self.warnings.extend(new);
            let members = members(&plugin, processes);
            self.plugins.push(Checked {
                misses: misses(&plugin, processes, &members),
                members,
                held,
                plugin,
            });
        }
        if let Some((path, _)) = only
            && count == self.faults.len() + self.plugins.len() + self.disabled.len()
        {
            let remedy = "name it plugin.toml in a folder of its own, or put it into a folder plugins.d";
            let message = format!("{}: is no file that kevmon would read; {remedy}", path.display());
            self.faults.push(message);
        }
    }

    /// Tries the expectations that stand beside the plugins' files.
    fn expectations(&mut self, plugins: &[Plugin]) {
        let mut folders: Vec<PathBuf> = plugins.iter().filter_map(folder).collect();
        folders.sort();
        folders.dedup();
        for folder in folders {
            let own: Vec<&Plugin> = plugins
                .iter()
                .filter(|plugin| self::folder(plugin).as_ref() == Some(&folder))
                .collect();
            let path = folder.join(EXPECTATIONS);
            match Expectations::read(&path) {
                Ok(expectations) => self.faults.extend(expectations.broken(&path, &own)),
                Err(fault) => self.faults.push(fault),
            }
        }
    }

    fn text(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        lines.extend(self.faults.iter().map(|fault| format!("✗ {fault}")));
        lines.extend(self.warnings.iter().map(|warning| format!("! {warning}")));
        lines.extend(self.disabled.iter().map(|disabled| format!("- {disabled}")));
        for checked in &self.plugins {
            let (plugin, members) = (&checked.plugin, &checked.members);
            let origin = plugin.origin.as_ref().map(|path| format!(", {}", path.display()));
            lines.push(format!(
                "✓ {} ({}{}): matches {} now",
                plugin.label(),
                plugin.service_name(),
                origin.unwrap_or_default(),
                counted(members.len(), "process", "processes")
            ));
            if checked.held > 0 {
                lines.push(format!(
                    "    {} as {EXPECTATIONS} expects",
                    counted(checked.held, "name", "names")
                ));
            }
            for (process, matched) in members.iter().take(LISTED) {
                lines.push(format!(
                    "    {} by {}",
                    told(process, checked.plugin.name_of(&process.identity)),
                    matched
                ));
            }
            further(&mut lines, members.len());
            for (process, reason) in checked.misses.iter().take(LISTED) {
                lines.push(format!(
                    "    near miss: {}: {}",
                    told(process, process.identity.name()),
                    reason
                ));
            }
            further(&mut lines, checked.misses.len());
        }
        lines.iter().map(|line| printable(line) + "\n").collect()
    }

    fn json(&self) -> String {
        let plugins: Vec<Json> = self
            .plugins
            .iter()
            .map(|checked| {
                let process = |(process, text): &(Live, String), key: &str| {
                    json!({ "pid": process.pid, "name": checked.plugin.name_of(&process.identity),
                        "user": process.facts.uid.map(live::user_name), key: text })
                };
                json!({
                    "plugin": checked.plugin.name,
                    "instance": checked.plugin.instance,
                    "service": checked.plugin.service.id,
                    "service_name": checked.plugin.service_name(),
                    "file": checked.plugin.origin,
                    "expectations_held": checked.held,
                    "matches": checked.members.iter().map(|one| process(one, "matched")).collect::<Vec<_>>(),
                    "near_misses": checked.misses.iter().map(|one| process(one, "reason")).collect::<Vec<_>>(),
                })
            })
            .collect();
        let report = json!({ "faults": self.faults, "warnings": self.warnings, "disabled": self.disabled, "plugins": plugins });
        report.to_string() + "\n"
    }
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn further(lines: &mut Vec<String>, all: usize) {
    if all > LISTED {
        lines.push(format!("    … and {} more", all - LISTED));
    }
}

fn told(process: &Live, name: &str) -> String {
    let user = process.facts.uid.map_or_else(|| "?".to_owned(), live::user_name);
    format!("pid {} ({user}) {}", process.pid, name)
}

fn members(plugin: &Plugin, processes: &[Live]) -> Vec<(Live, String)> {
    let wanted = processes
        .iter()
        .filter(|process| process.refusal(plugin).is_none());
    let mut members: BTreeMap<u32, (Live, String)> = wanted
        .filter_map(|process| Some((process.pid, (process.clone(), process.matched(plugin)?))))
        .collect();
    // Deeper and deeper, until nobody is found any more.
    let mut before = if plugin.children { 0 } else { members.len() };
    while before < members.len() {
        before = members.len();
        for process in processes {
            let Some(parent) = process.parent.filter(|parent| members.contains_key(parent)) else {
                continue;
            };
            members
                .entry(process.pid)
                .or_insert_with(|| (process.clone(), format!("child of {parent}")));
        }
    }
    members.into_values().collect()
}

fn misses(plugin: &Plugin, processes: &[Live], members: &[(Live, String)]) -> Vec<(Live, String)> {
    let near_misses = explain::NearMisses::of(plugin);
    let is_member = |process: &Live| members.iter().any(|(member, _)| member.pid == process.pid);
    let near = processes
        .iter()
        .filter(|process| !is_member(process))
        .filter_map(|process| Some((process.clone(), near_misses.reason(process)?)));
    near.take(MISSES).collect()
}

fn folder(plugin: &Plugin) -> Option<PathBuf> {
    plugin
        .origin
        .as_deref()
        .and_then(Path::parent)
        .map(Path::to_owned)
}

/// Names that `expect.toml` has of a plugin's file, where they are as expected.
fn held(plugin: &Plugin) -> usize {
    let path = folder(plugin).map(|folder| folder.join(EXPECTATIONS));
    let read = path.and_then(|path| Expectations::read(&path).ok());
    // Where something is not as expected, that is told, and nothing else of them.
    let all_held =
        |expectations: &Expectations| expectations.broken(Path::new(EXPECTATIONS), &[plugin]).is_empty();
    read.filter(all_held).map_or(0, |expectations| {
        expectations.matches.len() + expectations.ignores.len()
    })
}

/// `expect.toml`: names that the plugins of a file have to match, and names that they must not.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectations {
    #[serde(default)]
    matches: Vec<String>,
    #[serde(default)]
    ignores: Vec<String>,
}

impl Expectations {
    fn read(path: &Path) -> Result<Self, String> {
        // A link to nothing is something.
        if path.symlink_metadata().is_err() {
            return Ok(Self::default());
        }
        let text = match config::read_text(path) {
            Ok(text) => text,
            Err(fault) => return Err(fault.to_string()),
        };
        toml::from_str(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = text
                .get(..at)
                .map_or(1, |before| before.matches('\n').count() + 1);
            let remedy = "write matches = [\"name\"] and ignores = [\"name\"]";
            format!("{}:{line}: {}; {remedy}", path.display(), error.message())
        })
    }

    fn broken(&self, path: &Path, plugins: &[&Plugin]) -> Vec<String> {
        let wanted = |name: &str| plugins.iter().find(|plugin| wants(plugin, name));
        let missing = self.matches.iter().filter(|name| wanted(name).is_none());
        let mut broken: Vec<String> = missing
            .map(|name| {
                let remedy = "mend process_name, or take the name out of matches";
                format!(
                    "{}: matches: no plugin of this folder matches \"{name}\"; {remedy}",
                    path.display()
                )
            })
            .collect();
        for name in &self.ignores {
            if let Some(plugin) = wanted(name) {
                let (label, remedy) = (
                    plugin.label(),
                    "mend process_name, or take the name out of ignores",
                );
                let message = format!(
                    "{}: ignores: {label} matches \"{name}\"; {remedy}",
                    path.display()
                );
                broken.push(message);
            }
        }
        broken
    }
}

/// Whether a process of this name, or of this command line, would be a member as far as names decide.
fn wants(plugin: &Plugin, name: &str) -> bool {
    let words = || name.split_whitespace().map(str::to_owned).collect();
    let process = Live {
        identity: Identity {
            exe: name.to_owned(),
            argv: if plugin.matching == Matching::Cmdline {
                words()
            } else {
                vec![name.to_owned()]
            },
            ..Identity::default()
        },
        ..Live::default()
    };
    let excluded = process
        .refusal(plugin)
        .is_some_and(|refusal| refusal.key == "exclude");
    process.matched(plugin).is_some() && !excluded
}
