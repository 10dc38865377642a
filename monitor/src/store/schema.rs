//! The tables of each version, as SQL. docs/store.md explains them.
//!
//! Integers are SQLite's signed 64 bits; a sum of 2^63 or more would show as negative and is read back as it was. Times are
//! Unix nanoseconds unless said otherwise. NULL: not known.

/// A step from one of kevmon's versions to the next. A version that was released is never changed again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// The version it leads to.
    pub(super) to: u32,
    /// Run in this order, in one transaction with everything else that a migration does.
    pub(super) statements: &'static [&'static str],
}

/// kevmon's steps. The first takes the numbers up where the original framework's 2.0 left them.
pub(super) const STEPS: &[Step] = &[
    Step {
        to: 3,
        statements: VERSION_3,
    },
    Step {
        to: 4,
        statements: VERSION_4,
    },
    Step {
        to: 5,
        statements: VERSION_5,
    },
    Step {
        to: 6,
        statements: VERSION_6,
    },
    Step {
        to: 7,
        statements: VERSION_7,
    },
    Step {
        to: 8,
        statements: VERSION_8,
    },
    Step {
        to: 9,
        statements: VERSION_9,
    },
];

/// The version that this kevmon writes.
pub(super) const PRESENT: u32 = 9;

/// `PRAGMA application_id` of kevmon's databases: "kevm".
pub(super) const APPLICATION_ID: i32 = 0x6b65_766d;

const _: () = assert!(
    STEPS[STEPS.len() - 1].to == PRESENT,
    "the last step leads to the present version"
);

macro_rules! usage_columns {
    ($prefix:literal) => {
        concat!(
            $prefix,
            "runtime_ns INTEGER, ",
            $prefix,
            "user_ns INTEGER, ",
            $prefix,
            "system_ns INTEGER, ",
            $prefix,
            "run_delay_ns INTEGER, ",
            $prefix,
            "voluntary INTEGER, ",
            $prefix,
            "involuntary INTEGER, ",
            $prefix,
            "minor_faults INTEGER, ",
            $prefix,
            "major_faults INTEGER, ",
            $prefix,
            "read_bytes INTEGER, ",
            $prefix,
            "write_bytes INTEGER, "
        )
    };
}

