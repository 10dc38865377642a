//! A `.panoptes-plugin` file: sections of `key = value` lines. What the plugin's Python does has to be written as a
//! command, whose output may stay Panoptes' JSON.

use super::{
    ImportError, Imported, Notes, Value,
    legacy::interval,
    plugin_name, printable, quoted, stem,
    writer::{Writer, text as written},
};

/// One `key = value`.
#[derive(Debug)]
struct Line {
    section: String,
    key: String,
    value: String,
    number: usize,
}

/// Imports the file `text`.
pub(super) fn import(text: &str) -> Result<Imported, ImportError> {
    let mut notes = Notes::default();
    let lines = lines(text, &mut notes)?;
    let get = |section: &str, key: &str| {
        let found = |line: &&Line| line.section == section && line.key == key;
        lines
            .iter()
            .rev()
            .find(found)
            .filter(|line| !line.value.is_empty())
    };
    let Some(core) = get("core", "name") else {
        return Err(ImportError::new(
            None,
            "[Core] has no Name",
            "import a .panoptes-plugin file with [Core] Name = …",
        ));
    };
    // A name in words is fit for people alone.
    let name = plugin_name(&core.value.to_lowercase(), Some(core.number), &mut notes);
    let mut writer = Writer::new(&format!("a Panoptes plugin, {}", quoted(&core.value)));
    for key in ["author", "website"] {
        if let Some(line) = get("documentation", key) {
            writer.comment(&format!("{}: {}", capital(key), line.value));
        }
    }
    writer.table(&["plugin"]);
    writer.set("name", &written(&name));
    for key in ["description", "version"] {
        if let Some(line) = get("documentation", key) {
            writer.set(key, &written(&printable(&line.value)));
        }
    }
    if let Some(line) = get("main", "namespace") {
        writer.table(&["service"]);
        writer.set("namespace", &written(&line.value));
    }
    writer.table(&["monitoring"]);
    let frequency = get("main", "execute_frequency");
    let seconds = frequency.and_then(|line| {
        interval(
            &Value::Text(line.value.clone()),
            "execute_frequency",
            line.number,
            &mut notes,
        )
    });
    if let Some(seconds) = seconds {
        writer.set("interval", &seconds);
    }
    if let Some(line) = get("main", "resource_filter") {
        writer.comment("The plugin runs on the hosts that this fits; resource_id is the host's name.");
        writer.set("resource_filter", &written(&line.value));
        notes.add(
            line.number,
            "resource_filter is tried on this host alone: resource_id is the host's name",
        );
    }
    writer.table(&["otel_config"]);
    writer.set("service_name_template", "\"{plugin_name}\"");
    transforms(&mut writer, &lines, &mut notes);
    let module = collector(&mut writer, &name, get("core", "module"), &mut notes);
    for line in &lines {
        let known = match line.section.as_str() {
            "core" => ["name", "module"].contains(&line.key.as_str()),
            "documentation" => ["author", "website", "description", "version"].contains(&line.key.as_str()),
            "main" => ["execute_frequency", "resource_filter", "namespace"].contains(&line.key.as_str()),
            section => section == "transforms",
        };
        if !known {
            let text = format!(
                "{} of [{}] is left out: kevmon has nothing like it",
                quoted(&line.key),
                line.section
            );
            notes.add(line.number, text);
        }
    }
    Ok(Imported {
        name,
        toml: writer.finish(),
        notes: notes.finish(),
        module: Some(module),
    })
}

