//! Databases of every version, as their writers made them.

use std::path::Path;

use rusqlite::Connection;

/// A database of the original framework.
pub(super) struct Fixture {
    pub(super) name: &'static str,
    /// In the name of the copy.
    pub(super) version: &'static str,
    tables: &'static [&'static str],
    /// `services` names host and namespace.
    has_hosts: bool,
    versions: &'static [&'static str],
}

const SERVICES_FIRST: &str =
    "CREATE TABLE services (id TEXT PRIMARY KEY, full_name TEXT UNIQUE, display_name TEXT,
    first_seen TIMESTAMP, last_seen TIMESTAMP)";
const SERVICES_DESCRIBED: &str =
    "CREATE TABLE services (id TEXT PRIMARY KEY, full_name TEXT UNIQUE, display_name TEXT,
    version TEXT, description TEXT, first_seen TIMESTAMP, last_seen TIMESTAMP)";
const SERVICES: &str = "CREATE TABLE services (id TEXT PRIMARY KEY, full_name TEXT UNIQUE, display_name TEXT,
    version TEXT, description TEXT, host_id TEXT, namespace_id TEXT, first_seen TIMESTAMP, last_seen TIMESTAMP,
    FOREIGN KEY (host_id) REFERENCES hosts(id), FOREIGN KEY (namespace_id) REFERENCES service_namespaces(id))";
const METRICS_FIRST: &str =
    "CREATE TABLE metrics (id TEXT PRIMARY KEY, service_id TEXT, name TEXT, display_name TEXT,
    unit TEXT, format_type TEXT, decimal_places INTEGER DEFAULT 2, is_percentage BOOLEAN DEFAULT 0,
    first_seen TIMESTAMP, last_seen TIMESTAMP, FOREIGN KEY (service_id) REFERENCES services(id),
    UNIQUE(service_id, name))";
const METRICS_1: &str =
    "CREATE TABLE metrics (id TEXT PRIMARY KEY, service_id TEXT, name TEXT, display_name TEXT,
    unit TEXT, format_type TEXT, decimal_places INTEGER DEFAULT 2, is_percentage BOOLEAN DEFAULT 0,
    is_counter BOOLEAN DEFAULT 0, first_seen TIMESTAMP, last_seen TIMESTAMP,
    FOREIGN KEY (service_id) REFERENCES services(id), UNIQUE(service_id, name))";
const METRICS_2: &str =
    "CREATE TABLE metrics (id TEXT PRIMARY KEY, service_id TEXT, name TEXT, display_name TEXT,
    unit TEXT, format_type TEXT, decimal_places INTEGER DEFAULT 2, is_percentage BOOLEAN DEFAULT 0,
    is_counter BOOLEAN DEFAULT 0, otel_type TEXT DEFAULT 'Gauge', first_seen TIMESTAMP, last_seen TIMESTAMP,
    FOREIGN KEY (service_id) REFERENCES services(id), UNIQUE(service_id, name))";
/// How 1.0 became 2.0: the column comes last.
const METRICS_1_TO_2: &str = "ALTER TABLE metrics ADD COLUMN otel_type TEXT DEFAULT 'Gauge'";
const HOSTS: &str = "CREATE TABLE hosts (id TEXT PRIMARY KEY, hostname TEXT UNIQUE, first_seen TIMESTAMP, last_seen TIMESTAMP)";
const NAMESPACES: &str = "CREATE TABLE service_namespaces (id TEXT PRIMARY KEY, namespace TEXT UNIQUE,
    first_seen TIMESTAMP, last_seen TIMESTAMP)";
const RULES: &str = "CREATE TABLE format_rules (id INTEGER PRIMARY KEY AUTOINCREMENT, pattern TEXT UNIQUE,
    replacement TEXT, rule_type TEXT, priority INTEGER);
    INSERT INTO format_rules (pattern, replacement, rule_type, priority) VALUES
    ('cpu', 'CPU', 'word_replacement', 100), ('_', ' ', 'character_replacement', 50),
    ('word_start', 'capitalize', 'word_formatting', 10)";
const SCHEMA_VERSION: &str =
    "CREATE TABLE schema_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version TEXT NOT NULL,
    created_date TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_date TIMESTAMP DEFAULT CURRENT_TIMESTAMP)";

