//! The programs that plugin files name: who can write one decides what kevmon runs, as with the files themselves.

use std::{fs, path::Path};

use super::{Faulty, Loaded, finding::Finding, trust::Trusted};
use crate::plugin::{Plugin, collector::Source};

/// Takes out plugins whose programs somebody else can write. What is not there is told when it is to be run.
pub(super) fn refuse_writable(loaded: &mut Loaded) {
    let trusted = Trusted::of_this_process();
    let (mut faults, mut faulty) = (Vec::new(), Vec::new());
    loaded.plugins.retain(|plugin| {
        let found: Vec<_> = programs(plugin)
            .filter_map(|program| {
                let metadata = fs::metadata(program).ok()?;
                let wrong = trusted.check(program, &metadata).err()?;
                let message = format!("{}: {}", program.display(), wrong.message);
                let file = plugin.origin.as_deref().unwrap_or(program);
                let fault = Finding::in_file(file, None, message).key("collector.command");
                Some(fault.remedy(wrong.remedy.unwrap_or_default()))
            })
            .collect();
        let well = found.is_empty();
        if !well && let Some(path) = &plugin.origin {
            faulty.push(Faulty {
                path: path.clone(),
                names: vec![plugin.name.clone()],
            });
        }
        faults.extend(found);
        well
    });
    faults.dedup();
    loaded.faults.extend(faults);
    loaded.faulty.extend(faulty);
}

fn programs(plugin: &Plugin) -> impl Iterator<Item = &Path> {
    plugin
        .collectors
        .iter()
        .filter_map(|collector| match &collector.source {
            Source::Command { argv, .. } => argv.first().map(Path::new),
            _ => None,
        })
}
