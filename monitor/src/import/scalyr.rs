//! The `monitors` of Scalyr's `agent.json`: the entries of one module become one plugin, with an instance for each id.

use super::{
    Entry, ImportError, Imported, Notes, Value,
    legacy::interval,
    pattern, plugin_name, quoted, relaxed,
    scalyr_module::{Setting, Type},
    stem,
    writer::{Writer, plain, text as written},
};

/// Scalyr's sample interval, seconds.
const INTERVAL: &str = "30";

/// One entry of `monitors`.
#[derive(Debug)]
struct Monitor {
    module: String,
    id: Option<String>,
    interval: Option<String>,
    disabled: bool,
    /// Whatever else it says.
    fields: Vec<Entry>,
    line: usize,
}

/// Imports a configuration, a list of monitors or one monitor. `settings` are those that the module asks for, where
/// its source is known.
pub(super) fn import(text: &str, settings: Option<Vec<Setting>>) -> Result<Vec<Imported>, ImportError> {
    let mut notes = Notes::default();
    let root = relaxed::parse(text, &mut notes)?;
    let mut monitors = Vec::new();
    for (value, line) in entries(root, &mut notes)? {
        monitors.extend(monitor(value, line, &mut notes));
    }
    if monitors.is_empty() {
        return Err(ImportError::new(
            None,
            "there is no monitor with a module",
            "import a file with monitors: [ { module: \"name\" } ]",
        ));
    }
    let mut modules: Vec<String> = Vec::new();
    for monitor in &monitors {
        if !modules.contains(&monitor.module) {
            modules.push(monitor.module.clone());
        }
    }
    if let (Some(_), [_, other, ..]) = (&settings, modules.as_slice()) {
        let message = format!(
            "--module gives the source of one module, and {} is another",
            quoted(other)
        );
        return Err(ImportError::new(
            None,
            message,
            "import a file with the entries of that module alone",
        ));
    }
    let mut plugins: Vec<Imported> = Vec::new();
    for module in modules {
        let (own, others) = monitors.into_iter().partition(|monitor| monitor.module == module);
        monitors = others;
        let mut plugin = of_module(&module, own, settings.as_deref(), std::mem::take(&mut notes));
        let taken = |name: &str| plugins.iter().any(|plugin| plugin.name == name);
        if taken(&plugin.name) {
            let free = (2..)
                .map(|n| format!("{}-{n}", plugin.name))
                .find(|name| !taken(name));
            let name = free.unwrap_or_default();
            plugin.toml = plugin.toml.replacen(&written(&plugin.name), &written(&name), 1);
            plugin.name = name;
        }
        plugins.push(plugin);
    }
    Ok(plugins)
}

/// The plugin of a module of which there is the source alone, and no configuration.
pub(super) fn of_source(file_name: &str, settings: Vec<Setting>) -> Imported {
    let monitor = Monitor {
        module: stem(file_name).to_owned(),
        id: None,
        interval: None,
        disabled: false,
        fields: Vec::new(),
        line: 1,
    };
    let module = monitor.module.clone();
    of_module(&module, vec![monitor], Some(&settings), Notes::default())
}

/// The entries, with the lines where they are known.
fn entries(root: Value, notes: &mut Notes) -> Result<Vec<(Value, Option<usize>)>, ImportError> {
    let all = |list: Vec<Value>, line| list.into_iter().map(|value| (value, line)).collect();
    let map = match root {
        Value::List(list) => return Ok(all(list, None)),
        Value::Map(map) if map.iter().any(|entry| entry.key == "module") => {
            return Ok(vec![(Value::Map(map), None)]);
        }
        Value::Map(map) => map,
        other => {
            let message = format!("the file is {}, and no configuration", other.kind());
            return Err(ImportError::new(
                None,
                message,
                "import a file with monitors: [ { module: \"name\" } ]",
            ));
        }
    };
    let mut found = Vec::new();
    for Entry { key, value, line } in map {
        match (key.as_str(), value) {
            ("monitors", Value::List(list)) => found = all(list, Some(line)),
            (key, _) => notes.add(
                line,
                format!("{} is no part of a plugin and is not carried over", quoted(key)),
            ),
        }
    }
    Ok(found)
}

