//! What of a run outlives it: programs, ring and maps that the next kevmon takes over.

use super::{Source, Watch};
use crate::{health::Soft, kernel::Takeover, process::Progress};

impl Watch {
    /// What the kernel side held when this run took it over; `None` where this run took nothing over.
    pub fn takeover(&self) -> Option<&Takeover> {
        match &self.source {
            Source::Ebpf(kernel) => kernel.takeover(),
            Source::Proc(_) => None,
        }
    }

    /// Whether this process could use its source once it has executed kevmon again.
    pub fn may_begin_again(&self) -> bool {
        match &self.source {
            Source::Ebpf(kernel) => kernel.may_load_again(),
            Source::Proc(_) => true,
        }
    }

    /// How far this run has come, for the state, and whether all losses have been reported; `None` where nothing outlives this run.
    pub fn progress(&self) -> Option<Progress> {
        match &self.source {
            Source::Ebpf(kernel) => {
                let lost = kernel.losses().total() + self.health.get(Soft::Undecodable);
                let is_told = |group| {
                    let told = self.lost_at_reading.get(&group).copied().unwrap_or_default();
                    told == self.lost_so_far(group)
                };
                let progress = kernel.progress()?;
                Some(Progress {
                    is_told: lost == self.lost && self.tracker.plugins().all(|(group, _)| is_told(group)),
                    ..progress
                })
            }
            Source::Proc(_) => None,
        }
    }

    /// Whether the next commit should come at once.
    pub fn is_pressed(&self) -> bool {
        match &self.source {
            Source::Ebpf(kernel) => kernel.is_pressed(),
            Source::Proc(_) => false,
        }
    }

    /// Releases what the kernel side holds up to `progress`, as the state has it.
    pub fn release(&mut self, progress: &Progress) {
        if let Source::Ebpf(kernel) = &mut self.source {
            kernel.release(progress);
        }
    }

    /// This run ends in order. The kernel side goes on without it where `another_follows`.
    pub fn leave(&mut self, another_follows: bool) {
        if let Source::Ebpf(kernel) = &mut self.source {
            kernel.stay(another_follows);
        }
    }
}
