//! Configurations of other plugin systems → kevmon's own `plugin.toml`, with a note for whatever could not be carried
//! over. Pure: text in, text out.

mod legacy;
mod network;
mod panoptes;
mod python;
mod relaxed;
mod scalyr;
mod scalyr_module;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;

use crate::shown::printable;

/// Most bytes of an input.
pub const MOST_BYTES: usize = 1 << 20;
/// Most brackets that may be open at once.
const DEPTH: usize = 64;
/// Most notes of one input; what lies beyond is counted in the last one.
const MOST_NOTES: usize = 200;

/// What a file configures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `__init__.py` of the Instana plugin framework.
    Legacy,
    /// The `monitors` of Scalyr's `agent.json`.
    Scalyr,
    /// A `.panoptes-plugin` file.
    Panoptes,
    /// The Python of a Scalyr monitor.
    ScalyrModule,
    /// The Python of a Panoptes polling plugin.
    PanoptesModule,
}

/// Something that the plugin file does not say as the original did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Of the input, from 1; `None` where it concerns all of it.
    pub line: Option<usize>,
    /// What, and why.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// One plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Its name, fit for a folder.
    pub name: String,
    /// The contents of its `plugin.toml`.
    pub toml: String,
    /// What could not be carried over.
    pub notes: Vec<Note>,
    /// The file of Python that the plugin runs; it has to stand beside the plugin file.
    pub module: Option<String>,
}

/// Why nothing could be imported: what is wrong; what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}; {remedy}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct ImportError {
    /// From 1.
    line: Option<usize>,
    message: String,
    remedy: &'static str,
}

impl ImportError {
    fn new(line: impl Into<Option<usize>>, message: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            line: line.into(),
            message: message.into(),
            remedy,
        }
    }

    fn too_deep(line: usize) -> Self {
        let message = format!("more than {DEPTH} brackets are open at once");
        Self::new(line, message, "import the innermost part alone")
    }
}

/// A value of any of the formats.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Map(Vec<Entry>),
}

impl Value {
    /// In words, for notes.
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a table",
        }
    }
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    key: String,
    value: Value,
    line: usize,
}

/// Bytes of a note before and behind the gap where it is too long: a name in it may be as long as the file.
const KEPT: (usize, usize) = (400, 200);

/// A note whose beginning says what it is about and whose end says why.
fn shortened(text: String) -> String {
    let (before, behind) = KEPT;
    if text.len() <= before + behind {
        return text;
    }
    let before = text.floor_char_boundary(before);
    let behind = text.ceil_char_boundary(text.len() - behind);
    format!("{} … {}", &text[..before], &text[behind..])
}

/// Notes, bounded.
#[derive(Debug, Default)]
struct Notes {
    notes: Vec<Note>,
    more: usize,
}