/// Every version that was ever published.
pub(super) const ORIGINALS: [Fixture; 7] = [
    Fixture {
        name: "the first",
        version: "unversioned",
        tables: &[SERVICES_FIRST, METRICS_FIRST, RULES],
        has_hosts: false,
        versions: &[],
    },
    Fixture {
        name: "with descriptions",
        version: "unversioned",
        tables: &[SERVICES_DESCRIBED, METRICS_FIRST, RULES],
        has_hosts: false,
        versions: &[],
    },
    Fixture {
        name: "with counters",
        version: "unversioned",
        tables: &[SERVICES_DESCRIBED, METRICS_1, RULES],
        has_hosts: false,
        versions: &[],
    },
    Fixture {
        name: "with hosts",
        version: "unversioned",
        tables: &[HOSTS, NAMESPACES, SERVICES, METRICS_1, RULES],
        has_hosts: true,
        versions: &[],
    },
    Fixture {
        name: "1.0",
        version: "1.0",
        tables: &[HOSTS, NAMESPACES, SERVICES, METRICS_1, RULES, SCHEMA_VERSION],
        has_hosts: true,
        versions: &["1.0"],
    },
    Fixture {
        name: "2.0",
        version: "2.0",
        tables: &[HOSTS, NAMESPACES, SERVICES, METRICS_2, RULES, SCHEMA_VERSION],
        has_hosts: true,
        versions: &["2.0"],
    },
    Fixture {
        name: "2.0 that was 1.0",
        version: "2.0",
        tables: &[
            HOSTS,
            NAMESPACES,
            SERVICES,
            METRICS_1,
            RULES,
            SCHEMA_VERSION,
            METRICS_1_TO_2,
        ],
        has_hosts: true,
        versions: &["1.0", "2.0"],
    },
];

/// Id, namespace where it has one, full name, display name.
pub(super) const SERVICE_ROWS: [(&str, Option<&str>, &str, &str); 3] = [
    (
        "aaaaaaaa-0000-4000-8000-000000000001",
        Some("Strategy₿"),
        "m8mulprc",
        "M8mulprc",
    ),
    (
        "aaaaaaaa-0000-4000-8000-000000000002",
        Some("Unknown"),
        "strategy_m8refsvr",
        "Strategy M8refsvr",
    ),
    (
        "aaaaaaaa-0000-4000-8000-000000000003",
        None,
        "com.instana.plugin.python.mstrsvr",
        "Mstrsvr",
    ),
];

/// Metrics of each service.
pub(super) const METRIC_ROWS: [(&str, &str, bool); 3] = [
    ("cpu_usage", "%", false),
    ("disk_read_bytes", "bytes", true),
    ("cpu_core_7", "%", false),
];

pub(super) fn metric_id(service: usize, metric: usize) -> String {
    format!("bbbbbbbb-0000-4000-8000-0000000000{service}{metric}")
}

impl Fixture {
    pub(super) fn has_namespaces(&self) -> bool {
        self.has_hosts
    }

    pub(super) fn has_types(&self) -> bool {
        self.version == "2.0"
    }

    pub(super) fn create(&self, path: &Path) {
        let connection = Connection::open(path).unwrap();
        let run = |sql: &str| connection.execute_batch(sql).unwrap();
        self.tables.iter().for_each(|table| run(table));
        let seen = "'2025-06-25T10:00:00.123456', '2025-06-26T11:00:00'";
        if self.has_hosts {
            run(&format!("INSERT INTO hosts VALUES ('host-1', 'web1', {seen})"));
            run(&format!(
                "INSERT INTO service_namespaces VALUES ('ns-1', 'Strategy₿', {seen}), ('ns-2', 'Unknown', {seen})"
            ));
        }
        for (number, (id, namespace, name, display)) in SERVICE_ROWS.into_iter().enumerate() {
            run(&format!(
                "INSERT INTO services (id, full_name, display_name, first_seen, last_seen)
                 VALUES ('{id}', '{name}', '{display}', {seen})"
            ));
            if let (true, Some(namespace)) = (self.has_hosts, namespace) {
                run(&format!(
                    "UPDATE services SET host_id = 'host-1', namespace_id =
                     (SELECT id FROM service_namespaces WHERE namespace = '{namespace}') WHERE id = '{id}'"
                ));
            }
            for (position, (metric, unit, is_counter)) in METRIC_ROWS.into_iter().enumerate() {
                let metric_id = metric_id(number, position);
                run(&format!(
                    "INSERT INTO metrics (id, service_id, name, display_name, unit, first_seen, last_seen)
                     VALUES ('{metric_id}', '{id}', '{metric}', '{metric}!', '{unit}', {seen})"
                ));
                if self.has_types() && is_counter {
                    run(&format!(
                        "UPDATE metrics SET otel_type = 'Counter' WHERE id = '{metric_id}'"
                    ));
                }
            }
        }
        for version in self.versions {
            run(&format!(
                "INSERT INTO schema_version (version, created_date, updated_date)
                 VALUES ('{version}', '2025-06-25T1{version}', '2025-06-25T1{version}')"
            ));
        }
    }
}
