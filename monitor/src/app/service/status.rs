//! What a running kevmon can say of itself: the last collection of each plugin, and how the exports fare.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};

use super::view::gauges_of;
use crate::{
    app::{output, top::Has},
    export::{Collection, ServiceReading, iso8601_millis, plugin_json},
};

/// Plugins of which a reply has the values at most.
const PLUGINS: usize = 1000;

/// What stays the same for as long as this kevmon runs.
#[derive(Debug, Clone)]
pub(in crate::app) struct Fixed {
    /// Another one each time that kevmon begins, also in the same process.
    pub(in crate::app) run: u64,
    /// When it began, Unix ns.
    pub(in crate::app) started: u64,
    /// The unit of systemd that it is.
    pub(in crate::app) unit: Option<Unit>,
    /// Where it keeps its state; `None`: it keeps none.
    pub(in crate::app) state: Option<PathBuf>,
}

/// A unit of systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) struct Unit {
    pub(in crate::app) name: String,
    /// Of a user's manager, not the system's.
    pub(in crate::app) is_of_user: bool,
}

/// Shared between the loop, which updates it, and the threads that read it.
#[derive(Debug, Clone)]
pub(in crate::app) struct Status {
    fixed: Arc<Fixed>,
    latest: Arc<Mutex<Latest>>,
}

#[derive(Debug, Clone, Default)]
struct Latest {
    /// By the plugin's label: the collection that read it last.
    plugins: BTreeMap<String, Arc<Collection>>,
    newest: Option<Arc<Collection>>,
    /// When a receiver last took a request.
    exported: Option<Instant>,
}

impl Status {
    pub(in crate::app) fn new(fixed: Fixed) -> Self {
        Self {
            fixed: Arc::new(fixed),
            latest: Arc::default(),
        }
    }

    /// A collection has been committed and handed over.
    pub(in crate::app) fn collected(&self, collection: &Arc<Collection>) {
        let mut latest = self.latest();
        for service in &collection.services {
            let label = service.plugin.label();
            // A plugin that goes has its last collection here, which may come after the reload.
            if service.is_last && !collection.is_final {
                latest.plugins.remove(&label);
            } else {
                latest.plugins.insert(label, Arc::clone(collection));
            }
        }
        latest.newest = Some(Arc::clone(collection));
    }

    /// These are the plugins that run: others have gone.
    pub(in crate::app) fn retain(&self, labels: &BTreeSet<String>) {
        self.latest().plugins.retain(|label, _| labels.contains(label));
    }

    /// A receiver has taken a request.
    pub(in crate::app) fn exported(&self) {
        self.latest().exported = Some(Instant::now());
    }

    /// Which run this is.
    pub(in crate::app) fn run(&self) -> u64 {
        self.fixed.run
    }

    /// What each group had at its last collection, by the plugin's label.
    pub(in crate::app) fn gauges(&self) -> BTreeMap<String, Has> {
        let latest = self.latest();
        let groups = latest.plugins.iter().filter_map(|(label, collection)| {
            let of = |service: &&ServiceReading| service.plugin.label() == *label;
            let service = collection.services.iter().find(of)?;
            Some((label.clone(), gauges_of(&service.reading)))
        });
        groups.collect()
    }

    /// One line for the service manager.
    pub(in crate::app) fn line(&self) -> String {
        let latest = self.latest();
        let mut parts = vec![counted(latest.plugins.len() as u64, "plugin", "plugins")];
        if let Some(processes) = latest.processes() {
            parts.push(counted(processes, "process", "processes"));
        }
        let health = latest.newest.as_ref().map(|collection| &collection.health);
        let queues = health.map_or(&[][..], |health| &health.exports);
        if let Some(exported) = latest.exported {
            parts.push(format!("last export {} ago", whole_seconds(exported.elapsed())));
        } else if !queues.is_empty() {
            parts.push("nothing exported yet".to_owned());
        }
        let waiting: u64 = queues.iter().map(|queue| queue.waiting_requests).sum();
        if waiting > 0 {
            parts.push(format!("{} waiting", counted(waiting, "request", "requests")));
        }
        let faulty = health.map_or(0, |health| health.faulty_plugins.len());
        if faulty > 0 {
            parts.push(counted(
                faulty as u64,
                "faulty plugin file",
                "faulty plugin files",
            ));
        }
        parts.join(", ")
    }

