//! Applies a new configuration to a running daemon, and says what became of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tracing::{debug, error, info, warn};

use super::plan::{self, Plan};
use crate::{
    app::{
        exports::Exports,
        faulty_files,
        keeper::{self, Keeper, Known},
        output,
        process_series::ProcessSeries,
        schedule::Schedule,
        sources::Configuration,
        watch::Watch,
    },
    config::{Fault, Loaded, Settings},
    export::HostIdentity,
    plugin::{GroupId, KeptGroup, Plugin, Plugins},
};

/// The configuration that holds, as far as the next one is compared with it.
pub(in crate::app) struct Applied {
    host: HostIdentity,
    settings: Settings,
    /// Faults and warnings as they were told: each is told once, for as long as it is there.
    told: BTreeSet<String>,
}

/// The parts of a daemon that know its plugins.
pub(in crate::app) struct Parts<'a> {
    pub(in crate::app) watch: &'a mut Watch,
    pub(in crate::app) keeper: &'a mut Keeper,
    pub(in crate::app) exports: &'a mut Exports,
    pub(in crate::app) schedule: &'a mut Schedule,
    pub(in crate::app) series: &'a mut ProcessSeries,
}

impl Applied {
    /// What the daemon started with.
    pub(in crate::app) fn new(loaded: &Loaded, settings: &Settings, host: &HostIdentity) -> Self {
        let told = loaded
            .faults
            .iter()
            .chain(&loaded.warnings)
            .chain(&settings.warnings);
        Self {
            host: host.clone(),
            settings: settings.clone(),
            told: told.map(ToString::to_string).collect(),
        }
    }

    /// The host as it was at the start, which service ids are made of.
    pub(in crate::app) fn host(&self) -> &HostIdentity {
        &self.host
    }

    /// Says what is wrong with the new configuration, and what of it needs a restart. Returns what it means for the running
    /// plugins, and the plugin files that have faults.
    pub(in crate::app) fn prepare(
        &mut self,
        running: &Plugins,
        configuration: Configuration,
    ) -> (Prepared, Vec<String>) {
        let Configuration {
            loaded,
            settled,
            took,
        } = configuration;
        let settings = match &settled {
            Ok(settings) => {
                self.say_what_needs_a_restart(settings);
                settings.clone()
            }
            Err(_) => self.settings.clone(),
        };
        let mut told = BTreeSet::new();
        let of_settings = settled.as_ref().err().into_iter().flatten();
        for fault in loaded.faults.iter().chain(of_settings) {
            if !self.told.contains(&fault.to_string()) {
                error!("{fault}");
            }
            told.insert(fault.to_string());
        }
        for warning in loaded.warnings.iter().chain(&settings.warnings) {
            if !self.told.contains(&warning.to_string()) {
                if warning.harmless {
                    debug!("{warning}");
                } else {
                    warn!("{warning}");
                }
            }
            told.insert(warning.to_string());
        }
        self.told = told;
        let faulty = faulty_files(&loaded);
        let Loaded {
            plugins,
            faults,
            faulty: files,
            ..
        } = loaded;
        let is_named = |plugin: &Plugin| files.iter().any(|file| file.names.contains(&plugin.name));
        let plan = plan::plan(running, plugins, |plugin| {
            is_named(plugin) || is_unclear(plugin, &faults)
        });
        plan.say(running, took);
        for group in &plan.kept {
            if let Some(plugin) = running.get(group) {
                warn!(
                    "{}: goes on as it was, because its file or folder has faults",
                    plugin.label()
                );
            }
        }
        (Prepared { plan, settings, took }, faulty)
    }

    fn say_what_needs_a_restart(&self, new: &Settings) {
        let old = &self.settings;
        let mut differ = BTreeSet::new();
        let host_id = |settings: &Settings| format!("{:?}", settings.resource.get("host.id"));
        let parts = [
            ("host.id in [resource]", host_id(old), host_id(new)),
            (
                "temporality",
                format!("{:?}", old.temporality),
                format!("{:?}", new.temporality),
            ),
            (
                "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
                old.exponential_histograms.to_string(),
                new.exponential_histograms.to_string(),
            ),
            ("[spool]", format!("{:?}", old.spool), format!("{:?}", new.spool)),
            (
                "[recorder]",
                format!("{:?}", old.recorder),
                format!("{:?}", new.recorder),
            ),
            (
                "[telemetry]",
                format!("{:?}", old.telemetry),
                format!("{:?}", new.telemetry),
            ),
            (
                "[outputs]",
                format!("{:?}", old.outputs),
                format!("{:?}", new.outputs),
            ),
            (
                "log_level",
                format!("{:?}", old.log_level),
                format!("{:?}", new.log_level),
            ),
        ];
        differ.extend(
            parts
                .into_iter()
                .filter(|(_, old, new)| old != new)
                .map(|(name, ..)| name.to_owned()),
        );
        let receivers: BTreeMap<&str, String> = old
            .receivers
            .iter()
            .map(|receiver| (receiver.name.as_str(), format!("{receiver:?}")))
            .collect();
        for receiver in &new.receivers {
            if receivers
                .get(receiver.name.as_str())
                .is_some_and(|old| *old != format!("{receiver:?}"))
            {
                differ.insert(format!("the endpoint {}", receiver.name));
            }
        }
        if !differ.is_empty() {
            let differ: Vec<String> = differ.into_iter().collect();
            warn!(
                "changed settings that take effect when kevmon is restarted, and not before: {}",
                differ.join(", ")
            );
        }
    }

