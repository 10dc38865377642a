//! The flags of the commands that read the flight recorder.

use std::{path::PathBuf, time::Duration};

use clap::Args as ClapArgs;

use super::{Paint, history::parse_since};
use crate::recorder::is_id;

pub(super) fn parse_id(text: &str) -> Result<String, String> {
    if is_id(text) {
        Ok(text.to_owned())
    } else {
        Err("not an id of an incident; kevmon incidents lists them".to_owned())
    }
}

/// The flags of `kevmon incidents`.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct IncidentsArgs {
    /// Show this incident with its steps and events [default: list all]
    #[arg(value_name = "ID", value_parser = parse_id)]
    pub id: Option<String>,

    /// List those of the plugin NAME alone [default: all]
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    pub plugin: Option<String>,

    /// Print one JSON object a line: an incident, or with ID also each of its steps and events
    #[arg(long)]
    pub json: bool,

    /// The file that kevmon keeps its state in [default: as the main command's]
    #[arg(long, value_name = "FILE")]
    pub metadata_db_path: Option<PathBuf>,

    /// How text is coloured.
    #[command(flatten)]
    pub paint: Paint,
}

/// The flags of `kevmon report`.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct ReportArgs {
    /// Report on this incident [default: on the last 24 hours]
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub incident: Option<String>,

    /// Report on the last TIME: 2h, 90m, 1d, 1h30m
    #[arg(long, value_name = "TIME", value_parser = parse_since, allow_hyphen_values = true, conflicts_with = "incident")]
    pub since: Option<Duration>,

    /// Report on the plugin NAME alone [default: all]
    #[arg(long, value_name = "NAME", conflicts_with = "incident")]
    pub plugin: Option<String>,

    /// Write the page to FILE; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,

    /// The file that kevmon keeps its state in [default: as the main command's]
    #[arg(long, value_name = "FILE")]
    pub metadata_db_path: Option<PathBuf>,
}