    /// All of it, as `kevmon status --json` prints it; docs/service.md describes it.
    pub(in crate::app) fn json(&self, stuck: &[&str]) -> Json {
        let fixed = &self.fixed;
        // Rendered outside of the lock: the loop does not wait for it.
        let latest = self.latest().clone();
        let now = output::unix_now();
        let mut object = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "run": fixed.run,
            "started": iso8601_millis(fixed.started),
            "uptime_seconds": now.saturating_sub(fixed.started) / 1_000_000_000,
            "stuck_threads": stuck,
            "plugins": latest.plugins_json(now),
            "plugins_left_out": latest.plugins.len().saturating_sub(PLUGINS),
        });
        let mut set = |key: &str, value: Json| {
            object[key] = value;
        };
        if let Some(unit) = &fixed.unit {
            set("unit", json!(unit.name));
            set("user_unit", json!(unit.is_of_user));
        }
        if let Some(state) = &fixed.state {
            set("state", json!(state.display().to_string()));
        }
        if let Some(exported) = latest.exported {
            set("last_export_seconds_ago", json!(exported.elapsed().as_secs()));
        }
        if let Some(collection) = &latest.newest {
            let health = &collection.health;
            set("source", json!(health.source));
            set("source_reason", json!(health.source_reason));
            set("complete", json!(health.complete));
            set("lost", non_zero(&health.lost));
            set("soft_failures", non_zero(&health.soft_failures));
            set("faulty_plugins", json!(health.faulty_plugins));
            set("exports", health.exports.iter().map(queue_json).collect());
        }
        object
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latest {
    /// Members of all plugins; `None` where some plugin's could not be listed, or none was read yet.
    fn processes(&self) -> Option<u64> {
        let mut sum = 0;
        for (label, collection) in &self.plugins {
            let service = collection
                .services
                .iter()
                .find(|service| service.plugin.label() == *label)?;
            if service.reading.unlisted {
                return None;
            }
            sum += service.reading.process_count;
        }
        self.newest.is_some().then_some(sum)
    }

    fn plugins_json(&self, now: u64) -> Json {
        let plugins = self.plugins.iter().take(PLUGINS);
        let of = |(label, collection): (&String, &Arc<Collection>)| {
            let service = collection
                .services
                .iter()
                .find(|service| service.plugin.label() == *label)?;
            let mut plugin = plugin_json(collection, service);
            plugin["label"] = json!(label);
            plugin["collected"] = json!(iso8601_millis(collection.time));
            plugin["collected_seconds_ago"] = json!(now.saturating_sub(collection.time) / 1_000_000_000);
            plugin["interval_seconds"] = json!(service.plugin.interval.as_secs_f64());
            Some(plugin)
        };
        plugins.filter_map(of).collect()
    }
}

fn queue_json(queue: &crate::metrics::ExportReading) -> Json {
    json!({
        "receiver": queue.receiver,
        "signal": queue.signal,
        "delivered": queue.delivered,
        "waiting_requests": queue.waiting_requests,
        "waiting_bytes": queue.waiting_bytes,
        "failures": queue.failures,
        "lost": non_zero(&queue.lost()),
        "away": queue.away,
    })
}

/// Counts that are not 0, by name.
fn non_zero(counts: &[(&'static str, u64)]) -> Json {
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    let counts = counts.map(|(name, count)| ((*name).to_owned(), json!(count)));
    Json::Object(counts.collect())
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn whole_seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

/// The unit of systemd whose main process this is; `None` for any other.
pub(in crate::app) fn own_unit() -> Option<Unit> {
    /// Set for all that a unit runs, by systemd 232 and newer.
    const INVOCATION: &str = "INVOCATION_ID";
    /// The process that systemd itself started, by systemd 248 and newer: what that one starts inherits the variable.
    const EXEC_PID: &str = "SYSTEMD_EXEC_PID";
    std::env::var_os(INVOCATION)?;
    let is_main = match std::env::var(EXEC_PID) {
        Ok(pid) => pid.parse() == Ok(std::process::id()),
        Err(_) => std::os::unix::process::parent_id() == 1,
    };
    let cgroup = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    unit(&cgroup).filter(|_| is_main)
}

/// The innermost service in what /proc/PID/cgroup says.
fn unit(cgroup: &str) -> Option<Unit> {
    cgroup.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        // Version 2, or version 1 with systemd's own hierarchy: a host may have both.
        if !matches!(controllers, "" | "name=systemd") {
            return None;
        }
        let name = path.split('/').rfind(|part| part.ends_with(".service"))?;
        // A user's manager is a service of the system's.
        (!name.starts_with("user@")).then(|| Unit {
            name: name.to_owned(),
            is_of_user: path.contains("/user@"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_the_innermost_service_of_the_cgroup() {
        let of = |cgroup: &str| unit(cgroup).map(|unit| (unit.name, unit.is_of_user));
        let system = |name: &str| Some((name.to_owned(), false));
        for (cgroup, expected) in [
            ("0::/system.slice/kevmon.service\n", system("kevmon.service")),
            (
                "0::/system.slice/system-kevmon.slice/kevmon@web.service\n",
                system("kevmon@web.service"),
            ),
            (
                "12:pids:/x.service\n1:name=systemd:/system.slice/kevmon.service\n",
                system("kevmon.service"),
            ),
            (
                "1:name=systemd:/\n0::/system.slice/kevmon.service\n",
                system("kevmon.service"),
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/kevmon.service\n",
                Some(("kevmon.service".to_owned(), true)),
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/init.scope\n",
                None,
            ),
            ("0::/user.slice/user-0.slice/session-3.scope\n", None),
            ("0::/\n", None),
            ("", None),
        ] {
            assert_eq!(of(cgroup), expected, "{cgroup}");
        }
    }
}
