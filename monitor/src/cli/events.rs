//! The flags of `kevmon events`.

use clap::{Args as ClapArgs, ValueEnum};

use super::Paint;

/// What `kevmon events` may be asked for alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EventKind {
    /// A process was made
    Start,
    /// It executes a program
    Exec,
    /// It ended, other than by the OOM killer
    Exit,
    /// It took the place of one that ended, or executed its program again
    Restart,
    /// The OOM killer ended it
    Oom,
    /// It goes by another name
    Rename,
}

/// The flags of `kevmon events`.
#[derive(Debug, Clone, PartialEq, Eq, Default, ClapArgs)]
pub struct EventsArgs {
    /// Show only the processes whose name matches REGEX (any case, unanchored); repeatable [default: all]
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true)]
    pub process_name: Vec<String>,

    /// Show only the process PID and what it starts; repeatable
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Vec<u32>,

    /// Show only processes of this user, by name or number; repeatable
    #[arg(long, value_name = "USER")]
    pub user: Vec<String>,

    /// Show only processes whose systemd unit or container id matches REGEX (any case, unanchored); repeatable
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true)]
    pub unit: Vec<String>,

    /// Show only events of this kind; repeatable, or several with commas
    #[arg(long, value_name = "KIND", value_enum, value_delimiter = ',')]
    pub event: Vec<EventKind>,

    /// Show only processes that ended other than with exit code 0
    #[arg(long)]
    pub failed: bool,

    /// Indent processes below those that started them
    #[arg(long)]
    pub tree: bool,

    /// Show the argument NAME, with its value, of executed programs: --port, for example; repeatable
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub argument: Vec<String>,

    /// Show whole command lines, on a terminal alone: they may hold passwords
    #[arg(long, conflicts_with = "json")]
    pub args: bool,

    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,

    /// How text is coloured.
    #[command(flatten)]
    pub paint: Paint,
}
