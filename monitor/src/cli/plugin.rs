//! The command line of `kevmon plugin …`.

use std::{path::PathBuf, time::Duration};

use clap::{Args as ClapArgs, Subcommand};

use super::Source;
use crate::config::duration::parse_interval;

/// What can be done with plugin files.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum PluginCommand {
    /// Write NAME/plugin.toml with every key commented, and NAME/expect.toml, which plugin check tests it with
    New(NewArgs),
    /// Validate plugin files, and show what each would match right now, and what it misses by little
    #[command(
        after_help = "Exit status: 0 no fault, 2 a fault in a file or an expectation that does not hold."
    )]
    Check(CheckArgs),
    /// List the plugins that are found: enabled, disabled or faulty
    List(ListArgs),
    /// Run one plugin alone and print every value: TIME [NAME(ID)] METRIC VALUE KEY=VALUE…
    #[command(
        after_help = "Needs neither a store nor a receiver. Ends with Ctrl-C, or after --count collections."
    )]
    Run(RunArgs),
    /// Turn an __init__.py, a Scalyr monitors entry or a .panoptes-plugin file into a plugin.toml
    Import(ImportArgs),
    /// Print the JSON Schema of plugin files, for editors
    Schema,
    /// Print or write a systemd unit that runs one plugin alone, called as the plugin file's `[systemd] service_name`
    Unit(UnitArgs),
}

/// The flags of `kevmon plugin unit`.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct UnitArgs {
    /// The plugin
    pub name: String,
    /// Folder to search; repeatable [default: where kevmon looks for plugins]
    #[arg(long, value_name = "DIR")]
    pub plugins_dir: Vec<PathBuf>,
    /// The template unit that it is made of [default: kevmon@.service where systemd looks for units]
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
    /// Write DIR/NAME.service, such as into /etc/systemd/system [default: print it]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// The flags of `kevmon plugin new`.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct NewArgs {
    /// The plugin's name, and its folder's: letters, digits, '.', '_' and '-'
    pub name: String,
    /// The processes to watch: a regular expression on their names (any case, unanchored)
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true)]
    pub process_name: String,
    /// Where the folder is made
    #[arg(long, value_name = "DIR", default_value = "plugins")]
    pub directory: PathBuf,
}

/// The flags of `kevmon plugin check`.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct CheckArgs {
    /// Plugin files, or folders to search [default: where kevmon looks for plugins]
    pub paths: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Where proc is mounted; for tests
    #[arg(long, value_name = "DIR", default_value = "/proc", hide = true)]
    pub proc_root: PathBuf,
}

/// The flags of `kevmon plugin list`.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct ListArgs {
    /// Folder to search; repeatable [default: where kevmon looks for plugins]
    #[arg(long, value_name = "DIR")]
    pub plugins_dir: Vec<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// The flags of `kevmon plugin run`.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct RunArgs {
    /// The plugin
    pub name: String,
    /// Folder to search; repeatable [default: where kevmon looks for plugins]
    #[arg(long, value_name = "DIR")]
    pub plugins_dir: Vec<PathBuf>,
    /// Give the setting KEY the value VALUE; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_setting)]
    pub set: Vec<(String, String)>,
    /// The same as a JSON object: '{"gauss_mean": 8.5}'
    #[arg(short = 'c', long = "settings", value_name = "JSON")]
    pub settings: Option<String>,
    /// Time between collections: 10ms to 24h, in seconds without a unit
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_interval, allow_negative_numbers = true)]
    pub interval: Duration,
    /// End after N collections [default: at Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Where process data come from
    #[arg(long, value_enum, default_value_t)]
    pub source: Source,
}

/// The flags of `kevmon plugin import`.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct ImportArgs {
    /// The file
    pub file: PathBuf,
    /// The Python source of a Scalyr monitor, for the defaults and bounds of its settings
    #[arg(long, value_name = "FILE")]
    pub module: Option<PathBuf>,
    /// Write DIR/NAME/plugin.toml [default: print it]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("not KEY=VALUE; write a setting's name, =, and its value".to_owned()),
    }
}