/// The plugin of a module of which there is the source alone, and no `.panoptes-plugin` file.
pub(super) fn of_source(file_name: &str) -> Imported {
    let mut notes = Notes::default();
    let name = plugin_name(&stem(file_name).to_lowercase(), None, &mut notes);
    let mut writer = Writer::new("a Panoptes polling plugin");
    writer.table(&["plugin"]);
    writer.set("name", &written(&name));
    writer.table(&["otel_config"]);
    writer.set("service_name_template", "\"{plugin_name}\"");
    runner(&mut writer, &name, &file_of(file_name));
    notes.add(
        None,
        "its .panoptes-plugin file has more: import that one for the interval, the filter and the transforms",
    );
    Imported {
        name,
        toml: writer.finish(),
        notes: notes.finish(),
        module: Some(file_of(file_name)),
    }
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

/// The name of a module's file: a path is another host's.
fn file_of(module: &str) -> String {
    let last = module.rsplit('/').next().unwrap_or(module);
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name: String = stem(last)
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    format!("{name}.py")
}

fn runner(writer: &mut Writer, name: &str, file: &str) {
    writer.array_table("collector");
    writer.set("name", &written(name));
    writer.set("kind", "\"command\"");
    writer.comment("Runs the module, which stands beside this file, once an interval as Panoptes does.");
    writer.set(
        "command",
        &format!("[{}, {}]", written("kevmon-panoptes-runner"), written(file)),
    );
    writer.set("format", "\"panoptes\"");
}

/// The collector that runs the plugin's module; returns the name of its file.
fn collector(writer: &mut Writer, name: &str, module: Option<&Line>, notes: &mut Notes) -> String {
    let file = match module {
        Some(module) => file_of(&module.value),
        None => file_of(name),
    };
    runner(writer, name, &file);
    let what = match module {
        Some(module) => format!("the Python of {}", quoted(&module.value)),
        None => "the plugin's Python".to_owned(),
    };
    notes.add(
        module.map(|module| module.number),
        format!("{what} is run as it is: {file} has to stand beside plugin.toml"),
    );
    file
}

/// `<group> = rate:<result>:<counter,…>`
fn transforms(writer: &mut Writer, lines: &[Line], notes: &mut Notes) {
    let mut head = false;
    let mut seen: Vec<&str> = Vec::new();
    for line in lines.iter().filter(|line| line.section == "transforms") {
        let parts: Vec<&str> = line.value.splitn(3, ':').map(str::trim).collect();
        let (Some(&"rate"), Some(result), Some(counters)) = (parts.first(), parts.get(1), parts.get(2))
        else {
            let text = format!(
                "transform {} is not rate:<group>:<counters> and is left out",
                quoted(&line.value)
            );
            notes.add(line.number, text);
            continue;
        };
        let counters: Vec<&str> = counters
            .split(',')
            .map(str::trim)
            .filter(|c| !c.is_empty())
            .collect();
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_')
        };
        let all_names = counters
            .iter()
            .chain([result, &line.key.as_str()])
            .all(|name| is_name(name));
        if counters.is_empty() || !all_names || seen.contains(&line.key.as_str()) {
            let text = format!(
                "transform {} of {} is left out: names are letters, digits, '.' and '_', groups once",
                quoted(&line.value),
                quoted(&line.key)
            );
            notes.add(line.number, text);
            continue;
        }
        if !std::mem::replace(&mut head, true) {
            writer.table(&["transforms"]);
        }
        seen.push(&line.key);
        writer.set(
            &line.key,
            &written(&format!("rate:{result}:{}", counters.join(","))),
        );
    }
}

/// Sections and keys are taken in any case, but for the groups of transforms.
fn lines(text: &str, notes: &mut Notes) -> Result<Vec<Line>, ImportError> {
    let (mut section, mut lines) = (String::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let (number, line) = (index + 1, line.trim());
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(head) = line.strip_prefix('[') {
            let head = head.split(']').next().unwrap_or_default().trim();
            if head.is_empty() || head.starts_with('[') || !line.contains(']') {
                return Err(ImportError::new(
                    number,
                    "this is no section's head",
                    "write [main] or another name",
                ));
            }
            section = head.to_lowercase();
            if !["core", "documentation", "main", "transforms"].contains(&section.as_str()) {
                notes.add(
                    number,
                    format!("section [{}] is nothing that kevmon knows", printable(head)),
                );
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            notes.add(
                number,
                format!("{} is neither a section nor key = value", quoted(line)),
            );
            continue;
        };
        let key = key.trim();
        lines.push(Line {
            key: if section == "transforms" {
                key.to_owned()
            } else {
                key.to_lowercase()
            },
            section: section.clone(),
            value: value_of(value.trim()),
            number,
        });
    }
    Ok(lines)
}

/// Without the comment behind it, and without quotes around all of it.
fn value_of(value: &str) -> String {
    let mut quote = None;
    let mut before = ' ';
    let end = value.char_indices().find(|&(_, letter)| {
        match quote {
            Some(open) if open == letter => quote = None,
            None if letter == '"' || letter == '\'' => quote = Some(letter),
            None if letter == '#' && before.is_whitespace() => return true,
            _ => {}
        }
        before = letter;
        false
    });
    let value = end.map_or(value, |(at, _)| &value[..at]).trim();
    for quote in ['"', '\''] {
        let inner = value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner.filter(|inner| !inner.contains(quote)) {
            return inner.to_owned();
        }
    }
    value.to_owned()
}
