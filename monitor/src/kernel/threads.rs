//! The eBPF source's programs on context switches, for the rest of kevmon: each is attached only while somebody asks for it.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::event::epoll;
use tracing::{info, warn};

use super::{
    object::Attached,
    source::KernelSource,
    switches::{Missed, Switches, ThreadEnded},
    sys,
};
use crate::process::{BootTime, KeySet, ProcessKey, SwitchTimes};

/// The second object, or why there is none.
pub(super) enum Threads {
    /// Loaded; attached while something is asked of it.
    Loaded(Box<Switches>),
    /// The kernel lacks something, or refuses.
    Refused(String),
    /// Nobody had use for it when kevmon could load it.
    NotLoaded,
}

impl Threads {
    /// Loads the object, where that is `wanted`.
    pub(super) fn load(wanted: bool, attached: &Attached) -> Self {
        if !wanted {
            return Self::NotLoaded;
        }
        if attached.offsets.task_bpf_storage == kevmon_common::ABSENT {
            return Self::Refused(
                "this kernel keeps nothing of a program's with its tasks, which Linux 5.13 and newer do (task storage)".to_owned(),
            );
        }
        let can_say_who = attached.offsets.task_last_arrival != kevmon_common::ABSENT;
        match Switches::load(&attached.offsets, can_say_who) {
            Ok(switches) => Self::Loaded(Box::new(switches)),
            Err(error) => Self::Refused(error.to_string()),
        }
    }
}

/// Says what the detailed mode lacks.
fn say_without(why: &str) {
    warn!(
        "detailed mode without what happens at context switches (run-queue latency, time on and off the CPU, preemptors): \
         {why}"
    );
}

impl KernelSource {
    /// Has threads measured, or no longer. Returns whether they are; where they cannot be, the log says why.
    pub fn measure_threads(&mut self, on: bool) -> bool {
        let is_late = matches!(self.threads, Threads::NotLoaded);
        if on && is_late {
            self.threads = Threads::load(true, &self.attached);
        }
        match &mut self.threads {
            Threads::Loaded(switches) => match switches.measure(on) {
                Ok(()) => on,
                Err(error) => {
                    say_without(&format!("its program cannot be attached: {error}"));
                    false
                }
            },
            Threads::Refused(why) => {
                if on && is_late {
                    say_without(&format!(
                        "its program is loaded at the start where a plugin asks for it, as kevmon then gives up the right to; \
                         restart kevmon ({why})"
                    ));
                    // Another attempt would end likewise.
                } else if on {
                    say_without(why);
                }
                false
            }
            Threads::NotLoaded => false,
        }
    }

    fn switches(&mut self) -> Option<&mut Switches> {
        match &mut self.threads {
            Threads::Loaded(switches) if switches.measures() => Some(switches),
            _ => None,
        }
    }

    /// A descriptor that is readable when `ring` is, or when threads that have ended wait.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn with_threads(&self, ring: OwnedFd) -> io::Result<OwnedFd> {
        let Threads::Loaded(switches) = &self.threads else {
            return Ok(ring);
        };
        let both = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for descriptor in [ring.as_fd(), switches.descriptor()] {
            epoll::add(
                &both,
                descriptor,
                epoll::EventData::new_u64(0),
                epoll::EventFlags::IN,
            )?;
        }
        Ok(both)
    }

    /// The programs on context switches that are attached, by tracepoint.
    pub(super) fn switch_programs(&self) -> Vec<(&'static str, &OwnedFd)> {
        let mut programs = Vec::new();
        if let Threads::Loaded(switches) = &self.threads
            && switches.measures()
        {
            programs.extend(switches.programs());
        }
        if let (Some(program), Some(_)) = (&self.attached.task_dead, &self.exact_ends) {
            programs.push(("task_dead", program));
        }
        programs
    }

    /// Has the threads of these processes measured, and of no others. Returns those that are new.
    pub fn want_threads_of(&mut self, keys: &KeySet) -> Vec<ProcessKey> {
        self.switches()
            .map_or_else(Vec::new, |switches| switches.want(keys))
    }

    /// The next thread that has ended; `None` where none waits.
    pub fn next_thread_end(&mut self) -> Option<ThreadEnded> {
        self.switches()?.next_end()
    }

    /// What is new of the threads that are measured, by process. Gives up those that are not wanted and began before
    /// `decided_until`.
    ///
    /// # Errors
    /// Any of bpf(2) or read(2).
    pub fn look_at_threads(&mut self, decided_until: BootTime) -> io::Result<Vec<(ProcessKey, SwitchTimes)>> {
        match self.switches() {
            Some(switches) => switches.look(decided_until),
            None => Ok(Vec::new()),
        }
    }

    /// Counts so far of what could not be measured at context switches.
    pub fn missed_of_threads(&mut self) -> Missed {
        self.switches()
            .map_or_else(Missed::default, |switches| switches.missed())
    }

    /// Has dying threads tell their processes' totals, from now on. Returns whether they do.
    pub fn tell_exact_ends(&mut self) -> bool {
        if self.exact_ends.is_some() {
            return true;
        }
        let Some(program) = &self.attached.task_dead else {
            warn!("exact ends: this kernel has not taken their program, so ends wait for the parent as ever");
            return false;
        };
        match sys::attach_tracepoint(program.as_fd()) {
            Ok(link) => self.exact_ends = Some(link),
            Err(error) => {
                warn!("exact ends: their program cannot be attached: {error}");
                return false;
            }
        }
        info!("exact ends: dying threads tell their processes' totals, which costs each switch some 30 ns");
        true
    }
}
