//! One identity, however a process is seen: started under kevmon's eyes, found running, and in /proc. Members and the
//! names that they are listed under are the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use kevmon_tests::{
    invocations::{Invocation, Invocations},
    kevmon::Daemon,
    plugin_dir::PluginDir,
    tick::Tick,
    workload::Running,
};

const LIMIT: Duration = Duration::from_secs(60);

/// What a plugin is to list: pids and names.
type Listed = Vec<(u32, String)>;

/// Writes a plugin; `pattern` is plain text.
fn write(folder: &PluginDir, name: &str, by: &str, pattern: &str) {
    let text = format!(
        "schema = 1\n[service]\nnamespace = \"{name}\"\nprocess_name = '{pattern}'\nmatch = \"{by}\"\n\
         [monitoring]\ninterval = \"3s\"\n"
    );
    folder.write(name, &text);
}

/// One plugin for each thing that an invocation is matched by, and what it is to list of the process `pid`.
fn plugins(folder: &PluginDir, index: usize, invocation: &Invocation) -> Vec<(String, Option<String>)> {
    let mut plugins = Vec::new();
    let mut add = |kind: &str, by: &str, pattern: String, listed: Option<String>| {
        let name = format!("i{index}-{kind}");
        write(folder, &name, by, &pattern);
        plugins.push((name, listed));
    };
    add(
        "cmdline",
        "cmdline",
        format!("--tag={}", invocation.tag),
        Some(invocation.shown.clone()),
    );
    for (at, name) in invocation.names.iter().enumerate() {
        add(
            &format!("name{at}"),
            "name",
            format!("^{name}$"),
            Some(name.clone()),
        );
    }
    for (at, value) in invocation.not_names.iter().enumerate() {
        add(&format!("value{at}"), "name", value.clone(), None);
    }
    plugins
}

/// One plugin for each executable, by the executable's name.
fn executables(folder: &PluginDir, invocations: &[Invocation]) -> BTreeMap<String, String> {
    let names: BTreeSet<&str> = invocations.iter().map(|of| of.exe.as_str()).collect();
    let plugin = |(index, name): (usize, &str)| {
        let plugin = format!("exe{index}");
        let escaped = name.replace('.', "[.]").replace('+', "[+]");
        write(folder, &plugin, "exe", &format!("^{escaped}$"));
        (name.to_owned(), plugin)
    };
    names.into_iter().enumerate().map(plugin).collect()
}

/// Those of `pids` that a plugin lists; an interpreter may run for others, too.
fn listed(tick: &Tick, plugin: &str, pids: &[u32]) -> Listed {
    let group = tick.expect_group(plugin);
    let members = group.members().into_iter();
    let mut listed: Listed = members
        .map(|member| (member.pid, member.name))
        .filter(|(pid, _)| pids.contains(pid))
        .collect();
    listed.sort();
    listed
}

/// What differs from `expected` once it has had time to come true.
fn differences(daemon: &mut Daemon, expected: &BTreeMap<String, Listed>, pids: &[u32]) -> Vec<String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let tick = daemon.next_tick(LIMIT);
        if expected.keys().any(|plugin| tick.group(plugin).is_none()) {
            continue;
        }
        let differ = expected.iter().filter_map(|(plugin, expected)| {
            let found = listed(&tick, plugin, pids);
            (found != *expected).then(|| format!("{plugin}: {found:?}, not {expected:?}"))
        });
        let differ: Vec<String> = differ.collect();
        if differ.is_empty() || Instant::now() > deadline {
            return differ;
        }
    }
}

#[test]
fn members_and_names_are_the_same_however_a_process_is_seen() {
    let invocations = Invocations::new();
    eprintln!(
        "{} invocations; not installed: {:?}",
        invocations.all.len(),
        invocations.left_out
    );
    let folder = PluginDir::new();
    let all: Vec<_> = invocations.all.iter().enumerate().collect();
    let plugins: Vec<_> = all
        .iter()
        .map(|(index, invocation)| plugins(&folder, *index, invocation))
        .collect();
    let executables = executables(&folder, &invocations.all);
    let args = ["--plugins-dir", folder.path()];
    let mut early = Daemon::start(&args);
    let running: Vec<Running> = invocations.all.iter().map(Invocation::start).collect();
    let pids: Vec<u32> = running.iter().map(Running::pid).collect();
    let mut expected: BTreeMap<String, Listed> = plugins
        .into_iter()
        .zip(&running)
        .flat_map(|(plugins, running)| {
            let listed = |name: Option<String>| name.map(|name| (running.pid(), name));
            plugins
                .into_iter()
                .map(move |(plugin, name)| (plugin, listed(name).into_iter().collect()))
        })
        .collect();
    for (invocation, &pid) in invocations.all.iter().zip(&pids) {
        let listed = expected.entry(executables[&invocation.exe].clone()).or_default();
        listed.push((pid, invocation.exe.clone()));
        listed.sort();
    }
    let mut faults = Vec::new();
    let mut compare = |column: &str, daemon: &mut Daemon| {
        let differ = differences(daemon, &expected, &pids);
        faults.extend(differ.into_iter().map(|fault| format!("{column}: {fault}")));
    };
    compare("started under its eyes", &mut early);
    early.terminate();
    let mut found = Daemon::start(&args);
    compare("found running", &mut found);
    found.terminate();
    let mut proc = Daemon::start(&[&args[..], &["--source", "proc"]].concat());
    compare("/proc", &mut proc);
    proc.terminate();
    let which = |fault: &String| {
        let index = fault.split(": i").nth(1).and_then(|rest| rest.split('-').next());
        let index = index.and_then(|index| index.parse::<usize>().ok());
        index
            .map_or("", |index| invocations.all[index].what.as_str())
            .to_owned()
    };
    let told: Vec<String> = faults
        .iter()
        .map(|fault| format!("[{}] {fault}", which(fault)))
        .collect();
    assert!(told.is_empty(), "{} faults:\n{}", told.len(), told.join("\n"));
}