impl Notes {
    fn add(&mut self, line: impl Into<Option<usize>>, text: impl Into<String>) {
        if self.notes.len() < MOST_NOTES {
            let (line, text) = (line.into(), shortened(printable(&text.into()).into_owned()));
            self.notes.push(Note { line, text });
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<Note> {
        if self.more > 0 {
            let text = format!("{} further parts could not be carried over", self.more);
            self.notes.push(Note { line: None, text });
        }
        self.notes
    }
}

/// What the file is, by its name, or else by its contents.
///
/// # Errors
/// It is none that can be imported.
pub fn detect(file_name: &str, text: &str) -> Result<Kind, ImportError> {
    let name = file_name.to_lowercase();
    if name.contains(".panoptes-plugin") {
        return Ok(Kind::Panoptes);
    }
    if name.ends_with(".py") {
        let has = |word: &str| text.contains(word);
        return Ok(if has("ScalyrMonitor") && has("scalyr_agent") {
            Kind::ScalyrModule
        } else if has("PanoptesPollingPlugin") && has("yahoo_panoptes") {
            Kind::PanoptesModule
        } else {
            Kind::Legacy
        });
    }
    if name.ends_with(".json") {
        return Ok(Kind::Scalyr);
    }
    if name.ends_with(".toml") {
        return Err(ImportError::new(
            None,
            "this is a TOML file, which kevmon reads as it stands",
            "check it with kevmon plugin check",
        ));
    }
    let lines = || text.lines().map(str::trim);
    if lines().any(|line| line.eq_ignore_ascii_case("[core]")) {
        return Ok(Kind::Panoptes);
    }
    let first = lines().find(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("//"));
    if first.is_some_and(|line| line.starts_with(['{', '['])) {
        return Ok(Kind::Scalyr);
    }
    let assigns = |line: &str| {
        ["PROCESS_NAME", "PLUGIN_NAME", "SERVICE_NAMESPACE"]
            .iter()
            .any(|name| line.starts_with(name))
    };
    if lines().any(assigns) {
        return Ok(Kind::Legacy);
    }
    Err(ImportError::new(
        None,
        "this is neither an __init__.py with PROCESS_NAME, nor a Scalyr configuration with monitors, nor a \
         .panoptes-plugin file",
        "name the file that configures the plugin, under its own name",
    ))
}

/// Imports `bytes`, which were found under `file_name`. `module` is the Python source of a Scalyr monitor, for the
/// bounds of its settings, or of a Panoptes plugin.
///
/// # Errors
/// It is no such file, is damaged, or defines no plugin.
pub fn import(file_name: &str, bytes: &[u8], module: Option<&[u8]>) -> Result<Vec<Imported>, ImportError> {
    let text = readable(bytes)?;
    let kind = detect(file_name, text)?;
    if module.is_some() && !matches!(kind, Kind::Scalyr | Kind::Panoptes) {
        return Err(ImportError::new(
            None,
            "a module's source goes with a Scalyr configuration or a .panoptes-plugin file, and this is neither",
            "leave --module out",
        ));
    }
    let module = module.map(readable).transpose()?;
    let (mut plugins, source) = match kind {
        Kind::Legacy => (vec![legacy::import(text)?], None),
        Kind::Scalyr => {
            let settings = module.map(scalyr_module::settings).transpose()?;
            (scalyr::import(text, settings)?, module)
        }
        Kind::Panoptes => (vec![panoptes::import(text)?], module),
        Kind::ScalyrModule => {
            let settings = scalyr_module::settings(text)?;
            (vec![scalyr::of_source(file_name, settings)], Some(text))
        }
        Kind::PanoptesModule => (vec![panoptes::of_source(file_name)], Some(text)),
    };
    for plugin in &mut plugins {
        network::allow(plugin, source);
    }
    Ok(plugins)
}

/// The name of a module by its file.
fn stem(file_name: &str) -> &str {
    file_name.strip_suffix(".py").unwrap_or(file_name)
}

fn readable(bytes: &[u8]) -> Result<&str, ImportError> {
    if bytes.len() > MOST_BYTES {
        let message = format!("{} bytes are more than {MOST_BYTES}", bytes.len());
        return Err(ImportError::new(None, message, "import the plugin's part alone"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = &bytes[..error.valid_up_to()];
        let line = good.iter().filter(|&&byte| byte == b'\n').count() + 1;
        ImportError::new(line, "the bytes are not UTF-8", "save the file in UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// `text` in quotes, cut to what a line can bear.
fn quoted(text: &str) -> String {
    const MOST: usize = 160;
    match text.char_indices().nth(MOST) {
        None => format!("\"{}\"", printable(text)),
        Some((end, _)) => format!("\"{}…\"", printable(&text[..end])),
    }
}

/// `text` made a plugin's name, with a note where that changed it. Names are 1 to 64 of `A-Z a-z 0-9 . _ -`.
fn plugin_name(text: &str, line: Option<usize>, notes: &mut Notes) -> String {
    const MOST: usize = 64;
    let mut name = String::new();
    for letter in text.trim().chars() {
        if letter.is_ascii_alphanumeric() || "._-".contains(letter) {
            name.push(letter);
        } else if !name.ends_with('-') {
            name.push('-');
        }
        if name.len() == MOST {
            break;
        }
    }
    let name = name.trim_matches(['-', '.']).to_owned();
    let name = if name.is_empty() {
        "imported".to_owned()
    } else {
        name
    };
    if name != text {
        notes.add(
            line,
            format!("{} is no plugin name: it has become {name}", quoted(text)),
        );
    }
    name
}

/// `text` as a pattern that kevmon can use: as it is, or as a plain text.
fn pattern(text: &str, line: usize, notes: &mut Notes) -> String {
    match regex::Regex::new(text) {
        Ok(_) => text.to_owned(),
        Err(_) => {
            let reason =
                "is no regular expression that kevmon knows (it has neither look-around nor back-references)";
            notes.add(line, format!("{} {reason}: taken as plain text", quoted(text)));
            regex::escape(text)
        }
    }
}

/// Settings as the command line gives them: an object in JSON, as relaxed as Scalyr's.
///
/// # Errors
/// It is none, or holds what is no single value.
pub fn settings(text: &str) -> Result<Vec<(String, String)>, ImportError> {
    const REMEDY: &str = "write an object such as {\"gauss_mean\": 8.5}";
    let Value::Map(map) = relaxed::parse(readable(text.as_bytes())?, &mut Notes::default())? else {
        return Err(ImportError::new(None, "the settings are no JSON object", REMEDY));
    };
    let setting = |Entry { key, value, line }| match value {
        Value::Text(text) => Ok((key, text)),
        value => match writer::plain(&value) {
            Some(text) => Ok((key, text)),
            None => {
                let message = format!("{} is {} and no single value", quoted(&key), value.kind());
                Err(ImportError::new(line, message, REMEDY))
            }
        },
    };
    map.into_iter().map(setting).collect()
}