fn monitor(value: Value, line: Option<usize>, notes: &mut Notes) -> Option<Monitor> {
    let Value::Map(map) = value else {
        notes.add(line, format!("{} among the monitors is left out", value.kind()));
        return None;
    };
    let mut monitor = Monitor {
        module: String::new(),
        id: None,
        interval: None,
        disabled: false,
        line: map.first().map(|entry| entry.line).or(line).unwrap_or(1),
        fields: Vec::new(),
    };
    for entry in map {
        let Entry { key, value, line } = &entry;
        match (key.as_str(), value) {
            ("module", Value::Text(text)) if !text.trim().is_empty() => monitor.module.clone_from(text),
            ("id", Value::Text(text)) if !text.is_empty() => monitor.id = Some(text.clone()),
            ("id", Value::Text(_)) => {}
            ("id", value) if plain(value).is_some() => monitor.id = plain(value),
            ("sample_interval", value) => monitor.interval = interval(value, key, *line, notes),
            ("disabled", Value::Bool(flag)) => monitor.disabled = *flag,
            ("log_path" | "log_config" | "metric_log_write_rate" | "metric_log_max_write_burst", _) => {
                notes.add(*line, format!("{key} is left out: kevmon writes no metric logs"));
            }
            _ => monitor.fields.push(entry),
        }
    }
    if monitor.module.is_empty() {
        notes.add(monitor.line, "a monitor without a module is left out");
        return None;
    }
    Some(monitor)
}

/// The plugin of one module's entries.
fn of_module(
    module: &str,
    mut monitors: Vec<Monitor>,
    settings: Option<&[Setting]>,
    mut notes: Notes,
) -> Imported {
    let last = module.rsplit('.').next().unwrap_or(module);
    let line = monitors.first().map(|monitor| monitor.line);
    let name = plugin_name(last, line, &mut notes);
    let instances = monitors.len() > 1 || monitors.iter().any(|monitor| monitor.id.is_some());
    if instances {
        number(&mut monitors, &mut notes);
    }
    let mut writer = Writer::new(&format!("a Scalyr configuration (module {module})"));
    writer.table(&["plugin"]);
    writer.set("name", &written(&name));
    let is_kevmons_own = last == "linux_process_metrics";
    let toml = if is_kevmons_own {
        processes(writer, &monitors, instances, &mut notes)
    } else {
        command(writer, last, &monitors, instances, settings, &mut notes)
    };
    Imported {
        name,
        toml,
        notes: notes.finish(),
        module: (!is_kevmons_own).then(|| module_file(last)),
    }
}

/// Gives each an id of its own.
fn number(monitors: &mut [Monitor], notes: &mut Notes) {
    let mut taken = std::collections::BTreeSet::new();
    for (index, monitor) in monitors.iter_mut().enumerate() {
        let line = Some(monitor.line);
        let mut id = match &monitor.id {
            Some(id) => plugin_name(id, line, notes),
            None => {
                notes.add(
                    line,
                    format!(
                        "a monitor without an id beside others: it has become {}",
                        index + 1
                    ),
                );
                (index + 1).to_string()
            }
        };
        if !taken.insert(id.clone()) {
            let other = (2..).map(|n| format!("{}-{n}", &id[..id.len().min(50)]));
            let other = other
                .into_iter()
                .find(|other| !taken.contains(other))
                .unwrap_or_default();
            notes.add(
                line,
                format!("the id {id} is used twice: this one has become {other}"),
            );
            taken.insert(other.clone());
            id = other;
        }
        monitor.id = Some(id);
    }
}

fn monitoring(writer: &mut Writer, monitors: &[Monitor]) {
    let first = monitors.first();
    writer.table(&["monitoring"]);
    writer.set(
        "interval",
        first.and_then(|m| m.interval.as_deref()).unwrap_or(INTERVAL),
    );
    if !monitors.is_empty() && monitors.iter().all(|monitor| monitor.disabled) {
        writer.set("enabled", "false");
    }
}

/// An instance's head, and what every instance may have.
fn instance(writer: &mut Writer, monitor: &Monitor, first: &Monitor, all_disabled: bool) {
    writer.array_table("instance");
    writer.set("id", &written(monitor.id.as_deref().unwrap_or_default()));
    if monitor.interval != first.interval {
        writer.set("interval", monitor.interval.as_deref().unwrap_or(INTERVAL));
    }
    if monitor.disabled && !all_disabled {
        writer.set("enabled", "false");
    }
}

