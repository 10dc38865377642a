//! Series of single processes, between what is read, what is kept and what is exported.

use std::{collections::HashMap, hash::BuildHasher, path::Path, sync::Arc};

use crate::{
    export::{ServiceReading, UnixClock, series_text},
    plugin::{GroupId, Reading, SavedGroup, reading::SingleProcess},
    process::KeyMap,
    procfs,
};

/// Reads where the executables of the single processes lie.
pub(super) fn read_paths(root: &Path, reading: &mut Reading) {
    for process in reading
        .per_process
        .iter_mut()
        .flat_map(|singles| &mut singles.processes)
    {
        process.path = procfs::executable_path(root, process.key).map(Arc::from);
    }
}

/// The attributes by which receivers know the processes that have series of their own, as of the last collections.
#[derive(Debug, Default)]
pub(super) struct ProcessSeries(HashMap<GroupId, KeyMap<Text>>);

#[derive(Debug)]
struct Text {
    /// Hash of what it was made of: most often nothing has changed.
    made_of: u64,
    text: Arc<str>,
}

impl ProcessSeries {
    /// What an earlier run told of these groups, until this one has collected them.
    pub(super) fn told_before<'a>(&mut self, groups: impl Iterator<Item = (GroupId, &'a SavedGroup)>) {
        for (group, saved) in groups {
            let texts = saved.members.iter().filter_map(|member| {
                let text = Arc::clone(member.series.as_ref()?);
                Some((member.key, Text { made_of: 0, text }))
            });
            let texts: KeyMap<Text> = texts.collect();
            if !texts.is_empty() {
                self.0.insert(group, texts);
            }
        }
    }

    /// Notes which members have series of their own: the next run ends those of the processes that end in between.
    pub(super) fn note(&mut self, saved: &mut SavedGroup, of: &ServiceReading, boot: UnixClock) {
        let singles = of.reading.per_process.as_ref().filter(|_| !of.is_last);
        let Some(singles) = singles else {
            self.0.remove(&of.group);
            return;
        };
        let mut before = self.0.remove(&of.group).unwrap_or_default();
        let texts = singles.processes.iter().map(|process| {
            let made_of = fingerprint(process);
            let known = before.remove(&process.key).filter(|text| text.made_of == made_of);
            let text = known.unwrap_or_else(|| Text {
                made_of,
                text: series_text(process, boot).into(),
            });
            (process.key, text)
        });
        let texts = texts.collect();
        self.0.insert(of.group, texts);
        self.keep(of.group, saved);
    }

    /// The same of a group that was not collected now: as it was at its last collection.
    pub(super) fn keep(&self, group: GroupId, saved: &mut SavedGroup) {
        let Some(texts) = self.0.get(&group) else { return };
        for member in &mut saved.members {
            member.series = texts.get(&member.key).map(|text| Arc::clone(&text.text));
        }
    }
}

/// Of all that [`series_text`] tells of one process.
fn fingerprint(process: &SingleProcess) -> u64 {
    let SingleProcess {
        exe,
        command,
        path,
        facts,
        arguments,
        ..
    } = process;
    let made_of = (exe, command, path, arguments, &facts.user, &facts.cgroup);
    foldhash::quality::FixedState::default().hash_one(made_of)
}
