//! Plugins that have no process: the log says it when one is empty at the start and when one becomes empty, in the words of
//! the original framework.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tracing::{debug, info};

use crate::{
    export::Collection,
    plugin::{GroupId, Plugin},
};

/// Of one plugin, the log says it so often within [`WITHIN`] at most: jobs that run each second leave it empty as often.
/// Further ones are said at debug.
const TIMES: u32 = 5;
const WITHIN: Duration = Duration::from_secs(600);

/// Which plugins have no process.
#[derive(Debug, Default)]
pub(super) struct EmptyGroups {
    groups: BTreeMap<GroupId, Known>,
}

#[derive(Debug, Default)]
struct Known {
    is_empty: bool,
    /// How often that was said, since when.
    said: Option<(u32, Instant)>,
}

impl EmptyGroups {
    /// Says which plugins of a collection have become empty.
    pub(super) fn say(&mut self, collection: &Collection) {
        let now = Instant::now();
        for service in &collection.services {
            let is_empty = service.reading.process_count == 0;
            match self.becomes(service.group, is_empty, now) {
                Some(true) => info!("{}", none_found(&service.plugin)),
                Some(false) => debug!("{}", none_found(&service.plugin)),
                None => {}
            }
        }
    }

    /// `Some`: the group has become empty, or is so at its first collection; true where that is to be said aloud.
    fn becomes(&mut self, group: GroupId, is_empty: bool, now: Instant) -> Option<bool> {
        let known = self.groups.entry(group).or_default();
        let became = is_empty && !known.is_empty;
        known.is_empty = is_empty;
        if !became {
            return None;
        }
        let recent = known
            .said
            .filter(|(_, since)| now.saturating_duration_since(*since) < WITHIN);
        let (times, since) = recent.unwrap_or((0, now));
        known.said = Some((times.saturating_add(1), since));
        Some(times < TIMES)
    }
}

fn none_found(plugin: &Plugin) -> String {
    let patterns: Vec<String> = plugin
        .patterns
        .iter()
        .map(|pattern| format!("'{}'", pattern.as_str()))
        .collect();
    format!(
        "{}: No processes found matching {}",
        plugin.label(),
        patterns.join(" or ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_it_becomes_empty_and_aloud_not_too_often() {
        let mut groups = EmptyGroups::default();
        let start = Instant::now();
        let mut at =
            |seconds, is_empty| groups.becomes(GroupId(1), is_empty, start + Duration::from_secs(seconds));
        assert_eq!([at(0, true), at(1, true), at(2, false)], [Some(true), None, None]);
        let said: Vec<_> = (2..8)
            .map(|round| (at(2 * round, true), at(2 * round + 1, false)).0)
            .collect();
        let aloud = [true, true, true, true, false, false].map(Some);
        assert_eq!(said, aloud, "five times within ten minutes");
        assert_eq!(at(700, true), Some(true));
        assert_eq!(groups.becomes(GroupId(2), false, start), None);
        assert_eq!(groups.becomes(GroupId(2), true, start), Some(true));
    }
}
