//! Series of single processes, between what is read, what is kept and what is exported.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    export::{ServiceReading, UnixClock, series_text},
    plugin::{Reading, SavedGroup, reading::SingleProcess},
    process::ProcessKey,
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

/// Notes which members have series of their own: the next run ends those of the processes that end in between.
pub(super) fn note(saved: &mut SavedGroup, of: &ServiceReading, boot: UnixClock) {
    let Some(singles) = of.reading.per_process.as_ref().filter(|_| !of.is_last) else {
        return;
    };
    let told: BTreeMap<ProcessKey, &SingleProcess> = singles
        .processes
        .iter()
        .map(|process| (process.key, process))
        .collect();
    for member in &mut saved.members {
        let process = told.get(&member.key);
        member.series = process.map(|process| series_text(process, boot).into());
    }
}
