//! From every version to the present one, whole or cut short.

use std::{fs, path::Path};

use rusqlite::Connection;

use super::{
    BOOT, NOW, Scratch, Table, assert_groups, child, child_arguments, count, dump, filled,
    fixtures::{Fixture, METRIC_ROWS, ORIGINALS, SERVICE_ROWS, metric_id},
    key, kill_self, open,
};
use crate::{
    plugin::RestartKind,
    store::{
        Commit, Event, Note, Store, StoreError,
        open::{Loaded, Opening},
        schema::{PRESENT, STEPS, Step},
    },
};

/// As a later version may do it: kevmon's own older schema is migrated by the same code.
const LATER: &[Step] = &[
    STEPS[0],
    STEPS[1],
    STEPS[2],
    STEPS[3],
    STEPS[4],
    STEPS[5],
    STEPS[6],
    Step {
        to: 10,
        statements: &[
            "ALTER TABLE accumulator ADD COLUMN later INTEGER",
            "UPDATE accumulator SET later = starts",
            "CREATE TABLE addition (a INTEGER) STRICT",
            "INSERT INTO addition SELECT group_id FROM accumulator",
        ],
    },
];

/// Opens with other steps, or with an interruption.
fn run(
    path: &Path,
    steps: &[Step],
    after: &mut dyn FnMut(usize) -> Result<(), StoreError>,
) -> Result<Loaded, StoreError> {
    Opening {
        steps,
        ..Opening::new(path, NOW, after)
    }
    .run()
}

/// The tables of the original, without the one that is continued.
fn originals(tables: Vec<Table>) -> Vec<Table> {
    const NAMES: [&str; 5] = [
        "hosts",
        "service_namespaces",
        "services",
        "metrics",
        "format_rules",
    ];
    tables
        .into_iter()
        .filter(|(name, _)| NAMES.contains(&name.as_str()))
        .collect()
}

fn backup(scratch: &Scratch, version: &str) -> std::path::PathBuf {
    scratch.0.join(format!("kevmon.db.schema-{version}.bak"))
}

/// Every id and row is there, exactly once, and what it was before is beside it.
#[track_caller]
fn assert_migrated(fixture: &Fixture, scratch: &Scratch, before: &[Table]) {
    let (name, path) = (fixture.name, scratch.store());
    assert_eq!(originals(dump(&path)), originals(before.to_vec()), "{name}");
    assert_eq!(dump(&backup(scratch, fixture.version)), before, "{name}");
    assert_eq!(count(&path, "PRAGMA user_version"), i64::from(PRESENT), "{name}");
    let services = SERVICE_ROWS.len() as i64;
    assert_eq!(count(&path, "SELECT count(*) FROM service"), services, "{name}");
    let store = open(&path);
    assert!(!store.is_new(), "{name}: what the original knew is here");
    for (number, (id, namespace, full_name, _)) in SERVICE_ROWS.into_iter().enumerate() {
        let namespace = namespace.unwrap_or("anything");
        assert_eq!(
            store.service_id(namespace, full_name).as_deref(),
            Some(id),
            "{name}"
        );
        for (position, (metric, unit, is_counter)) in METRIC_ROWS.into_iter().enumerate() {
            let instrument = match (fixture.has_types(), is_counter) {
                (false, _) => "IS NULL",
                (true, true) => "= 'Counter'",
                (true, false) => "= 'Gauge'",
            };
            let sql = format!(
                "SELECT count(*) FROM metric WHERE id = '{}' AND service_id = '{id}' AND name = '{metric}'
                 AND unit = '{unit}' AND instrument {instrument} AND display_name = '{metric}!'
                 AND last_seen - first_seen = 89999877000000",
                metric_id(number, position)
            );
            assert_eq!(count(&path, &sql), 1, "{name}: {metric}");
        }
    }
    assert_eq!(
        store.host_id("web1").is_some(),
        fixture.has_namespaces(),
        "{name}"
    );
    let metrics = services * METRIC_ROWS.len() as i64;
    assert_eq!(count(&path, "SELECT count(*) FROM metric"), metrics, "{name}");
    let ours = "SELECT count(*) FROM schema_version WHERE version = '9.0' AND updated_date = '2026-11-21T03:26:19.000'";
    assert_eq!(count(&path, ours), 1, "{name}");
    let copies = scratch
        .files()
        .iter()
        .filter(|(path, _)| path.to_string_lossy().contains(".bak"))
        .count();
    assert_eq!(copies, 1, "{name}: one copy");
}

#[test]
fn every_version_of_the_original() {
    for fixture in &ORIGINALS {
        let scratch = Scratch::new();
        fixture.create(&scratch.store());
        let before = dump(&scratch.store());
        let store = open(&scratch.store());
        let expected = Note::Migrated {
            from: fixture.version.to_owned(),
            copy: backup(&scratch, fixture.version),
        };
        assert_eq!(store.notes(), [expected], "{}", fixture.name);
        assert_eq!((store.groups().len(), store.outage()), (0, None));
        drop(store);
        assert_migrated(fixture, &scratch, &before);
        assert_eq!(open(&scratch.store()).notes(), [], "{}: only once", fixture.name);
    }
}

