//! A change of the configuration while the daemon runs.
//!
//! What an earlier run kept of plugins that come, and whether another daemon runs them, is in the state, whose disk may take
//! its time. So a change goes in steps, and between two of them ticks and events go on by what held before:
//!
//! 1. The state says which of the plugins that have come another daemon runs; those are left out.
//! 2. The state says what it knows of those that begin.
//! 3. Those that end are collected for the last time, and that collection is committed. It goes where the plugins still send
//!    to; they are not collected again.
//! 4. The plan is applied.
//!
//! A further change waits for the end of the one before. An end of kevmon in between applies none of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
};

use tracing::{error, info};

use super::Daemon;
use crate::{
    app::{
        custom,
        keeper::Known,
        output,
        reload::{self, Parts, Prepared},
        sources::Configuration,
    },
    config::{Fault, Loaded},
    plugin::Plugin,
};

/// A change that waits for its next step.
pub(super) type Reloading = Pin<Box<dyn Future<Output = Step>>>;

/// The next step of a change.
pub(super) enum Step {
    /// Another daemon runs these plugins, by name with who that is.
    Prepare(Box<Configuration>, BTreeMap<String, String>),
    /// The state knows this of the plugins that begin.
    EndGone(Box<Change>),
    /// The last collection of those that end is in the state, or could not be written.
    Apply(Box<Change>),
}

/// What is to be applied.
pub(super) struct Change {
    prepared: Prepared,
    known: Vec<Known>,
    /// Why no plugin is left, where that is so.
    idle: Option<Fault>,
}

/// The next step, once what it waits for has come; never without a change. Cancelled, it takes nothing.
pub(super) async fn next(reloading: &mut Option<Reloading>) -> Step {
    let Some(waiting) = reloading else {
        return std::future::pending().await;
    };
    let step = waiting.await;
    *reloading = None;
    step
}

impl Daemon {
    /// Goes on by another configuration: what it does not concern goes on as it was.
    pub(super) fn reload(&mut self, configuration: Configuration) {
        let running = reload::plugins(&self.watch);
        let running: BTreeSet<String> = running.values().map(|plugin| plugin.label()).collect();
        let loaded = configuration.loaded.plugins.iter().map(Plugin::label);
        let wanted: BTreeSet<String> = loaded.chain(running.iter().cloned()).collect();
        let configuration = Box::new(configuration);
        if self.elsewhere.is_empty() && wanted == running {
            self.prepare(*configuration); // none has come
            return;
        }
        let elsewhere = self.keeper.run_elsewhere(wanted.into_iter().collect());
        self.reloading = Some(Box::pin(async {
            Step::Prepare(configuration, elsewhere.await.unwrap_or_default())
        }));
    }

    /// Takes the next step of a change.
    pub(super) fn go_on(&mut self, step: Step) {
        match step {
            Step::Prepare(mut configuration, elsewhere) => {
                self.leave_to_others(elsewhere, &mut configuration.loaded);
                self.prepare(*configuration);
            }
            Step::EndGone(change) => self.end_gone(change),
            Step::Apply(change) => {
                // It comes before the answer that this step has waited for.
                for outgoing in self.keeper.all_written(std::time::Instant::now()) {
                    self.send(outgoing);
                }
                self.apply(*change);
            }
        }
    }

    /// Leaves plugins out that have come and that another daemon on the same state runs: they would be exported twice
    /// under one id.
    fn leave_to_others(&mut self, elsewhere: BTreeMap<String, String>, loaded: &mut Loaded) {
        loaded
            .plugins
            .retain(|plugin| !elsewhere.contains_key(&plugin.label()));
        for (plugin, other) in &elsewhere {
            if !self.elsewhere.contains(plugin) {
                error!(
                    "plugin {plugin} is left out: {other} on the same state runs it; stop that one and send SIGHUP to \
                     this one to run it here"
                );
            }
        }
        self.elsewhere = elsewhere.into_keys().collect();
    }

    fn prepare(&mut self, configuration: Configuration) {
        if let Ok(settings) = &configuration.settled {
            custom::settle(&mut self.collectors, &self.args, &self.state, settings);
        }
        let loaded = &configuration.loaded;
        let idle = loaded.idle.clone().filter(|_| !loaded.disabled.is_empty());
        self.watch.read_host_again();
        let given = configuration.settled.as_ref().ok();
        let given = given.map_or_else(|| self.host.given().clone(), |settings| settings.resource.clone());
        self.is_on(self.host.read_again(&given));
        let running = reload::plugins(&self.watch);
        let (prepared, faulty) = self.applied.prepare(&running, configuration);
        if faulty.is_empty() && !self.faulty.is_empty() {
            info!("no plugin file has faults any more");
        }
        self.faulty = faulty;
        self.named_at = tokio::time::Instant::now();
        if prepared.is_empty() {
            return;
        }
        let others = prepared.going_on(running);
        let known = self.keeper.replan(
            prepared.beginning(),
            &others,
            self.applied.host(),
            output::unix_now(),
        );
        let has_new = !prepared.beginning().is_empty();
        let mut change = Box::new(Change {
            prepared,
            known: Vec::new(),
            idle,
        });
        if !has_new {
            self.end_gone(change); // nothing is asked for
            return;
        }
        self.reloading = Some(Box::pin(async {
            change.known = known.await.unwrap_or_default();
            Step::EndGone(change)
        }));
    }

    fn end_gone(&mut self, change: Box<Change>) {
        let gone = change.prepared.gone();
        if gone.is_empty() {
            self.apply(*change);
            return;
        }
        self.collect_and_send(gone, true);
        self.leaving = gone.iter().copied().collect();
        let tried = self.keeper.tried();
        self.reloading = Some(Box::pin(async {
            // An error: there is no store, and nothing has to wait for it.
            let _ = tried.await;
            Step::Apply(change)
        }));
    }

    fn apply(&mut self, change: Change) {
        let Change {
            prepared,
            known,
            idle,
        } = change;
        let parts = Parts {
            watch: &mut self.watch,
            keeper: &mut self.keeper,
            exports: &mut self.exports,
            schedule: &mut self.schedule,
            series: &mut self.series,
        };
        self.applied.apply(prepared, known, parts);
        self.leaving.clear();
        self.recorder.plan(&mut self.watch);
        self.collectors
            .update(self.watch.plugins(), std::time::Instant::now());
        self.note_idle(idle.as_ref());
        let plugins = self.watch.plugins().map(|(_, plugin)| plugin.label()).collect();
        // Those of others have been left out.
        drop(self.keeper.run_elsewhere(plugins));
    }
}
