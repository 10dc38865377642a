//! A look at all groups between two collections, for `kevmon top`. No delta, no rate and no count of failures is moved by it, so
//! that a daemon says the same whether somebody looks or not.

use std::sync::Arc;

use super::{Source, Watch};
use crate::{
    health::Health,
    plugin::{GroupId, Plugin, live::LiveReading},
    process::{BootTime, KeyMap, KeySet, Sample},
    procfs::HostReader,
};

/// With more processes than this a look shows the totals as they were read last, and reads nothing: reading takes about 5 µs a
/// process, which the loop does not have for whoever looks.
const READ_AT_MOST: usize = 10_000;

/// What a look has found.
#[derive(Debug, Clone)]
pub(in crate::app) struct Looked {
    /// When.
    pub(in crate::app) time: BootTime,
    /// `ebpf` or `proc`.
    pub(in crate::app) source: &'static str,
    /// Records lost so far.
    pub(in crate::app) lost: u64,
    /// False: too many processes to read them; totals are those of their last reading, and gauges are absent.
    pub(in crate::app) is_fresh: bool,
    /// The groups, by their ids.
    pub(in crate::app) groups: Vec<(GroupId, Arc<Plugin>, LiveReading)>,
}

impl Watch {
    /// Looks at all groups.
    pub(in crate::app) fn look(&mut self) -> Looked {
        self.drain();
        self.look_at_threads();
        let wanted: KeySet = self.tracker.tracked_of(&[]).collect();
        let samples = (wanted.len() <= READ_AT_MOST)
            .then(|| self.samples_for_a_look(&wanted))
            .flatten();
        let is_fresh = samples.is_some();
        let samples = samples.unwrap_or_default();
        let gauges = if is_fresh {
            let members = self.tracker.all_live_members();
            self.gauges.look(&members, &samples)
        } else {
            KeyMap::default()
        };
        let now = HostReader::now();
        let groups = self.tracker.plugins();
        let groups = groups.filter_map(|(group, plugin)| {
            let live = self.tracker.live(group, now, &samples, &gauges)?;
            Some((group, Arc::clone(plugin), live))
        });
        Looked {
            time: now,
            source: match &self.source {
                Source::Ebpf(_) => "ebpf",
                Source::Proc(_) => "proc",
            },
            lost: self.losses().iter().map(|(_, count)| count).sum(),
            is_fresh,
            groups: groups.collect(),
        }
    }

    /// `None` where they cannot be read now; the next collection says so.
    fn samples_for_a_look(&mut self, wanted: &KeySet) -> Option<KeyMap<Sample>> {
        match &mut self.source {
            Source::Proc(proc) => Some(proc.sample(wanted, &mut Health::default())),
            Source::Ebpf(kernel) => {
                let tasks = self.host.tasks().unwrap_or(usize::MAX);
                kernel.sample(wanted, tasks).ok()
            }
        }
    }
}
