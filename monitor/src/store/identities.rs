//! Stable ids and display names of host, namespaces, services and metrics. Those that the original framework gave are
//! kept: a plugin of kevmon's takes its original's service over, once and for good.

use std::collections::HashMap;

use rusqlite::{Connection, Row, Transaction, params};
use uuid::Uuid;

use super::{
    error::{Doing, StoreError},
    groups::for_each,
};
use crate::{
    metrics::metrics,
    plugin::{Naming, Plugin, service::sanitise},
};

/// `last_seen` is as exact as this, ns; to write it at each commit would cost more than all the rest.
const TOUCH_EVERY: u64 = 300 * 1_000_000_000;

/// Namespace of the UUIDv5 names of namespaces and metrics.
const NAMESPACE: Uuid = Uuid::from_u128(0x6b65_766d_6f6e_5354_8f52_6964_656e_7469);

/// The namespace that the original gave to services without one.
const UNNAMED: &str = "Unknown";

#[derive(Debug, Clone)]
struct Service {
    id: String,
    namespace: Option<String>,
    plugin: Option<String>,
    name: String,
    original_name: Option<String>,
}

/// A service that this run reports.
#[derive(Debug, Clone)]
struct Reported {
    id: String,
    plugin: String,
    namespace: String,
    name: String,
    stored_name: String,
    display_name: String,
    naming: Naming,
}

/// What the database says, and what this run adds.
#[derive(Debug, Default)]
pub(super) struct Identities {
    hosts: HashMap<String, String>,
    services: Vec<Service>,
    /// Name and id.
    host: Option<(String, String)>,
    reported: Vec<Reported>,
    /// When this run's were last written; `None` when they have changed since.
    written: Option<u64>,
    /// The database's are another host's, and go with the next commit.
    are_foreign: bool,
}

impl Identities {
    pub(super) fn load(connection: &Connection, doing: Doing<'_>) -> Result<Self, StoreError> {
        let mut identities = Self::default();
        for_each(connection, "SELECT name, id FROM host", doing, |row| {
            identities.hosts.insert(text(row, 0)?, text(row, 1)?);
            Ok(())
        })?;
        let services = "SELECT service.id, namespace.name, plugin, service.name, original_name
                        FROM service LEFT JOIN namespace ON namespace.id = namespace_id ORDER BY service.rowid";
        for_each(connection, services, doing, |row| {
            identities.services.push(Service {
                id: text(row, 0)?,
                namespace: optional_text(row, 1)?,
                plugin: optional_text(row, 2)?,
                name: text(row, 3)?,
                original_name: optional_text(row, 4)?,
            });
            Ok(())
        })?;
        Ok(identities)
    }