/// `linux_process_metrics`: kevmon's own work.
fn processes(mut writer: Writer, monitors: &[Monitor], instances: bool, notes: &mut Notes) -> String {
    let mut children = false;
    let mut patterns = Vec::new();
    for monitor in monitors {
        let mut found = None;
        for Entry { key, value, line } in &monitor.fields {
            match (key.as_str(), value) {
                ("commandline", Value::Text(text)) if !text.trim().is_empty() => {
                    found = Some(pattern(text, *line, notes));
                }
                ("include_child_processes", Value::Bool(flag)) => children |= flag,
                ("aggregate_multiple_processes", Value::Bool(true)) => {}
                ("aggregate_multiple_processes", Value::Bool(false)) => {
                    notes.add(*line, "kevmon always adds up all processes that match: [processes] enabled = true shows each, too");
                }
                ("pid", _) => notes.add(*line, "pid is left out: kevmon finds processes by what they run"),
                (key, _) => notes.add(
                    *line,
                    format!("{} is left out: kevmon has nothing like it", quoted(key)),
                ),
            }
        }
        if found.is_none() {
            notes.add(
                monitor.line,
                "a monitor without commandline: name its process in process_name, which is ^kevmon$ now",
            );
        }
        patterns.push(found);
    }
    let of = |index: usize| patterns.get(index).cloned().flatten();
    writer.table(&["service"]);
    writer.comment(
        "A regular expression on the whole command line, as commandline was: any case, anywhere in it.",
    );
    writer.set(
        "match",
        if of(0).is_some() {
            "\"cmdline\""
        } else {
            "\"name\""
        },
    );
    writer.set(
        "process_name",
        &written(&of(0).unwrap_or_else(|| "^kevmon$".to_owned())),
    );
    if children {
        writer.set("children", "true");
    }
    monitoring(&mut writer, monitors);
    template(&mut writer);
    if let (true, Some(first)) = (instances, monitors.first()) {
        let all_disabled = monitors.iter().all(|monitor| monitor.disabled);
        for (index, monitor) in monitors.iter().enumerate() {
            instance(&mut writer, monitor, first, all_disabled);
            writer.set(
                "process_name",
                &written(&of(index).unwrap_or_else(|| "^kevmon$".to_owned())),
            );
        }
    }
    writer.finish()
}

fn template(writer: &mut Writer) {
    writer.table(&["otel_config"]);
    writer.set("service_name_template", "\"{plugin_name}\"");
}

/// The file of a module, as far as it can be one.
fn module_file(last: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name: String = last.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    format!("{name}.py")
}

/// Any other module: the runner loads it as it is, and gets the settings.
fn command(
    mut writer: Writer,
    last: &str,
    monitors: &[Monitor],
    instances: bool,
    known: Option<&[Setting]>,
    notes: &mut Notes,
) -> String {
    let settings = settings(monitors, known, notes);
    monitoring(&mut writer, monitors);
    template(&mut writer);
    for setting in &settings {
        writer.table(&["settings", &setting.name]);
        let kind = setting.kind.unwrap_or(Type::Text);
        writer.set("type", &written(kind.name()));
        let values = [
            ("default", &setting.default),
            ("min", &setting.min),
            ("max", &setting.max),
        ];
        for (key, value) in values {
            if let Some(value) = value.as_ref().and_then(plain) {
                writer.set(key, &value);
            }
        }
        if setting.required {
            writer.set("required", "true");
        }
        if let (false, Some(monitor)) = (instances, monitors.first())
            && let Some(value) = value_of(monitor, setting, notes)
        {
            writer.set("value", &value);
        }
    }
    let file = module_file(last);
    writer.array_table("collector");
    writer.set("name", &written(&plugin_name(last, None, &mut Notes::default())));
    writer.set("kind", "\"command\"");
    writer.comment(
        "Runs the module, which stands beside this file, and goes on running as Scalyr's agent does.",
    );
    writer.set(
        "command",
        &format!("[{}, {}]", written("kevmon-scalyr-runner"), written(&file)),
    );
    writer.set("stream", "true");
    writer.set("format", "\"scalyr\"");
    let line = monitors.first().map(|monitor| monitor.line);
    notes.add(
        line,
        format!("the module's Python is run as it is: {file} has to stand beside plugin.toml"),
    );
    if let (true, Some(first)) = (instances, monitors.first()) {
        let all_disabled = monitors.iter().all(|monitor| monitor.disabled);
        for monitor in monitors {
            instance(&mut writer, monitor, first, all_disabled);
            let values: Vec<String> = settings
                .iter()
                .filter_map(|setting| {
                    Some(format!(
                        "{} = {}",
                        setting.name,
                        value_of(monitor, setting, notes)?
                    ))
                })
                .collect();
            if !values.is_empty() {
                writer.set("settings", &format!("{{ {} }}", values.join(", ")));
            }
        }
    }
    writer.finish()
}

