//! The flags of `kevmon top`.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::Args as ClapArgs;

use super::{Mode, Paint, Source, Which};
use crate::config::{
    Overrides, PluginSources,
    duration::{self, DurationError},
};

/// Times between two refreshes.
const REFRESH_BOUNDS: RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(60);

fn parse_refresh(text: &str) -> Result<Duration, DurationError> {
    duration::parse(text, &REFRESH_BOUNDS)
}

/// The flags of `kevmon top`.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct TopArgs {
    /// Watch the processes whose name matches REGEX (any case, unanchored) from this command, instead of asking the running
    /// kevmon; repeatable. Needs the rights of a daemon
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true, conflicts_with_all = ["instance", "metadata_db_path"])]
    pub process_name: Vec<String>,

    /// Watch the processes of the plugin NAME from this command, likewise; repeatable
    #[arg(long, value_name = "NAME", conflicts_with_all = ["instance", "metadata_db_path"])]
    pub plugin: Vec<String>,

    /// Folder with NAME/plugin.toml for --plugin; repeatable [default: as the main command's]
    #[arg(long, value_name = "DIR", requires = "plugin")]
    pub plugins_dir: Vec<PathBuf>,

    /// With --process-name or --plugin: where process data come from
    #[arg(long, value_enum, default_value_t)]
    pub source: Source,

    /// With --process-name or --plugin: how closely they are watched; detailed shows percentiles of run-queue latency
    /// [default: the plugin's own, else standard]
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,

    #[command(flatten)]
    pub which: Which,

    /// Time between two refreshes: 250ms to 1m, in seconds without a unit
    #[arg(long, value_name = "TIME", value_parser = parse_refresh, default_value = "1s")]
    pub interval: Duration,

    /// Select by clicks and scroll by the wheel; the terminal then selects text with Shift alone
    #[arg(long)]
    pub mouse: bool,

    /// How it is coloured.
    #[command(flatten)]
    pub paint: Paint,
}

impl TopArgs {
    /// Whether this command watches by itself.
    pub fn watches_alone(&self) -> bool {
        !self.process_name.is_empty() || !self.plugin.is_empty()
    }

    /// Where the plugins come from that this command watches by itself.
    pub fn plugin_sources(&self) -> PluginSources {
        PluginSources::named(&self.plugins_dir, &self.plugin, &self.process_name)
    }

    /// What the flags say of those plugins.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            detail: self.mode.map(|mode| mode.detail(None)),
            ..Overrides::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parsed(args: &[&str]) -> Result<TopArgs, String> {
        let cli = Cli::try_parse_from([&["kevmon", "top"], args].concat());
        match cli.map_err(|error| error.to_string())?.command {
            Some(Command::Top(args)) => Ok(args),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn a_refresh_takes_a_time_that_a_person_can_follow() {
        let interval = |text| parsed(&["--interval", text]).map(|args| args.interval);
        assert_eq!(parsed(&[]).map(|args| args.interval), Ok(Duration::from_secs(1)));
        assert_eq!(interval("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(interval("60"), Ok(Duration::from_secs(60)));
        for text in ["249ms", "61s", "0", "-1", "often", ""] {
            assert!(interval(text).is_err(), "{text}");
        }
    }

    #[test]
    fn it_watches_alone_or_asks_an_instance() {
        let alone = parsed(&["--process-name", "web", "--plugin", "shop", "--plugins-dir", "/x"]);
        assert!(alone.unwrap().watches_alone());
        assert!(!parsed(&["--instance", "web"]).unwrap().watches_alone());
        for args in [
            &["--process-name", "web", "--instance", "x"][..],
            &["--plugin", "web", "--metadata-db-path", "/x"],
            &["--plugins-dir", "/x"],
        ] {
            assert!(parsed(args).is_err(), "{args:?}");
        }
    }
}