    /// No run, and no original framework, has named anything here.
    pub(super) fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.services.is_empty()
    }

    /// The ids were made on another host: what this run reports gets ids of its own, in their place.
    pub(super) fn forget(&mut self) {
        *self = Self {
            are_foreign: true,
            ..Self::default()
        };
    }

    pub(super) fn host_id(&self, name: &str) -> Option<&str> {
        self.hosts.get(name).map(String::as_str)
    }

    /// The id of the service that has this name, or had it in the original.
    #[cfg(test)]
    pub(super) fn service_id(&self, namespace: &str, name: &str) -> Option<&str> {
        let sanitised = sanitise(name);
        let named = |service: &&Service| {
            service.is_in(namespace)
                && (service.name == name
                    || service
                        .original_name
                        .as_ref()
                        .is_some_and(|original| original == name || *original == sanitised))
        };
        self.services
            .iter()
            .find(named)
            .map(|service| service.id.as_str())
    }

    /// Says what this run reports; returns each plugin's service id: the one that it had before, else that of its service
    /// in the original, else the one given.
    pub(super) fn identify(&mut self, host: (&str, &str), plugins: &[(&Plugin, String)]) -> Vec<String> {
        let (name, id) = host;
        let id = self.host_id(name).unwrap_or(id).to_owned();
        self.hosts.insert(name.to_owned(), id.clone());
        self.host = Some((name.to_owned(), id));
        self.reported.clear();
        for (plugin, id) in plugins {
            let id = self.claim(plugin, id);
            let service = &plugin.service;
            self.reported.push(Reported {
                id,
                plugin: plugin.label(),
                namespace: service.namespace.clone(),
                name: service.original.clone(),
                stored_name: service.id.clone(),
                display_name: plugin.service_name(),
                naming: plugin.naming,
            });
        }
        self.written = None;
        self.reported.iter().map(|service| service.id.clone()).collect()
    }

    fn claim(&mut self, plugin: &Plugin, given: &str) -> String {
        let service = &plugin.service;
        let known = self.services.iter().find(|known| {
            known.plugin.as_ref() == Some(&plugin.label())
                && known.namespace.as_ref() == Some(&service.namespace)
                && known.name == service.original
        });
        if let Some(known) = known {
            return known.id.clone();
        }
        // The original named a service after its plugin, sanitised since its version 0.0.20.
        let names = [
            service.original.clone(),
            service.id.clone(),
            plugin.name.clone(),
            sanitise(&plugin.name),
        ];
        let free = names.iter().find_map(|name| {
            self.services.iter().position(|known| {
                known.plugin.is_none()
                    && known.original_name.as_ref() == Some(name)
                    && known.is_in(&service.namespace)
            })
        });
        let position = free.unwrap_or_else(|| {
            self.services.push(Service {
                id: given.to_owned(),
                namespace: None,
                plugin: None,
                name: String::new(),
                original_name: None,
            });
            self.services.len() - 1
        });
        let claimed = &mut self.services[position];
        claimed.plugin = Some(plugin.label());
        claimed.namespace = Some(service.namespace.clone());
        claimed.name.clone_from(&service.original);
        claimed.id.clone()
    }

    /// True when there is something to write.
    pub(super) fn is_due(&self, now: u64) -> bool {
        (self.host.is_some() || !self.reported.is_empty())
            && self
                .written
                .is_none_or(|written| now.abs_diff(written) >= TOUCH_EVERY)
    }

    /// Writes what this run reports, if it has changed or been written long ago.
    pub(super) fn write(&self, transaction: &Transaction<'_>, now: u64) -> rusqlite::Result<()> {
        let now = now.cast_signed();
        if self.are_foreign {
            transaction.execute_batch("DELETE FROM metric; DELETE FROM service; DELETE FROM host")?;
        }
        if let Some((name, id)) = &self.host {
            transaction.execute(
                "INSERT INTO host (id, name, first_seen, last_seen) VALUES (?1, ?2, ?3, ?3)
                 ON CONFLICT (name) DO UPDATE SET last_seen = excluded.last_seen
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, last_seen = excluded.last_seen",
                params![id, name, now],
            )?;
        }
        for service in &self.reported {
            transaction
                .prepare_cached(
                    "INSERT INTO namespace (id, name, first_seen, last_seen) VALUES (?1, ?2, ?3, ?3)
                     ON CONFLICT (name) DO UPDATE SET last_seen = excluded.last_seen",
                )?
                .execute(params![
                    name_id("namespace", &service.namespace),
                    service.namespace,
                    now
                ])?;
            transaction
                .prepare_cached(
                    "INSERT INTO service (id, namespace_id, host_id, plugin, name, stored_name, display_name,
                         first_seen, last_seen)
                     VALUES (?1, (SELECT id FROM namespace WHERE name = ?2), ?3, ?4, ?5, ?6, ?7, ?8, ?8)
                     ON CONFLICT (id) DO UPDATE SET namespace_id = excluded.namespace_id, host_id = excluded.host_id,
                         plugin = excluded.plugin, name = excluded.name, stored_name = excluded.stored_name,
                         display_name = excluded.display_name, last_seen = excluded.last_seen",
                )?
                .execute(params![
                    service.id,
                    service.namespace,
                    self.host.as_ref().map(|(_, id)| id),
                    service.plugin,
                    service.name,
                    service.stored_name,
                    service.display_name,
                    now
                ])?;
            if self.written.is_some() {
                transaction
                    .prepare_cached("UPDATE metric SET last_seen = ?1 WHERE service_id = ?2")?
                    .execute(params![now, service.id])?;
            } else {
                write_metrics(transaction, service, now)?;
            }
        }
        Ok(())
    }

    /// What [`Self::write`] wrote has been committed.
    pub(super) fn committed(&mut self, now: u64) {
        self.written = Some(now);
        self.are_foreign = false;
    }
}

impl Service {
    fn is_in(&self, namespace: &str) -> bool {
        match self.namespace.as_deref() {
            Some(known) => known == namespace || (known == UNNAMED && self.plugin.is_none()),
            // Databases from before 1.0 do not say.
            None => true,
        }
    }
}

fn write_metrics(transaction: &Transaction<'_>, service: &Reported, now: i64) -> rusqlite::Result<()> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO metric (id, service_id, name, display_name, unit, instrument, first_seen, last_seen)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
         ON CONFLICT (service_id, name) DO UPDATE SET display_name = excluded.display_name, unit = excluded.unit,
             instrument = excluded.instrument, last_seen = excluded.last_seen",
    )?;
    for metric in metrics(service.naming) {
        upsert.execute(params![
            name_id(&service.id, metric.name),
            service.id,
            metric.name,
            display(metric.name),
            metric.unit,
            // The variants have the original's names (`otel_type`): Gauge, Counter, UpDownCounter.
            format!("{:?}", metric.instrument),
            now
        ])?;
    }
    Ok(())
}

/// The same for the same name, so that a lost store changes nothing.
fn name_id(owner: &str, name: &str) -> String {
    Uuid::new_v5(&NAMESPACE, format!("{owner}\0{name}").as_bytes()).to_string()
}

/// `cpu_usage` → `CPU Usage`, as the original shows it.
fn display(name: &str) -> String {
    let words = name
        .split(['_', '.'])
        .filter(|word| !word.is_empty())
        .map(|word| {
            if word == "cpu" {
                return "CPU".to_owned();
            }
            let mut letters = word.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(letters).collect()
        });
    words.collect::<Vec<String>>().join(" ")
}

/// Text that another program wrote need not be UTF-8.
pub(super) fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    let bytes = row.get_ref(column)?.as_bytes()?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

pub(super) fn optional_text(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    let bytes = row.get_ref(column)?.as_bytes_or_null()?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}