/// No table has the name of one of the original's, except `schema_version`, which is its, and is continued: its absence
/// makes the original delete the file.
const VERSION_3: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS schema_version (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        version TEXT NOT NULL,
        created_date TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
        updated_date TIMESTAMP DEFAULT CURRENT_TIMESTAMP
    )",
    "CREATE TABLE state (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        boot_id TEXT NOT NULL,
        last_commit INTEGER NOT NULL,
        run INTEGER NOT NULL
    ) STRICT",
    "CREATE TABLE host (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        first_seen INTEGER,
        last_seen INTEGER
    ) STRICT",
    "CREATE TABLE namespace (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        first_seen INTEGER,
        last_seen INTEGER
    ) STRICT",
    // `plugin` is NULL for a service of the original that no plugin of kevmon's has taken over; `original_name` is the
    // name that the original had for it.
    "CREATE TABLE service (
        id TEXT PRIMARY KEY,
        namespace_id TEXT,
        host_id TEXT,
        plugin TEXT,
        name TEXT NOT NULL,
        stored_name TEXT NOT NULL,
        display_name TEXT,
        original_name TEXT,
        first_seen INTEGER,
        last_seen INTEGER
    ) STRICT",
    "CREATE TABLE metric (
        id TEXT PRIMARY KEY,
        service_id TEXT NOT NULL,
        name TEXT NOT NULL,
        display_name TEXT,
        unit TEXT,
        instrument TEXT,
        first_seen INTEGER,
        last_seen INTEGER,
        UNIQUE (service_id, name)
    ) STRICT",
    // `run` is that of the last run that kept the group: what an older one left is not as of the last commit.
    "CREATE TABLE watched_group (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        plugin TEXT NOT NULL,
        run INTEGER NOT NULL
    ) STRICT",
    concat!(
        "CREATE TABLE accumulator (
        group_id INTEGER PRIMARY KEY REFERENCES watched_group (id),
        watch_start INTEGER NOT NULL,
        usage_start INTEGER NOT NULL, ",
        usage_columns!("left_"),
        "starts INTEGER NOT NULL,
        worker_starts INTEGER NOT NULL,
        respawns INTEGER NOT NULL,
        reexecs INTEGER NOT NULL,
        unpaired_starts INTEGER NOT NULL,
        failed_starts INTEGER NOT NULL,
        exits INTEGER NOT NULL,
        joins INTEGER NOT NULL,
        leaves INTEGER NOT NULL,
        given_up INTEGER NOT NULL,
        downtime_sum_ns INTEGER NOT NULL,
        downtime_last_ns INTEGER,
        lifetime_sum_ns INTEGER NOT NULL,
        lifetime_last_ns INTEGER,
        last_start INTEGER,
        last_exit INTEGER,
        peak_rss_bytes INTEGER
    ) STRICT"
    ),
    // `number` is an exit code or a signal.
    "CREATE TABLE exit_count (
        group_id INTEGER NOT NULL REFERENCES watched_group (id),
        reason TEXT NOT NULL CHECK (reason IN ('exit', 'signal', 'oom', 'unknown')),
        number INTEGER CHECK (number BETWEEN 0 AND 255),
        core_dumped INTEGER CHECK (core_dumped IN (0, 1)),
        count INTEGER NOT NULL,
        CHECK ((number IS NOT NULL) = (reason IN ('exit', 'signal'))),
        CHECK ((core_dumped IS NOT NULL) = (reason = 'signal'))
    ) STRICT",
    "CREATE INDEX exit_count_by_group ON exit_count (group_id)",
    // Buckets go by their bound, not their number, so that other bounds in a later version cannot mix with them; the
    // largest integer stands for "no bound".
    "CREATE TABLE duration_bucket (
        group_id INTEGER NOT NULL REFERENCES watched_group (id),
        kind TEXT NOT NULL CHECK (kind IN ('downtime', 'lifetime')),
        upper_bound_ns INTEGER NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (group_id, kind, upper_bound_ns)
    ) STRICT, WITHOUT ROWID",
    // `start_boottime_ns` is of CLOCK_BOOTTIME, good for the boot that `state` names.
    concat!(
        "CREATE TABLE member (
        group_id INTEGER NOT NULL REFERENCES watched_group (id),
        tgid INTEGER NOT NULL CHECK (tgid BETWEEN 0 AND 4294967295),
        start_boottime_ns INTEGER NOT NULL,
        name TEXT NOT NULL,
        exe TEXT NOT NULL,
        root INTEGER NOT NULL CHECK (root IN (0, 1)),
        executed INTEGER NOT NULL CHECK (executed IN (0, 1)),
        ended INTEGER NOT NULL CHECK (ended IN (0, 1)),
        former INTEGER NOT NULL CHECK (former IN (0, 1)), ",
        usage_columns!("base_"),
        usage_columns!("total_"),
        usage_columns!("attributed_"),
        "PRIMARY KEY (group_id, tgid, start_boottime_ns)
    ) STRICT, WITHOUT ROWID"
    ),
    "CREATE TABLE history (
        id INTEGER PRIMARY KEY,
        group_id INTEGER NOT NULL REFERENCES watched_group (id),
        time INTEGER NOT NULL,
        pid INTEGER NOT NULL CHECK (pid BETWEEN 0 AND 4294967295),
        start_time INTEGER,
        name TEXT NOT NULL,
        event TEXT NOT NULL CHECK (event IN ('start', 'exit', 'restart')),
        worker INTEGER CHECK (worker IN (0, 1)),
        restart_kind TEXT CHECK (restart_kind IN ('respawn', 'reexec')),
        reason TEXT CHECK (reason IN ('exit', 'signal', 'oom', 'unknown')),
        code INTEGER CHECK (code BETWEEN 0 AND 255),
        signal INTEGER CHECK (signal BETWEEN 0 AND 255),
        core_dumped INTEGER CHECK (core_dumped IN (0, 1)),
        sender_pid INTEGER CHECK (sender_pid BETWEEN 0 AND 4294967295),
        sender_comm TEXT,
        lifetime_ns INTEGER,
        downtime_ns INTEGER
    ) STRICT",
    "CREATE INDEX history_by_group ON history (group_id, id)",
    "CREATE TABLE outage (
        id INTEGER PRIMARY KEY,
        from_time INTEGER NOT NULL,
        to_time INTEGER NOT NULL,
        same_boot INTEGER NOT NULL CHECK (same_boot IN (0, 1))
    ) STRICT",
];

