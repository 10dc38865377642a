//! A change of plugins while everything is followed: who is a member of what now, also among the processes that were of
//! no interest until then.

use std::sync::Arc;

use anyhow::{Context, Result};

use super::{Source, Watch, completeness::LostSoFar};
use crate::{
    plugin::{GroupId, KeptGroup, Plugin},
    process::{BootTime, KeySet},
    procfs::HostReader,
};

/// Drains that a storm may take until the snapshot is made all the same.
const DRAINS: usize = 4;

impl Watch {
    /// Groups go, change in what does not decide over members or sums, and come. What goes has been collected for the last
    /// time just before; what comes goes on from what an earlier run kept of it. Returns the ids of what has come, in order.
    ///
    /// # Errors
    /// The patterns are too large together: nothing has changed then.
    pub fn replan(
        &mut self,
        gone: &[GroupId],
        changed: Vec<(GroupId, Arc<Plugin>)>,
        new: Vec<(Arc<Plugin>, Option<KeptGroup>)>,
    ) -> Result<Vec<GroupId>> {
        let matches_move = !gone.is_empty() || !new.is_empty() || !changed.is_empty();
        if matches_move {
            self.bring_totals_up_to_date();
        }
        let now = HostReader::now();
        let restored: Vec<bool> = new.iter().map(|(_, kept)| kept.is_some()).collect();
        let ids = self
            .tracker
            .replan_kept(gone, changed, new, now)
            .context("the plugins' patterns")?;
        for group in gone {
            self.lost_at_reading.remove(group);
        }
        self.tell_how_much_of_arguments();
        for (&id, restored) in ids.iter().zip(restored) {
            // What happened to a restored group since it was kept, nobody saw: its first interval is not complete.
            let lost = if restored {
                LostSoFar::NEVER_EQUAL
            } else {
                self.lost_so_far(id)
            };
            self.lost_at_reading.insert(id, lost);
        }
        // A changed plugin may ask for facts that nobody was asked for: of a user whom the host knows now, say.
        if matches_move {
            self.find_members(now);
        }
        self.follow_detail();
        self.follow_record();
        Ok(ids)
    }

    /// Among the processes that were of no interest. Records that wait were judged by nobody yet, and come first.
    fn find_members(&mut self, replanned: BootTime) {
        for _ in 0..DRAINS {
            if self.drain().all {
                break;
            }
        }
        self.replanned = Some(replanned);
        let found = match &self.source {
            Source::Ebpf(_) => self.reconcile(),
            Source::Proc(_) => self.scan(None),
        };
        if let Err(error) = found {
            self.not_read(&error);
            self.sweep_at = Some(HostReader::now()); // the next collection looks again
        }
    }

    /// What a process used before it moves belongs to where it was.
    fn bring_totals_up_to_date(&mut self) {
        self.drain();
        let tracked: KeySet = self.tracker.followed().collect();
        match self.sample(&tracked) {
            Ok(samples) => {
                let applied = self.applied();
                self.tracker.observe(&samples, &tracked, applied);
            }
            Err(error) => self.not_read(&error),
        }
    }
}
