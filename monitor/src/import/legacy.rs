//! `__init__.py` of the Instana plugin framework: constants at the top of a Python module.

use super::{
    Entry, ImportError, Imported, Notes, Value, pattern, plugin_name,
    python::{self, Spot, Token},
    quoted,
    writer::{Writer, plain, text as written, texts},
};

/// What the constants said.
#[derive(Debug, Default)]
struct Constants {
    namespace: Option<String>,
    /// With the line.
    name: Option<(String, usize)>,
    names: Vec<(String, usize)>,
    plugin: Option<(String, usize)>,
    version: Option<String>,
    description: Option<String>,
    template: Option<String>,
    interval: Option<String>,
    attributes: Vec<(String, String)>,
}

/// Imports the module `text`.
pub(super) fn import(text: &str) -> Result<Imported, ImportError> {
    let spots = python::tokens(text)?;
    let mut notes = Notes::default();
    let mut constants = Constants::default();
    let mut seen = std::collections::BTreeMap::new();
    for statement in spots.split(|spot| spot.token == Token::End) {
        let Some((name, line, value)) = assignment(statement, &mut notes) else {
            continue;
        };
        match python::usual(value) {
            Ok((Value::Null, variables)) if !variables.is_empty() => {
                let why = "it is a variable of the environment without a default";
                notes.add(line, format!("{name} is not carried over: {why}"));
            }
            Ok((value, variables)) => {
                for variable in variables {
                    let instead = instead_of(&name);
                    let text = format!(
                        "{name} is taken as it is where {} is not set, a variable that kevmon does not read{instead}",
                        quoted(&variable)
                    );
                    notes.add(line, text);
                }
                if let Some(before) = seen.insert(name.clone(), line) {
                    notes.add(
                        before,
                        format!("{name} is set again in line {line}, which counts"),
                    );
                }
                constants.take(&name, value, line, &mut notes);
            }
            Err(why) => notes.add(line, format!("{name} is not carried over: {why}")),
        }
    }
    constants.finish(notes)
}

/// What kevmon reads in place of a variable that gave the constant `name`.
fn instead_of(name: &str) -> &'static str {
    match name {
        "PROCESS_NAME" | "PROCESS_NAMES" => " (<PLUGIN>_PROCESS_FILTER does the same)",
        "COLLECTION_INTERVAL" | "INTERVAL" => " unless it is <PLUGIN>_INTERVAL or COLLECTION_INTERVAL",
        _ => "",
    }
}

/// The assignment that a statement is; anything else becomes a note.
fn assignment<'a>(statement: &'a [Spot], notes: &mut Notes) -> Option<(String, usize, &'a [Spot])> {
    let (head, rest) = statement.split_first()?;
    let Token::Name(name) = &head.token else {
        if !matches!(head.token, Token::Text(_)) {
            notes.add(head.line, "is no assignment and is not carried over");
        }
        return None; // a text alone is the module's documentation
    };
    if !head.first {
        return None; // within a block, whose head has been noted
    }
    let equals = rest.iter().position(|spot| spot.token == Token::Sign('='));
    let value = equals.map(|at| &rest[at + 1..]);
    // `NAME = …` and `NAME: type = …`; `==` is a comparison.
    match (value, rest.first().map(|spot| &spot.token)) {
        (Some(value), Some(Token::Sign('=' | ':')))
            if value.first().map(|s| &s.token) != Some(&Token::Sign('=')) =>
        {
            Some((name.clone(), head.line, value))
        }
        _ => {
            notes.add(head.line, format!("{name} … is code, which is not carried over"));
            None
        }
    }
}

impl Constants {
    fn take(&mut self, name: &str, value: Value, line: usize, notes: &mut Notes) {
        match (name, value) {
            ("SERVICE_NAMESPACE", Value::Text(text)) => self.namespace = Some(text),
            ("PROCESS_NAME", Value::Text(text)) => self.name = Some((text, line)),
            ("PROCESS_NAMES", Value::List(list)) => {
                self.names = Vec::new();
                for value in list {
                    match value {
                        Value::Text(text) => self.names.push((text, line)),
                        other => notes.add(
                            line,
                            format!("PROCESS_NAMES holds {}, which is no name", other.kind()),
                        ),
                    }
                }
            }
            ("PLUGIN_NAME", Value::Text(text)) => self.plugin = Some((text, line)),
            ("VERSION" | "__version__", Value::Text(text)) => self.version = Some(text),
            ("DESCRIPTION", Value::Text(text)) => self.description = Some(text),
            ("SERVICE_NAME_TEMPLATE", Value::Text(text)) => self.template = Some(text),
            ("COLLECTION_INTERVAL" | "INTERVAL", value @ (Value::Int(_) | Value::Float(_))) => {
                self.interval = interval(&value, name, line, notes);
            }
            ("CUSTOM_ATTRIBUTES", Value::Map(map)) => {
                self.attributes.clear();
                map.into_iter().for_each(|entry| self.attribute(entry, notes));
            }
            // The guide's copy of PROCESS_NAME, by its own variable.
            ("PROCESS_FILTER", Value::Text(text))
                if self.name.as_ref().is_some_and(|(name, _)| *name == text) => {}
            ("__all__" | "__author__", _) => {}
            (name, value) => {
                let text = format!(
                    "{name} ({}) is nothing that kevmon knows and is not carried over",
                    value.kind()
                );
                notes.add(line, text);
            }
        }
    }