/// The settings that the module asks for, then those that entries give.
fn settings(monitors: &[Monitor], known: Option<&[Setting]>, notes: &mut Notes) -> Vec<Setting> {
    let mut settings = Vec::new();
    for setting in known.unwrap_or_default() {
        let is_common = ["module", "id", "sample_interval"].contains(&setting.name.as_str());
        if !is_common && is_setting_name(&setting.name) {
            settings.push(checked(setting.clone(), notes));
        }
    }
    let fields = monitors.iter().flat_map(|monitor| &monitor.fields);
    let mut guessed = false;
    for Entry { key, value, line } in fields {
        if let Some(setting) = settings
            .iter_mut()
            .find(|setting: &&mut Setting| setting.name == *key)
        {
            // Two instances may write 5 and 5.5.
            if setting.kind == Some(Type::Int)
                && setting.min.is_none()
                && setting.max.is_none()
                && known.is_none()
                && Type::of(value) == Some(Type::Float)
            {
                setting.kind = Some(Type::Float);
            }
            continue;
        }
        let Some(kind) = Type::of(value) else {
            notes.add(
                *line,
                format!(
                    "{} is {} and is left out: a setting is a single value",
                    quoted(key),
                    value.kind()
                ),
            );
            continue;
        };
        if !is_setting_name(key) {
            notes.add(
                *line,
                format!(
                    "{} is no name of a setting (letters, digits, _) and is left out",
                    quoted(key)
                ),
            );
            continue;
        }
        if known.is_some() {
            notes.add(
                *line,
                format!("{} is nothing that the module asks for", quoted(key)),
            );
        }
        guessed = true;
        settings.push(Setting {
            name: key.clone(),
            kind: Some(kind),
            default: None,
            min: None,
            max: None,
            required: false,
            unread: Vec::new(),
            line: *line,
        });
    }
    if guessed && known.is_none() {
        let text = "types of the settings are guessed from their values, defaults and bounds are in the module's source: \
                    give it with --module FILE";
        notes.add(None, text);
    }
    settings
}

fn is_setting_name(name: &str) -> bool {
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic());
    first && name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A setting whose default and bounds fit its type and each other.
fn checked(mut setting: Setting, notes: &mut Notes) -> Setting {
    let name = quoted(&setting.name);
    for (line, text) in std::mem::take(&mut setting.unread) {
        notes.add(None, format!("{name}, line {line} of the module: {text}"));
    }
    let kind = setting
        .kind
        .or(setting.default.as_ref().and_then(Type::of))
        .unwrap_or(Type::Text);
    setting.kind = Some(kind);
    for (key, value) in [
        ("default", &mut setting.default),
        ("min_value", &mut setting.min),
        ("max_value", &mut setting.max),
    ] {
        let Some(given) = value.take() else { continue };
        let bound = key != "default";
        *value = kind
            .convert(&given)
            .filter(|_| !bound || matches!(kind, Type::Int | Type::Float));
        if value.is_none() {
            notes.add(
                None,
                format!(
                    "{name}: its {key} does not fit its type, {}, and is left out",
                    kind.name()
                ),
            );
        }
    }
    if let (Some(min), Some(max)) = (
        setting.min.as_ref().and_then(number_of),
        setting.max.as_ref().and_then(number_of),
    ) && min > max
    {
        notes.add(
            None,
            format!("{name}: min_value is above max_value; both are left out"),
        );
        (setting.min, setting.max) = (None, None);
    }
    if let Some(default) = &setting.default
        && !within(default, &setting)
    {
        notes.add(
            None,
            format!("{name}: its default is out of its own bounds and is left out"),
        );
        setting.default = None;
    }
    setting
}

fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

fn within(value: &Value, setting: &Setting) -> bool {
    let Some(number) = number_of(value) else {
        return true;
    };
    let bound = |bound: &Option<Value>| bound.as_ref().and_then(number_of);
    bound(&setting.min).is_none_or(|min| number >= min) && bound(&setting.max).is_none_or(|max| number <= max)
}

/// What an entry sets, as it is written; a value that the module would refuse becomes a note.
fn value_of(monitor: &Monitor, setting: &Setting, notes: &mut Notes) -> Option<String> {
    let entry = monitor.fields.iter().find(|entry| entry.key == setting.name);
    let kind = setting.kind.unwrap_or(Type::Text);
    let Some(Entry { key, value, line }) = entry else {
        if setting.required {
            notes.add(
                monitor.line,
                format!(
                    "{} is required and not given: give it a value",
                    quoted(&setting.name)
                ),
            );
        }
        return None;
    };
    Type::of(value)?;
    match kind.convert(value) {
        Some(value) if within(&value, setting) => plain(&value),
        Some(_) => {
            notes.add(
                *line,
                format!("{} is out of the module's bounds and is left out", quoted(key)),
            );
            None
        }
        None => {
            notes.add(
                *line,
                format!("{} is no {} and is left out", quoted(key), kind.name()),
            );
            None
        }
    }
}