    /// Applies a plan whose ending groups have just been collected for the last time. `known`: what the store knows of those that
    /// begin, in their order; nothing without a store.
    pub(in crate::app) fn apply(&mut self, prepared: Prepared, known: Vec<Known>, parts: Parts<'_>) {
        let Prepared { plan, settings, took } = prepared;
        let began = std::time::Instant::now();
        let Parts {
            watch,
            keeper,
            exports,
            schedule,
            series,
        } = parts;
        let Plan {
            gone,
            changed,
            mut new,
            ..
        } = plan;
        let running = plugins(watch);
        let changed: Vec<_> = changed
            .into_iter()
            .map(|(group, plugin)| (group, Arc::new(plugin)))
            .collect();
        let mut known: Vec<Known> = known;
        known.resize_with(new.len(), Known::default);
        for (plugin, known) in new.iter_mut().zip(&mut known) {
            plugin.instance_id = known.instance_id.take();
            if let Some(kept) = &known.kept {
                keeper.comes(plugin, kept, output::unix_now());
            }
        }
        let new: Vec<Arc<Plugin>> = new.into_iter().map(Arc::new).collect();
        let kept: Vec<Option<KeptGroup>> = known.into_iter().map(|known| known.kept).collect();
        let come = new.iter().cloned().zip(kept.clone()).collect();
        let ids = match watch.replan(&gone, changed.clone(), come) {
            Ok(ids) => ids,
            Err(error) => {
                error!("{error:#}: all plugins go on as they were; shorten the patterns");
                return;
            }
        };
        keeper.remove(&gone);
        let added = ids.iter().copied().zip(&new);
        keeper.add(
            added
                .clone()
                .map(|(group, plugin)| (group, Arc::new(keeper::key(plugin)))),
        );
        let now = std::time::Instant::now();
        for &group in &gone {
            schedule.remove(group);
        }
        let planned = changed
            .iter()
            .map(|(group, plugin)| (*group, plugin))
            .chain(added);
        for (group, plugin) in planned {
            schedule.plan(group, plugin.interval, now);
        }
        exports.replan(&settings.receivers, plugins(watch));
        let restored = ids.iter().zip(kept);
        let restored = restored.filter_map(|(&id, kept)| Some((id, kept?))).collect();
        let restored: Vec<(GroupId, KeptGroup)> = restored;
        series.told_before(restored.iter().map(|(group, kept)| (*group, &kept.saved)));
        exports.told_before(&keeper.kept(restored));
        let label = |group: &GroupId| running.get(group).map(|plugin| plugin.label());
        let names = |labels: Vec<String>| {
            if labels.is_empty() {
                "none".to_owned()
            } else {
                labels.join(", ")
            }
        };
        info!(
            "plugins: begun: {}; changed: {}; ended: {}; {} run (read in {took:.1?}, applied in {:.1?})",
            names(new.iter().map(|plugin| plugin.label()).collect()),
            names(changed.iter().map(|(_, plugin)| plugin.label()).collect()),
            names(gone.iter().filter_map(label).collect()),
            watch.plugins().count(),
            began.elapsed()
        );
        // What a restart is needed for is compared with what kevmon started with; receivers may be added.
        self.settings.receivers.extend(
            settings
                .receivers
                .into_iter()
                .filter(|new| !self.settings.receivers.iter().any(|old| old.name == new.name))
                .collect::<Vec<_>>(),
        );
    }
}

/// What is to be applied.
pub(in crate::app) struct Prepared {
    plan: Plan,
    settings: Settings,
    took: std::time::Duration,
}

impl Prepared {
    /// The groups that end: they are to be collected once more.
    pub(in crate::app) fn gone(&self) -> &[GroupId] {
        &self.plan.gone
    }

    /// The plugins that begin.
    pub(in crate::app) fn beginning(&self) -> &[Plugin] {
        &self.plan.new
    }

    /// Those of `running` that go on, as they are from now on.
    pub(in crate::app) fn going_on(&self, mut running: Plugins) -> Plugins {
        let changed = self.plan.changed.iter();
        running.extend(changed.map(|(group, plugin)| (*group, Arc::new(plugin.clone()))));
        running.retain(|group, _| !self.plan.gone.contains(group));
        running
    }

    /// Nothing is to be done.
    pub(in crate::app) fn is_empty(&self) -> bool {
        self.plan.is_empty()
    }
}

/// The running plugins.
pub(in crate::app) fn plugins(watch: &Watch) -> Plugins {
    watch
        .plugins()
        .map(|(group, plugin)| (group, Arc::clone(plugin)))
        .collect()
}

/// Whether a fault is about where the plugin comes from, so that nobody can say that it was taken away.
fn is_unclear(plugin: &Plugin, faults: &[Fault]) -> bool {
    // A folder that was named and cannot be searched: all of its plugins would seem deleted.
    // And what a variable or a flag makes of a plugin is wrong with none of its files.
    let no_folder = faults
        .iter()
        .any(|fault| fault.usage().is_some_and(|of| of != "--plugin"));
    let faulty = faults.iter().filter_map(Fault::path);
    no_folder
        || plugin
            .origin
            .as_deref()
            .is_some_and(|origin| plan::lies_in(origin, faulty))
}