    fn attribute(&mut self, Entry { key, value, line }: Entry, notes: &mut Notes) {
        let text = match value {
            Value::Text(text) => text,
            value => match plain(&value) {
                Some(text) => text,
                None => {
                    notes.add(
                        line,
                        format!("attribute {} is {} and is left out", quoted(&key), value.kind()),
                    );
                    return;
                }
            },
        };
        self.attributes.retain(|(known, _)| *known != key);
        self.attributes.push((key, text));
    }

    fn finish(self, mut notes: Notes) -> Result<Imported, ImportError> {
        let names = self.patterns(&mut notes);
        let Some(first) = names.first() else {
            // Where one is set, and to what nobody but Python can read, that is why.
            let why = notes
                .notes
                .iter()
                .find(|note| note.text.starts_with("PROCESS_NAME"));
            if let Some(why) = why {
                let remedy = "write the names as plain texts";
                return Err(ImportError::new(why.line, why.text.clone(), remedy));
            }
            return Err(ImportError::new(
                None,
                "neither PROCESS_NAME nor PROCESS_NAMES is set to a text",
                "name the file that sets it, usually the plugin's __init__.py",
            ));
        };
        let name = match &self.plugin {
            Some((name, line)) => plugin_name(name, Some(*line), &mut notes),
            None => {
                notes.add(
                    None,
                    "PLUGIN_NAME is not set: the plugin is named after its process",
                );
                plugin_name(&first.to_lowercase(), None, &mut notes)
            }
        };
        let mut writer = Writer::new("a Python configuration of the Instana plugin framework");
        writer.table(&["plugin"]);
        writer.set("name", &written(&name));
        for (key, value) in [("description", &self.description), ("version", &self.version)] {
            if let Some(value) = value {
                writer.set(key, &written(value));
            }
        }
        writer.table(&["service"]);
        if let Some(namespace) = &self.namespace {
            writer.set("namespace", &written(namespace));
        }
        if self.names.is_empty() {
            writer.comment("A regular expression on the process name: any case, matching anywhere in it.");
            writer.set("process_name", &written(first));
        } else {
            writer.comment(
                "Regular expressions on the process name: any case, matching anywhere in it. Each is a",
            );
            writer.comment("service of its own.");
            writer.set("process_names", &texts(&names));
        }
        if !self.attributes.is_empty() {
            writer.table(&["service", "attributes"]);
            for (key, value) in &self.attributes {
                writer.set(key, &written(value));
            }
        }
        writer.table(&["monitoring"]);
        match &self.interval {
            Some(interval) => writer.set("interval", interval),
            None => writer.comment("interval = 60"),
        }
        // The framework's own plugin.toml of the same plugin says nothing of it, and is read with the default.
        writer.comment(
            "The original framework's view, gauges and means over processes whose parent is no member:",
        );
        writer.comment("aggregate = \"roots\"");
        if let Some(template) = &self.template {
            writer.table(&["otel_config"]);
            writer.set("service_name_template", &written(template));
        }
        Ok(Imported {
            name,
            toml: writer.finish(),
            notes: notes.finish(),
            module: None,
        })
    }

    /// Each once; case makes no difference.
    fn patterns(&self, notes: &mut Notes) -> Vec<String> {
        let all: Vec<&(String, usize)> = if self.names.is_empty() {
            self.name.iter().collect()
        } else {
            if let Some((name, line)) = &self.name
                && !self.names.iter().any(|(other, _)| other == name)
            {
                notes.add(*line, "PROCESS_NAME is left out: PROCESS_NAMES is set, too");
            }
            self.names.iter().collect()
        };
        let mut patterns: Vec<String> = Vec::new();
        for (name, line) in all {
            if name.trim().is_empty() {
                notes.add(
                    *line,
                    "an empty process name would match every process and is left out",
                );
            } else if patterns
                .iter()
                .any(|known| known.to_lowercase() == name.to_lowercase())
            {
                notes.add(*line, format!("{} is named twice", quoted(name)));
            } else {
                patterns.push(pattern(name, *line, notes));
            }
        }
        patterns
    }
}

/// Seconds as an interval, where kevmon can keep it: 10 ms to 24 h.
pub(super) fn interval(value: &Value, name: &str, line: usize, notes: &mut Notes) -> Option<String> {
    let seconds = match value {
        Value::Int(number) => *number as f64,
        Value::Float(number) => *number,
        Value::Text(text) => text.trim().parse().unwrap_or(f64::NAN),
        _ => f64::NAN,
    };
    if (0.01..=86_400.0).contains(&seconds) {
        Some(if seconds.fract() == 0.0 {
            format!("{seconds:.0}")
        } else {
            format!("{seconds:?}")
        })
    } else {
        notes.add(
            line,
            format!("{name} is no interval of 10 ms to 24 h in seconds and is left out"),
        );
        None
    }
}