#[test]
fn the_versions_of_the_original_stay_recorded() {
    let scratch = Scratch::new();
    ORIGINALS[6].create(&scratch.store());
    open(&scratch.store());
    let versions = "SELECT group_concat(version) = '1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0,9.0' FROM (SELECT version FROM schema_version ORDER BY id)";
    assert_eq!(count(&scratch.store(), versions), 1);
}

/// As the first kevmon left it: its groups go on, and what came later is there and empty.
#[test]
fn the_first_version_of_our_own() {
    let scratch = Scratch::new();
    // The file is made; what reads it afterwards looks for the later tables.
    let made = run(&scratch.store(), &STEPS[..1], &mut |_| Ok(()));
    assert!(made.is_err(), "the first version has all tables");
    let store = open(&scratch.store());
    let expected = Note::Migrated {
        from: "3.0".to_owned(),
        copy: backup(&scratch, "3.0"),
    };
    assert_eq!((store.notes(), store.collector_runs()), (&[expected][..], vec![]));
}

#[test]
fn our_own_older_version() {
    let scratch = Scratch::new();
    let groups = filled(&scratch.store());
    let before = dump(&scratch.store());
    let loaded = run(&scratch.store(), LATER, &mut |_| Ok(())).unwrap();
    let copy = backup(&scratch, "9.0");
    assert_eq!(
        loaded.notes,
        [Note::Migrated {
            from: "9.0".to_owned(),
            copy: copy.clone()
        }]
    );
    drop(loaded);
    assert_eq!(dump(&copy), before);
    assert_eq!(
        count(
            &scratch.store(),
            "SELECT count(*) FROM accumulator WHERE later = starts"
        ),
        3
    );
    // The present kevmon keeps its hands off it now.
    assert!(matches!(
        super::refused(&scratch.store()),
        StoreError::Newer { .. }
    ));
    fs::copy(&copy, scratch.store()).unwrap();
    assert_groups(&open(&scratch.store()), &groups);
}

#[test]
fn a_database_of_version_3_keeps_its_history() {
    let scratch = Scratch::new();
    let loaded = run(&scratch.store(), &STEPS[..1], &mut |_| Ok(()));
    assert!(loaded.is_err(), "it is made, and lacks what is read today");
    Connection::open(scratch.store())
        .unwrap()
        .execute_batch(
            "INSERT INTO watched_group (id, key, plugin, run) VALUES (1, 'web/x', 'web', 1);
             INSERT INTO history (group_id, time, pid, start_time, name, event, restart_kind, downtime_ns)
             VALUES (1, 5, 7, 3, 'nginx', 'restart', 'respawn', 250);",
        )
        .unwrap();
    drop(open(&scratch.store()));
    let history = crate::store::history(&scratch.store(), None).unwrap();
    let [row] = &history.rows[..] else {
        panic!("{:?}", history.rows);
    };
    assert_eq!(
        row.event,
        Event::Restart {
            kind: RestartKind::Respawn,
            downtime: Some(250),
            previous: None,
        },
        "what it replaced was not kept then"
    );
}

