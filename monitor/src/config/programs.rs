//! The programs that plugin files name: who can write one decides what kevmon runs, as with the files themselves.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Faulty, Loaded, finding::Finding, runners, trust::Trusted};
use crate::plugin::{Plugin, collector::Source};

/// Takes out plugins whose programs somebody else can write. What is not there is told when it is to be run.
pub(super) fn refuse_writable(loaded: &mut Loaded) {
    let trusted = Trusted::of_this_process();
    let (mut faults, mut faulty) = (Vec::new(), Vec::new());
    loaded.plugins.retain(|plugin| {
        let found: Vec<_> = programs(plugin)
            .filter_map(|program| {
                let program = program.as_path();
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

/// The programs of a plugin's commands. What a runner is given to run counts as one: it is taken from the plugin's folder.
fn programs(plugin: &Plugin) -> impl Iterator<Item = PathBuf> {
    let folder = plugin.origin.as_deref().and_then(Path::parent);
    let folder = folder.unwrap_or(Path::new("")).to_owned();
    plugin.collectors.iter().flat_map(move |collector| {
        let Source::Command { argv, .. } = &collector.source else {
            return Vec::new();
        };
        let program = argv.first().map(PathBuf::from);
        let name = program.as_deref().and_then(|program| program.file_name());
        let runs_others = name
            .and_then(|name| name.to_str())
            .is_some_and(runners::is_runner);
        let arguments = argv.iter().skip(1).filter(|_| runs_others);
        let modules = arguments.map(|argument| folder.join(argument));
        let modules: Vec<PathBuf> = modules.filter(|module| module.is_file()).collect();
        program.into_iter().chain(modules).collect()
    })
}
