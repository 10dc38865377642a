//! `kevmon status` for people.

use std::path::Path;

use serde_json::Value as Json;

use crate::shown;

/// Members of a plugin that are listed.
const MEMBERS: usize = 8;

/// The status of one instance, a line for each thing. `path` is its socket.
pub(super) fn text(status: &Json, path: &Path) -> String {
    let mut lines = vec![format!(
        "kevmon {} (pid {}) runs since {}, for {}",
        word(&status["version"]),
        status["pid"],
        word(&status["started"]),
        span(&status["uptime_seconds"])
    )];
    let mut row = |name: &str, value: String| lines.push(format!("  {name:<9} {value}"));
    row("socket", path.display().to_string());
    for (name, key) in [("unit", "unit"), ("state", "state")] {
        if status[key].is_string() {
            row(name, word(&status[key]));
        }
    }
    if let Some(source) = status["source"].as_str() {
        row("source", format!("{source}: {}", word(&status["source_reason"])));
    }
    row("lost", counts(&status["lost"]));
    row("failures", counts(&status["soft_failures"]));
    for (name, key) in [("faulty", "faulty_plugins"), ("stuck", "stuck_threads")] {
        let all = strings(&status[key]);
        if !all.is_empty() {
            row(name, all.join(", "));
        }
    }
    if let Some(ago) = status["last_export_seconds_ago"].as_u64() {
        row("exported", format!("{ago} s ago"));
    }
    for queue in array(&status["exports"]) {
        lines.push(export(queue));
    }
    for plugin in array(&status["plugins"]) {
        lines.push(of_plugin(plugin));
    }
    if let Some(left_out @ 1..) = status["plugins_left_out"].as_u64() {
        lines.push(format!("  {left_out} further plugins are not shown"));
    }
    let mut text = shown::lines(&lines.join("\n")).into_owned();
    text.push('\n');
    text
}

fn export(queue: &Json) -> String {
    let mut text = format!(
        "  export {} ({}): {} delivered, {} waiting",
        word(&queue["receiver"]),
        word(&queue["signal"]),
        queue["delivered"],
        queue["waiting_requests"]
    );
    if queue["lost"].as_object().is_some_and(|lost| !lost.is_empty()) {
        text.push_str(&format!(", lost: {}", counts(&queue["lost"])));
    }
    if queue["away"] == true {
        text.push_str(", the receiver is away");
    }
    text
}

fn of_plugin(plugin: &Json) -> String {
    let metrics = &plugin["metrics"];
    let mut parts = Vec::new();
    if let Some(count) = metrics["process_count"].as_u64() {
        parts.push(format!(
            "{count} {}",
            if count == 1 { "process" } else { "processes" }
        ));
    }
    if let Some(usage) = metrics["cpu_usage"].as_f64() {
        parts.push(format!("CPU {:.1} % each", usage * 100.0));
    }
    if let Some(bytes) = metrics["memory_rss_total"].as_u64() {
        parts.push(format!("RSS {:.1} MiB", bytes as f64 / f64::from(1 << 20)));
    }
    for name in ["restarts", "exits"] {
        if let Some(count) = metrics[name].as_u64() {
            parts.push(format!("{name} {count}"));
        }
    }
    parts.push(format!("collected {} s ago", plugin["collected_seconds_ago"]));
    let members: Vec<String> = array(&plugin["processes"])
        .take(MEMBERS)
        .map(|process| format!("{} {}", process["pid"], word(&process["name"])))
        .collect();
    let more = array(&plugin["processes"]).count().saturating_sub(MEMBERS);
    let mut text = format!("  plugin {}: {}", word(&plugin["label"]), parts.join(", "));
    if !members.is_empty() {
        text.push_str(&format!("\n    {}", members.join(", ")));
    }
    if more > 0 {
        text.push_str(&format!(", and {more} more"));
    }
    text
}

fn array(value: &Json) -> impl Iterator<Item = &Json> {
    value.as_array().into_iter().flatten()
}

fn strings(value: &Json) -> Vec<String> {
    array(value).map(word).collect()
}

/// A text on one line; `?` for what is no text.
fn word(value: &Json) -> String {
    shown::one_line(value.as_str().unwrap_or("?"))
        .trim_end()
        .to_owned()
}

fn counts(value: &Json) -> String {
    let Some(counts) = value.as_object().filter(|counts| !counts.is_empty()) else {
        return if value.is_null() { "not known yet" } else { "none" }.to_owned();
    };
    let counts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    counts.join(", ")
}

fn span(seconds: &Json) -> String {
    match seconds.as_u64() {
        None => "?".to_owned(),
        Some(seconds @ ..60) => format!("{seconds} s"),
        Some(seconds @ ..3600) => format!("{} min", seconds / 60),
        Some(seconds @ ..172_800) => format!("{} h", seconds / 3600),
        Some(seconds) => format!("{} d", seconds / 86_400),
    }
}