/// Restarts name the process that they replaced, also over a restart of kevmon; when collectors ran last (`plugin` is its
/// name with the instance).
const VERSION_4: &[&str] = &[
    "ALTER TABLE history ADD COLUMN previous_pid INTEGER CHECK (previous_pid BETWEEN 0 AND 4294967295)",
    "ALTER TABLE history ADD COLUMN previous_start_time INTEGER",
    "ALTER TABLE history ADD COLUMN previous_name TEXT",
    "ALTER TABLE history ADD COLUMN previous_ago_ns INTEGER",
    // Times are of CLOCK_BOOTTIME, good for the boot that `state` names. `status` is the wait status.
    "CREATE TABLE unpaired_end (
        group_id INTEGER NOT NULL REFERENCES watched_group (id),
        tgid INTEGER NOT NULL CHECK (tgid BETWEEN 0 AND 4294967295),
        start_boottime_ns INTEGER NOT NULL,
        since_boottime_ns INTEGER NOT NULL,
        end_boottime_ns INTEGER NOT NULL,
        name TEXT NOT NULL,
        first_executable TEXT NOT NULL,
        first_script TEXT NOT NULL,
        first_fallback TEXT NOT NULL,
        executable TEXT NOT NULL,
        script TEXT NOT NULL,
        fallback TEXT NOT NULL,
        status INTEGER CHECK (status BETWEEN 0 AND 4294967295),
        oom_victim INTEGER NOT NULL CHECK (oom_victim IN (0, 1)),
        sender_pid INTEGER CHECK (sender_pid BETWEEN 0 AND 4294967295),
        sender_comm TEXT,
        sender_signal INTEGER CHECK (sender_signal BETWEEN 0 AND 255)
    ) STRICT",
    "CREATE INDEX unpaired_end_by_group ON unpaired_end (group_id, end_boottime_ns)",
    "CREATE TABLE collector_run (
        plugin TEXT NOT NULL,
        collector TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        last_run INTEGER NOT NULL,
        PRIMARY KEY (plugin, collector)
    ) STRICT, WITHOUT ROWID",
];

/// The host that ids were made on; `host_name` is NULL where that was not kept yet. Processes are known to receivers by the
/// same attributes in each run of the same boot, and the series of those that end while kevmon is away are ended by the next
/// run.
const VERSION_5: &[&str] = &[
    "ALTER TABLE state ADD COLUMN host_id TEXT",
    "ALTER TABLE state ADD COLUMN host_name TEXT",
    // When CLOCK_BOOTTIME was 0, by the wall clock of the first run of the boot.
    "ALTER TABLE state ADD COLUMN boot_time INTEGER",
    // A JSON array of names and values: the attributes of the member's series. NULL: it has none.
    "ALTER TABLE member ADD COLUMN series TEXT",
    // What a root runs, so that the first start after a restart of kevmon is compared with all of it; NULL for other members.
    "ALTER TABLE member ADD COLUMN first_executable TEXT",
    "ALTER TABLE member ADD COLUMN first_script TEXT",
    "ALTER TABLE member ADD COLUMN first_fallback TEXT",
    "ALTER TABLE member ADD COLUMN executable TEXT",
    "ALTER TABLE member ADD COLUMN script TEXT",
    "ALTER TABLE member ADD COLUMN fallback TEXT",
    "ALTER TABLE state ADD COLUMN boot_began INTEGER",
];

const VERSION_6: &[&str] = &[
    // Ends that are counted and whose events wait for the totals. Times are of CLOCK_BOOTTIME.
    "CREATE TABLE untold_exit (
        group_id INTEGER NOT NULL REFERENCES watched_group (id),
        tgid INTEGER NOT NULL CHECK (tgid BETWEEN 0 AND 4294967295),
        start_boottime_ns INTEGER NOT NULL,
        end_boottime_ns INTEGER NOT NULL,
        status INTEGER CHECK (status BETWEEN 0 AND 4294967295),
        oom_victim INTEGER NOT NULL CHECK (oom_victim IN (0, 1)),
        sender_pid INTEGER CHECK (sender_pid BETWEEN 0 AND 4294967295),
        sender_comm TEXT,
        sender_signal INTEGER CHECK (sender_signal BETWEEN 0 AND 255)
    ) STRICT",
    "CREATE INDEX untold_exit_by_group ON untold_exit (group_id)",
];

const VERSION_7: &[&str] = &[
    // How far the kernel side's ring (its map's id, a position in bytes, records before it) had been taken at the last commit, and
    // what had been told of its losses. `losses` are integers of eight bytes, little-endian; `lives` is as the kernel side
    // lays it out, for a kevmon with the same layout alone. `groups` stands for the set of groups that the run kept.
    "CREATE TABLE progress (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        ring INTEGER NOT NULL CHECK (ring BETWEEN 0 AND 4294967295),
        position INTEGER NOT NULL,
        received INTEGER NOT NULL,
        losses BLOB NOT NULL,
        lives BLOB NOT NULL,
        groups INTEGER NOT NULL,
        is_told INTEGER NOT NULL CHECK (is_told IN (0, 1))
    ) STRICT",
];

