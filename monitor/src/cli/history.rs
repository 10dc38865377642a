//! The flags of the commands that read the history.

use std::{path::PathBuf, time::Duration};

use clap::Args as ClapArgs;

use super::Paint;

/// A length of time that reaches back: humantime's notation, so that days and sums of units are one.
pub(super) fn parse_since(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(length) if !length.is_zero() => Ok(length),
        _ => Err("not a length of time; write 2h, 90m, 1d or 1h30m".to_owned()),
    }
}

/// The flags of `kevmon history`.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct HistoryArgs {
    /// Show the plugin NAME alone [default: all]
    #[arg(long, value_name = "NAME")]
    pub plugin: Option<String>,

    /// Show what happened in the last TIME alone: 2h, 90m, 1d, 1h30m [default: all]
    #[arg(long, value_name = "TIME", value_parser = parse_since, allow_hyphen_values = true)]
    pub since: Option<Duration>,

    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,

    /// The file that kevmon keeps its state in [default: as the main command's]
    #[arg(long, value_name = "FILE")]
    pub metadata_db_path: Option<PathBuf>,

    /// How text is coloured.
    #[command(flatten)]
    pub paint: Paint,
}

/// The flags of `kevmon why`.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct WhyArgs {
    /// A pid, a name (any case, or a part of one), or a plugin: of several processes the latest is told, and the others listed
    #[arg(value_name = "PID|NAME")]
    pub process: String,

    /// Look among the processes of the plugin NAME alone [default: all]
    #[arg(long, value_name = "NAME")]
    pub plugin: Option<String>,

    /// Print the rows of the history that the story is made of, as `kevmon history --json` does
    #[arg(long)]
    pub json: bool,

    /// The file that kevmon keeps its state in [default: as the main command's]
    #[arg(long, value_name = "FILE")]
    pub metadata_db_path: Option<PathBuf>,

    /// How text is coloured.
    #[command(flatten)]
    pub paint: Paint,
}