/// What its roots ran was not kept then: their names have to do, and those of an interpreter leave its script open.
#[test]
fn a_database_of_version_4_keeps_its_members() {
    let scratch = Scratch::new();
    let loaded = run(&scratch.store(), &STEPS[..2], &mut |_| Ok(()));
    assert!(loaded.is_err(), "it is made, and lacks what is read today");
    Connection::open(scratch.store())
        .unwrap()
        .execute_batch(
            "INSERT INTO watched_group (id, key, plugin, run) VALUES (1, 'web/x', 'web', 1);
             INSERT INTO accumulator (group_id, watch_start, usage_start, starts, worker_starts, respawns, reexecs,
                 unpaired_starts, failed_starts, exits, joins, leaves, given_up, downtime_sum_ns, lifetime_sum_ns)
             VALUES (1, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
             INSERT INTO member (group_id, tgid, start_boottime_ns, name, exe, root, executed, ended, former)
             VALUES (1, 7, 3, 'java', 'java', 1, 0, 0, 0), (1, 8, 3, 'app', 'app', 1, 0, 0, 0);",
        )
        .unwrap();
    let kept = open(&scratch.store()).group("web/x").expect("it is kept");
    let open: Vec<bool> = kept
        .saved
        .members
        .iter()
        .map(|member| {
            assert_eq!(member.programs, None, "{member:?}");
            member.programs().first.is_open()
        })
        .collect();
    assert_eq!(open, [true, false]);
}

#[test]
fn an_earlier_copy_is_never_overwritten() {
    let scratch = Scratch::new();
    ORIGINALS[4].create(&scratch.store());
    let before = dump(&scratch.store());
    let earlier = backup(&scratch, "1.0");
    fs::write(&earlier, "precious").unwrap();
    let store = open(&scratch.store());
    let [Note::Migrated { copy, .. }] = store.notes() else {
        panic!("{:?}", store.notes());
    };
    assert_eq!(fs::read(&earlier).unwrap(), b"precious");
    assert_eq!(copy, &scratch.0.join("kevmon.db.schema-1.0.bak.1"));
    assert_eq!(dump(copy), before);
}

/// A name, what puts it there, and the steps to take from it.
type Start = (String, Box<dyn Fn(&Scratch)>, &'static [Step]);

/// What there is to migrate: the original's versions, nothing at all, and our own older one.
fn starts() -> Vec<Start> {
    let mut starts: Vec<Start> = Vec::new();
    for (number, fixture) in ORIGINALS.iter().enumerate() {
        let create = move |scratch: &Scratch| ORIGINALS[number].create(&scratch.store());
        starts.push((fixture.name.to_owned(), Box::new(create), STEPS));
    }
    starts.push(("nothing".to_owned(), Box::new(|_: &Scratch| {}), STEPS));
    let ours = |scratch: &Scratch| {
        filled(&scratch.store());
    };
    starts.push(("ours".to_owned(), Box::new(ours), LATER));
    starts
}

/// Interrupts at statement after statement of the same file, until there is none left; then all is there.
fn interrupted(interrupt: &dyn Fn(&Path, &'static [Step], usize) -> bool) {
    for (number, (name, create, steps)) in starts().into_iter().enumerate() {
        let scratch = Scratch::new();
        create(&scratch);
        let existed = scratch.store().is_file();
        let before = if existed {
            dump(&scratch.store())
        } else {
            Vec::new()
        };
        let mut statement = 0;
        while !interrupt(&scratch.store(), steps, statement) {
            assert_eq!(
                dump(&scratch.store()),
                before,
                "{name}, after statement {statement}"
            );
            statement += 1;
            assert!(statement < 100, "{name}: no end");
        }
        assert!(statement > 5, "{name}: {statement} interruptions");
        match ORIGINALS.get(number) {
            Some(fixture) => assert_migrated(fixture, &scratch, &before),
            None if existed => {
                assert_eq!(dump(&backup(&scratch, "9.0")), before);
                assert_eq!(count(&scratch.store(), "SELECT count(*) FROM addition"), 3);
                assert_eq!(count(&scratch.store(), "SELECT count(*) FROM member"), 60);
            }
            None => assert_eq!(open(&scratch.store()).groups().len(), 0),
        }
    }
}

#[test]
fn given_up_at_each_statement() {
    interrupted(&|path, steps, statement| {
        let mut give_up = |done| {
            if done == statement {
                return Err(StoreError::Full {
                    path: path.to_owned(),
                    doing: "be interrupted",
                });
            }
            Ok(())
        };
        match run(path, steps, &mut give_up) {
            Ok(_) => true,
            Err(StoreError::Full { .. }) => false,
            Err(error) => panic!("statement {statement}: {error}"),
        }
    });
}

#[test]
fn killed_at_each_statement() {
    interrupted(&|path, steps, statement| {
        let number = statement * 2 + usize::from(steps.len() > STEPS.len());
        let status = child("migration::dies_in_a_migration", path, number)
            .status()
            .unwrap();
        assert!(
            status.success() || std::os::unix::process::ExitStatusExt::signal(&status) == Some(9),
            "statement {statement}: {status}"
        );
        status.success()
    });
}

#[test]
#[ignore = "run by killed_at_each_statement"]
fn dies_in_a_migration() {
    let Some((path, number)) = child_arguments() else {
        return;
    };
    let steps = if number % 2 == 1 { LATER } else { STEPS };
    let mut die = |done| {
        if done == number / 2 {
            kill_self();
        }
        Ok(())
    };
    run(&path, steps, &mut die).unwrap();
}

#[test]
fn a_service_that_the_original_writes_meanwhile_locks_it() {
    let scratch = Scratch::new();
    ORIGINALS[5].create(&scratch.store());
    let before = dump(&scratch.store());
    let python = Connection::open(scratch.store()).unwrap();
    python
        .execute_batch("BEGIN IMMEDIATE; DELETE FROM metrics")
        .unwrap();
    let error = super::refused(&scratch.store());
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    python.execute_batch("ROLLBACK").unwrap();
    drop(python);
    let mut store = super::ready(Store::open(&scratch.store(), BOOT, NOW));
    store
        .commit(Commit {
            time: NOW,
            groups: vec![(key("web"), super::Random(1).group(1))],
            ..Commit::default()
        })
        .unwrap();
    drop(store);
    assert_migrated(&ORIGINALS[5], &scratch, &before);
}
