//! What is allowed in a plugin file and can come to nothing: programs that are not there, names that are taken or fit no
//! metric, counters that nobody brings.

use std::{os::unix::fs::PermissionsExt, path::Path};

use crate::{
    app::custom,
    metrics,
    plugin::{
        Naming, Plugin,
        collector::{CollectorSpec, Format, Source, Transform},
        definition::MetricFilter,
    },
    users,
};

/// Each as "file: key: what is wrong; what to do".
pub(super) fn of(plugin: &Plugin) -> Vec<String> {
    let mut doubts = Vec::new();
    for collector in &plugin.collectors {
        of_source(collector, &mut doubts);
        for metric in &collector.metrics {
            if custom::is_taken(&metric.name) {
                doubts.push(format!(
                    "collector.metric.name: {} is one of kevmon's own metrics and will be left out; name it otherwise",
                    metric.name
                ));
            }
        }
    }
    doubts.extend(
        plugin
            .transforms
            .iter()
            .filter_map(|one| of_transform(plugin, one)),
    );
    doubts.extend(
        plugin
            .metrics
            .include
            .iter()
            .filter_map(|pattern| of_include(plugin, pattern)),
    );
    let file = plugin.origin.as_deref().unwrap_or(Path::new("")).display();
    doubts.iter().map(|doubt| format!("{file}: {doubt}")).collect()
}

fn of_source(collector: &CollectorSpec, doubts: &mut Vec<String>) {
    let user = match &collector.source {
        Source::Command { argv, user, .. } => {
            let program = argv.first().map_or("", String::as_str);
            let wrong = match Path::new(program).metadata() {
                Err(_) => Some(format!("{program} cannot be found; put it there")),
                Ok(found) if !found.is_file() => Some(format!("{program} is no file; name a program")),
                Ok(found) if found.permissions().mode() & 0o111 == 0 => {
                    Some(format!("{program} cannot be executed; chmod +x {program}"))
                }
                Ok(_) => None,
            };
            doubts.extend(wrong.map(|wrong| format!("collector.command: {wrong}")));
            user
        }
        Source::File { user, .. } => user,
        Source::Http { .. } | Source::BuiltIn(_) => return,
    };
    if let Some(user) = user.as_ref().filter(|user| users::by_name(user).is_none()) {
        doubts.push(format!(
            "collector.user: this host knows no user {user:?}; correct the name"
        ));
    }
}

/// Scalyr and Prometheus text name their values as they go, and so do groups.
fn names_its_own(collector: &CollectorSpec) -> bool {
    collector.metrics.is_empty()
}

fn of_transform(plugin: &Plugin, transform: &Transform) -> Option<String> {
    let brings_groups = |collector: &CollectorSpec| {
        matches!(
            collector.source,
            Source::Command {
                format: Format::Panoptes,
                ..
            }
        )
    };
    let known = plugin
        .collectors
        .iter()
        .any(|collector| collector.name == transform.group || brings_groups(collector));
    (!known).then(|| {
        format!(
            "transforms: there is no collector {:?}, and none brings metrics groups; name a collector",
            transform.group
        )
    })
}

fn of_include(plugin: &Plugin, pattern: &str) -> Option<String> {
    let only = MetricFilter {
        include: vec![pattern.to_owned()],
        exclude: Vec::new(),
    };
    let own = metrics::metrics(Naming::Both).map(|metric| metric.name);
    let of_processes = metrics::process_metrics(Naming::Both).map(|metric| metric.name);
    let declared = plugin.collectors.iter().flat_map(|collector| &collector.metrics);
    let mut names = own
        .chain(of_processes)
        .chain(declared.map(|metric| metric.name.as_str()));
    let mut rates = plugin.transforms.iter().flat_map(|one| &one.counters);
    let may_come = plugin.collectors.iter().any(names_its_own)
        || rates.any(|counter| only.lets(&format!("{counter}_rate")));
    (!may_come && !names.any(|name| only.lets(name))).then(|| {
        format!(
            "metrics.include: {pattern:?} fits no metric; docs/metrics.md and the collectors have the names"
        )
    })
}
