//! `kevmon plugin unit`: a systemd unit that runs one plugin alone, under the name that its file gives it. Instances of
//! `kevmon@.service` cannot be called otherwise: an alias of an instance has to be an instance (systemd.unit(5)).

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{Exit, complain, load, print};
use crate::{
    cli::UnitArgs,
    config::{self, Fault, Overrides},
    plugin::Plugin,
};

/// The unit that packages install.
const TEMPLATE: &str = "kevmon@.service";

/// Where systemd looks for units, the administrator's first (systemd.unit(5)).
const FOLDERS: [&str; 4] = [
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The longest name of a unit (systemd.unit(5)).
const LONGEST: usize = 255;

/// Where plugin files say what their unit is called and described as: the guide's layout, and the repository's.
const PLACES: [(&str, &str, &str); 2] = [
    ("systemd", "service_name", "description"),
    ("installation", "systemd_service_name", "service_description"),
];

/// Prints the unit, or writes it.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn run(args: &UnitArgs) -> Result<Exit> {
    match make(args) {
        Ok((name, text)) => match &args.output {
            None => print(&text)?,
            Some(folder) => {
                let path = folder.join(&name);
                if let Err(fault) = super::write_new(&path, &text) {
                    complain(fault);
                    return Ok(Exit::Usage);
                }
                print(&format!(
                    "{}\nstart it with: systemctl daemon-reload && systemctl enable --now {name}\n",
                    path.display()
                ))?;
            }
        },
        Err(fault) => {
            complain(fault);
            return Ok(Exit::Usage);
        }
    }
    Ok(Exit::Success)
}

/// The unit's name and text.
fn make(args: &UnitArgs) -> Result<(String, String), String> {
    let loaded = load(
        args.plugins_dir.clone(),
        vec![args.name.clone()],
        &Overrides::default(),
    );
    let Some(plugin) = loaded.plugins.iter().find(|plugin| plugin.name == args.name) else {
        let faults: Vec<String> = loaded.faults.iter().map(Fault::to_string).collect();
        let remedy = "`kevmon plugin list` shows those that are found";
        return Err(match faults.is_empty() {
            true => format!("there is no plugin {:?}; {remedy}", args.name),
            false => faults.join("\n"),
        });
    };
    let named = named(plugin)?;
    let template = match &args.template {
        Some(path) => path.clone(),
        None => find()?,
    };
    let text = fs::read_to_string(&template).map_err(|error| format!("{}: {error}", template.display()))?;
    let unit = rewritten(&text, plugin, &named)?;
    Ok((named.unit, unit))
}

/// What a plugin file says of its unit.
#[derive(Debug)]
struct Named {
    /// With `.service`.
    unit: String,
    description: Option<String>,
}

fn named(plugin: &Plugin) -> Result<Named, String> {
    let Some(path) = &plugin.origin else {
        return Err(format!("plugin {}: it has no file", plugin.name));
    };
    let text = config::read_text(path).map_err(|fault| fault.to_string())?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut found = None;
    for (table_name, name, description) in PLACES {
        let Some(section) = table.get(table_name).and_then(toml::Value::as_table) else {
            continue;
        };
        let text = |key: &str| section.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        if let Some(unit) = text(name) {
            found.get_or_insert((format!("{table_name}.{name}"), unit, text(description)));
        }
    }
    let Some((key, unit, description)) = found else {
        return Err(format!(
            "{}: it names no unit; use `systemctl enable --now kevmon@{}.service`, or give the file a [systemd] \
             service_name",
            path.display(),
            plugin.name
        ));
    };
    let bare = unit.strip_suffix(".service").unwrap_or(&unit);
    let fits = |c: char| c.is_ascii_alphanumeric() || ":-_.\\".contains(c);
    if bare.is_empty()
        || bare.starts_with('.')
        || !bare.chars().all(fits)
        || bare.len() + ".service".len() > LONGEST
    {
        return Err(format!(
            "{}: {key}: {unit:?} is no name of a unit; take letters A-Z a-z, digits, ':', '-', '_', '.' and '\\'",
            path.display()
        ));
    }
    if ["kevmon", "kevmon@"].contains(&bare) {
        return Err(format!(
            "{}: {key}: {unit:?} is the unit of all plugins; take another name",
            path.display()
        ));
    }
    Ok(Named {
        unit: format!("{bare}.service"),
        description,
    })
}

fn find() -> Result<PathBuf, String> {
    let mut paths = FOLDERS.iter().map(|folder| Path::new(folder).join(TEMPLATE));
    paths.find(|path| path.is_file()).ok_or_else(|| {
        format!(
            "{TEMPLATE} is in none of {}; install the package, or name the file with --template",
            FOLDERS.join(", ")
        )
    })
}

/// The template with the plugin's name in place of the instance.
fn rewritten(template: &str, plugin: &Plugin, named: &Named) -> Result<String, String> {
    if !template.lines().any(|line| line.starts_with("ExecStart=")) {
        return Err(format!(
            "{TEMPLATE}: it has no ExecStart=; name the file that the package installs"
        ));
    }
    let mut text = format!(
        "# Runs the plugin {} alone. Made of {TEMPLATE} by `kevmon plugin unit`.\n",
        plugin.name
    );
    for line in template.lines() {
        let described = named
            .description
            .as_deref()
            .filter(|_| line.starts_with("Description="));
        let line = match described {
            Some(description) => format!("Description={}", one_line(description)),
            None if line.starts_with('#') => line.to_owned(),
            None => instance_of(line, &plugin.name),
        };
        // An instance's default is no concern of a unit that is none.
        if !line.starts_with("DefaultInstance=") {
            text.push_str(&line);
            text.push('\n');
        }
    }
    Ok(text)
}

/// `line` with %i and %I as `name`; %% stays as it is.
fn instance_of(line: &str, name: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('%') {
        let (before, after) = rest.split_at(at);
        text.push_str(before);
        let specifier: String = after.chars().take(2).collect();
        match specifier.as_str() {
            "%i" | "%I" | "%j" | "%J" => text.push_str(name),
            other => text.push_str(other),
        }
        rest = &after[specifier.len()..];
    }
    text + rest
}

/// For a value in a unit: one line, and no specifier.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").trim_end_matches('\\').replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers_of_the_instance_become_the_name() {
        for (line, expected) in [
            (
                "ExecStart=/usr/bin/kevmon --plugin %i",
                "ExecStart=/usr/bin/kevmon --plugin web",
            ),
            ("A=%I%i", "A=webweb"),
            ("A=100%% %%i %i", "A=100%% %%i web"),
            ("A=%n %", "A=%n %"),
            ("A=%ü", "A=%ü"),
        ] {
            assert_eq!(instance_of(line, "web"), expected);
        }
    }

    #[test]
    fn a_description_adds_no_line_and_no_specifier() {
        assert_eq!(one_line("a\nExecStart=/bin/x"), "a ExecStart=/bin/x");
        assert_eq!(one_line("100 % \\"), "100 %% ");
    }
}
