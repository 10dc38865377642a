//! The flags of `kevmon top`.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::Args as ClapArgs;

use super::{Mode, Paint, Source, Which, history::parse_since, recorder::parse_id};
use crate::config::{
    Overrides, PluginSources,
    duration::{self, DurationError},
};

/// Times between two refreshes.
const REFRESH_BOUNDS: RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(60);

fn parse_refresh(text: &str) -> Result<Duration, DurationError> {
    duration::parse(text, &REFRESH_BOUNDS)
}

/// A time that was given as such, or by how long ago it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Unix ns.
    Unix(u64),
    /// So long ago.
    Ago(Duration),
}

impl At {
    /// Unix ns, where it is `now`.
    pub fn unix(self, now: u64) -> u64 {
        match self {
            Self::Unix(time) => time,
            Self::Ago(ago) => now.saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX)),
        }
    }
}

fn parse_at(text: &str) -> Result<At, String> {
    let of_time = || {
        let time = humantime::parse_rfc3339_weak(text).ok()?;
        let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_nanos()).ok().map(At::Unix)
    };
    parse_since(text)
        .map(At::Ago)
        .ok()
        .or_else(of_time)
        .ok_or_else(|| {
            "neither a time nor how long ago it was; write 2026-11-30T16:13:46Z (UTC), 10m or 1h30m"
                .to_owned()
        })
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

    /// Show what the flight recorder kept around TIME: 2026-11-30T16:13:46Z (UTC), or how long ago, as 10m. The keys , and .
    /// step through it
    #[arg(long, value_name = "TIME", value_parser = parse_at, allow_hyphen_values = true, conflicts_with_all = ["process_name", "plugin", "instance"])]
    pub at: Option<At>,

    /// Show what the flight recorder kept of this incident, likewise
    #[arg(long, value_name = "ID", value_parser = parse_id, conflicts_with_all = ["process_name", "plugin", "instance", "at"])]
    pub incident: Option<String>,

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
    fn a_recording_is_of_a_time_or_of_how_long_ago_it_was() {
        let at = |text| parsed(&["--at", text]).map(|args| args.at);
        assert_eq!(at("10m"), Ok(Some(At::Ago(Duration::from_mins(10)))));
        let time = At::Unix(1_700_558_772_500_000_000);
        assert_eq!(at("2023-11-21T09:26:12.5Z"), Ok(Some(time)));
        assert_eq!(at("2023-11-21 09:26:12.5"), Ok(Some(time)));
        assert_eq!(At::Ago(Duration::from_secs(2)).unix(5_000_000_000), 3_000_000_000);
        for text in [
            "",
            "0s",
            "-10m",
            "yesterday",
            "1969-12-31T23:59:59Z",
            "2023-13-01T00:00:00Z",
        ] {
            assert!(at(text).is_err(), "{text}");
        }
        for more in [
            ["--process-name", "x"],
            ["--plugin", "x"],
            ["--instance", "x"],
            ["--incident", "x"],
        ] {
            assert!(
                parsed(&[&["--at", "10m"], &more[..]].concat()).is_err(),
                "{more:?}"
            );
        }
        assert!(parsed(&["--incident", "../x"]).is_err());
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