/// The user of a process, where it is known: what is bounded is shared among users, also after a restart of kevmon.
const VERSION_8: &[&str] = &[
    "ALTER TABLE history ADD COLUMN uid INTEGER CHECK (uid BETWEEN 0 AND 4294967295)",
    "ALTER TABLE unpaired_end ADD COLUMN uid INTEGER CHECK (uid BETWEEN 0 AND 4294967295)",
    "ALTER TABLE member ADD COLUMN uid INTEGER CHECK (uid BETWEEN 0 AND 4294967295)",
];

/// What `kevmon why` tells: who started a process, what it executed, what it used. `programs` is a JSON array of names.
const VERSION_9: &[&str] = &[
    "ALTER TABLE history ADD COLUMN parent_pid INTEGER CHECK (parent_pid BETWEEN 0 AND 4294967295)",
    "ALTER TABLE history ADD COLUMN parent_name TEXT",
    "ALTER TABLE history ADD COLUMN exe TEXT",
    "ALTER TABLE history ADD COLUMN programs TEXT",
    "ALTER TABLE history ADD COLUMN cpu_time_ns INTEGER",
    "ALTER TABLE history ADD COLUMN peak_rss_bytes INTEGER",
    "ALTER TABLE history ADD COLUMN settled INTEGER CHECK (settled IN (0, 1))",
];

/// What the tables of the original hold goes into kevmon's own; they themselves stay as they are. Each with the
/// table and the columns that it needs: databases from before 1.0 lack some, and the statement then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Import {
    pub(super) table: &'static str,
    pub(super) columns: &'static [&'static str],
    pub(super) statement: &'static str,
}

macro_rules! nanos {
    ($column:literal) => {
        // The original writes local time without a zone.
        concat!(
            "CAST(round(unixepoch(",
            $column,
            ", 'utc', 'subsec') * 1000) AS INTEGER) * 1000000"
        )
    };
}

/// In the order in which they are run.
pub(super) const IMPORTS: &[Import] = &[
    Import {
        table: "hosts",
        columns: &["id", "hostname", "first_seen", "last_seen"],
        statement: concat!(
            "INSERT INTO host (id, name, first_seen, last_seen)
             SELECT CAST(id AS TEXT), CAST(hostname AS TEXT), ", nanos!("first_seen"), ", ", nanos!("last_seen"), "
             FROM hosts WHERE id IS NOT NULL AND hostname IS NOT NULL"
        ),
    },
    Import {
        table: "service_namespaces",
        columns: &["id", "namespace", "first_seen", "last_seen"],
        statement: concat!(
            "INSERT INTO namespace (id, name, first_seen, last_seen)
             SELECT CAST(id AS TEXT), CAST(namespace AS TEXT), ", nanos!("first_seen"), ", ", nanos!("last_seen"), "
             FROM service_namespaces WHERE id IS NOT NULL AND namespace IS NOT NULL"
        ),
    },
    Import {
        table: "services",
        columns: &["id", "full_name", "display_name", "first_seen", "last_seen"],
        statement: concat!(
            "INSERT INTO service (id, name, stored_name, display_name, original_name, first_seen, last_seen)
             SELECT CAST(id AS TEXT), CAST(full_name AS TEXT), CAST(full_name AS TEXT), CAST(display_name AS TEXT),
                 CAST(full_name AS TEXT), ", nanos!("first_seen"), ", ", nanos!("last_seen"), "
             FROM services WHERE id IS NOT NULL AND full_name IS NOT NULL"
        ),
    },
    Import {
        table: "services",
        columns: &["id", "host_id", "namespace_id"],
        statement: "UPDATE service SET host_id = CAST(old.host_id AS TEXT), namespace_id = CAST(old.namespace_id AS TEXT)
             FROM services AS old WHERE service.id = CAST(old.id AS TEXT)",
    },
    Import {
        table: "metrics",
        columns: &["id", "service_id", "name", "display_name", "unit", "first_seen", "last_seen"],
        statement: concat!(
            "INSERT INTO metric (id, service_id, name, display_name, unit, first_seen, last_seen)
             SELECT CAST(id AS TEXT), CAST(service_id AS TEXT), CAST(name AS TEXT), CAST(display_name AS TEXT),
                 CAST(unit AS TEXT), ", nanos!("first_seen"), ", ", nanos!("last_seen"), "
             FROM metrics WHERE id IS NOT NULL AND service_id IS NOT NULL AND name IS NOT NULL"
        ),
    },
    Import {
        table: "metrics",
        columns: &["id", "otel_type"],
        statement: "UPDATE metric SET instrument = CAST(old.otel_type AS TEXT)
             FROM metrics AS old WHERE metric.id = CAST(old.id AS TEXT)",
    },
];
