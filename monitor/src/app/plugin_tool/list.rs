//! `kevmon plugin list`: every plugin that is found, and what keeps one from running.

use anyhow::Result;
use serde_json::json;

use super::{Exit, load, print};
use crate::{
    cli::ListArgs,
    config::{Fault, Overrides},
    export::span,
    shown::{self, printable},
};

/// Lists them.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn run(args: &ListArgs) -> Result<Exit> {
    let loaded = load(args.plugins_dir.clone(), Vec::new(), &Overrides::default());
    let mut rows: Vec<[String; 5]> = Vec::new();
    let mut objects = Vec::new();
    for plugin in &loaded.plugins {
        let file = plugin.origin.as_ref().map(|path| path.display().to_string());
        objects.push(
            json!({ "plugin": plugin.name, "instance": plugin.instance, "state": "enabled",
            "service": plugin.service.id, "service_name": plugin.service_name(), "interval_ms": plugin.interval.as_millis() as u64, "file": file }),
        );
        rows.push([
            plugin.label(),
            "enabled".to_owned(),
            plugin.service_name(),
            span(plugin.interval),
            file.unwrap_or_default(),
        ]);
    }
    for disabled in &loaded.disabled {
        let file = disabled.path.display().to_string();
        objects.push(
            json!({ "plugin": disabled.name, "state": "disabled", "reason": disabled.reason, "file": file }),
        );
        rows.push([
            disabled.name.clone(),
            "disabled".to_owned(),
            String::new(),
            String::new(),
            file,
        ]);
    }
    for path in loaded.faulty_files() {
        let faulty = loaded.faulty.iter().filter(|faulty| faulty.path == path);
        let names: Vec<String> = faulty.flat_map(|faulty| faulty.names.clone()).collect();
        let own = |fault: &&Fault| fault.path() == Some(path);
        let faults: Vec<String> = loaded
            .faults
            .iter()
            .filter(own)
            .map(ToString::to_string)
            .collect();
        let file = path.display().to_string();
        objects.push(json!({ "state": "faulty", "names": names, "file": file, "faults": faults }));
        rows.push([
            if names.is_empty() {
                "?".to_owned()
            } else {
                names.join(", ")
            },
            "faulty".to_owned(),
            String::new(),
            String::new(),
            file,
        ]);
    }
    let text = if args.json {
        objects
            .iter()
            .map(|object| shown::json(&object.to_string()).into_owned() + "\n")
            .collect()
    } else {
        table(&rows)
    };
    print(&text)?;
    // That all plugins are switched off is seen already.
    let told = |fault: &&Fault| fault.path().is_some() || rows.is_empty();
    loaded.faults.iter().filter(told).for_each(super::complain);
    let usage = loaded.faults.iter().any(|fault| told(&fault));
    Ok(if usage { Exit::Usage } else { Exit::Success })
}

fn table(rows: &[[String; 5]]) -> String {
    let heading = ["PLUGIN", "STATE", "SERVICE", "INTERVAL", "FILE"].map(str::to_owned);
    let rows: Vec<[String; 5]> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| printable(cell).into_owned()))
        .collect();
    let all = || std::iter::once(&heading).chain(&rows);
    let mut text = String::new();
    for row in all() {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = all().map(|row| row[column].chars().count()).max().unwrap_or(0);
            format!("{cell:width$}")
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
