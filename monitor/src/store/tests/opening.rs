//! What may lie at the path.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    sync::Arc,
};

use rusqlite::Connection;

use super::{
    BOOT, Content, NOW, Scratch, assert_groups, child, child_arguments, dump, filled, fixtures::ORIGINALS,
    key, open, ready, refused,
};
use crate::{
    plugin::SavedGroup,
    process::BootTime,
    store::{Commit, GroupKey, Store, StoreError, history, schema::APPLICATION_ID},
};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_one_is_its_owners_alone() {
    let scratch = Scratch::new();
    let folder = scratch.0.join("state/kevmon");
    let path = folder.join("kevmon.db");
    let mut store = open(&path);
    assert_eq!(
        (store.groups().len(), store.outage(), store.notes()),
        (0, None, &[][..])
    );
    store.commit(Commit::default()).unwrap();
    for (path, expected) in [
        (folder.clone(), 0o700),
        (scratch.0.join("state"), 0o700),
        (path.clone(), 0o600),
        (folder.join("kevmon.db-wal"), 0o600),
        (folder.join("kevmon.db.lock"), 0o600),
    ] {
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
}

#[test]
fn every_table_and_column_is_documented() {
    let scratch = Scratch::new();
    drop(open(&scratch.store()));
    let connection = Connection::open(scratch.store()).unwrap();
    let columns = "SELECT tables.name, columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
                   WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%'";
    let mut statement = connection.prepare(columns).unwrap();
    let columns: Vec<(String, String)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(columns.len() > 100, "{columns:?}");
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/store.md")).unwrap();
    let (_, section) = page.split_once("## Tables").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let (tables, sums) = section.split_once("`*` stands for").unwrap();
    for (table, column) in columns {
        let row = tables
            .lines()
            .find(|line| line.starts_with(&format!("| `{table}` |")))
            .unwrap_or_else(|| panic!("no table {table}"));
        let is_sum = column.split_once('_').is_some_and(|(prefix, sum)| {
            row.contains(&format!("`{prefix}_*`")) && sums.contains(&format!("`{sum}`"))
        });
        assert!(
            is_sum || row.contains(&format!("`{column}`")),
            "{table} has a column {column}"
        );
    }
}

#[test]
fn groups_come_back_and_the_outage_is_told() {
    let scratch = Scratch::new();
    let groups = filled(&scratch.store());
    for (boot, same_boot) in [(BOOT, true), ("another", false)] {
        let store = ready(Store::open(&scratch.store(), boot, NOW + 7));
        assert_groups(&store, &groups);
        let outage = store.outage().unwrap();
        assert_eq!(
            (outage.from, outage.to, outage.same_boot),
            (NOW, NOW + 7, same_boot)
        );
    }
}

#[test]
fn an_outage_ends_when_kevmon_watches_again() {
    let scratch = Scratch::new();
    filled(&scratch.store());
    for (round, from) in [(1, NOW), (2, NOW + 50)] {
        let mut store = ready(Store::open(&scratch.store(), BOOT, from + 7));
        store.attached(from + 9, BootTime(0));
        assert_eq!(store.outage().unwrap().to, from + 9);
        assert_eq!(store.outages(), (round, 9 * round));
        for time in [from + 40, from + 50] {
            let commit = Commit {
                time,
                ..Commit::default()
            };
            store.commit(commit).unwrap();
        }
        assert_eq!(store.outages(), (round, 9 * round));
        let outages = history(&scratch.store(), None).unwrap().outages;
        assert_eq!(outages.last(), store.outage().as_ref(), "as it is told");
        assert_eq!(outages.len() as u64, round);
    }
}

/// Who was left out for a run may have ended, and its processes' keys may be others' by now.
#[test]
fn only_what_the_last_run_kept_goes_on() {
    let scratch = Scratch::new();
    let groups = filled(&scratch.store());
    let (web, db) = (&groups[0], &groups[1]);
    let same_boot = |store: &Store| {
        [web, db].map(|(key, group)| {
            let kept = store.group(&key.key).unwrap();
            assert_eq!(kept.saved, *group, "whichever run kept it");
            kept.same_boot
        })
    };
    let run = |groups: &[(Arc<GroupKey>, SavedGroup)]| {
        let mut store = open(&scratch.store());
        let before = same_boot(&store);
        // Due at different times.
        for group in groups {
            let commit = Commit {
                time: NOW,
                groups: vec![group.clone()],
                ..Commit::default()
            };
            store.commit(commit).unwrap();
        }
        before
    };
    assert_eq!(run(&[]), [true, true]);
    assert_eq!(
        run(std::slice::from_ref(web)),
        [true, true],
        "a run without a commit is none"
    );
    assert_eq!(run(&[db.clone(), web.clone()]), [true, false]);
    assert_eq!(run(&[web.clone(), db.clone()]), [true, true]);
    let another_boot = ready(Store::open(&scratch.store(), "another", NOW));
    assert_eq!(same_boot(&another_boot), [false, false]);
}

#[test]
fn a_newer_one_is_left_untouched() {
    let ours = |sql: &'static str| {
        move |path: &std::path::Path| {
            filled(path);
            Connection::open(path).unwrap().execute_batch(sql).unwrap();
        }
    };
    let original = |path: &std::path::Path| {
        ORIGINALS[5].create(path);
        let sql = "INSERT INTO schema_version (version, updated_date) VALUES ('3.0', '2026-01-01')";
        Connection::open(path).unwrap().execute_batch(sql).unwrap();
    };
    type Case<'a> = (&'a str, &'a dyn Fn(&std::path::Path));
    let cases: [Case<'_>; 2] = [
        ("10.0", &ours("PRAGMA user_version = 10; CREATE TABLE news (a)")),
        ("3.0", &original),
    ];
    for (version, create) in cases {
        let scratch = Scratch::new();
        create(&scratch.store());
        let before = scratch.files();
        let error = refused(&scratch.store());
        assert!(
            matches!(&error, StoreError::Newer { found, .. } if found == version),
            "{error}"
        );
        assert_eq!(scratch.files(), before, "{error}");
    }
}

#[test]
fn the_log_of_a_newer_one_is_left_untouched_too() {
    let scratch = Scratch::new();
    filled(&scratch.store());
    // Killed while its last commits were in the log alone.
    let writer = Connection::open(scratch.store()).unwrap();
    writer
        .execute_batch("PRAGMA user_version = 10; CREATE TABLE news (a)")
        .unwrap();
    let elsewhere = Scratch::new();
    for (path, Content(content)) in scratch.files() {
        fs::write(elsewhere.0.join(path.file_name().unwrap()), content).unwrap();
    }
    drop(writer);
    let before = elsewhere.files();
    assert_eq!(before.len(), 2, "a database and its log");
    let error = refused(&elsewhere.store());
    assert!(matches!(error, StoreError::Newer { .. }), "{error}");
    assert_eq!(elsewhere.files(), before);
}

#[test]
fn another_programs_database_is_left_untouched() {
    let mark = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 2");
    for sql in [
        "CREATE TABLE bookmarks (url TEXT)",
        "PRAGMA application_id = 77; CREATE TABLE services (id)",
        "PRAGMA application_id = 77",
        "PRAGMA user_version = 12; CREATE TABLE t (a)",
        // Tables such as the original's, under another program's mark.
        "PRAGMA user_version = 12; CREATE TABLE services (id, full_name); CREATE TABLE format_rules (pattern, replacement);
         CREATE TABLE metrics (id, service_id, name)",
        mark.as_str(),
    ] {
        let scratch = Scratch::new();
        Connection::open(scratch.store())
            .unwrap()
            .execute_batch(sql)
            .unwrap();
        let before = scratch.files();
        let error = refused(&scratch.store());
        assert!(matches!(error, StoreError::Foreign { .. }), "{sql}: {error}");
        assert_eq!(scratch.files(), before, "{sql}");
    }
}

#[test]
fn two_daemons_never_share_one() {
    let scratch = Scratch::new();
    let groups = filled(&scratch.store());
    let first = open(&scratch.store());
    let error = refused(&scratch.store());
    assert!(
        error
            .to_string()
            .contains(&format!("(pid {}, ", std::process::id())),
        "{error}"
    );
    drop(first);

    let mut holder = child("opening::holds_the_store", &scratch.store(), 0)
        .spawn()
        .unwrap();
    let mut output = BufReader::new(holder.stdout.take().unwrap()).lines();
    while !output.next().unwrap().unwrap().contains("held") {}
    let error = refused(&scratch.store());
    assert!(
        matches!(&error, StoreError::InUse { holder: named, .. } if named.pid == Some(holder.id())),
        "{error}"
    );
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_groups(&open(&scratch.store()), &groups);
}

#[test]
#[ignore = "run by two_daemons_never_share_one"]
fn holds_the_store() {
    let Some((path, _)) = child_arguments() else {
        return;
    };
    let _store = open(&path);
    println!("held");
    std::thread::sleep(std::time::Duration::from_secs(60));
}

#[test]
fn another_programs_lock_keeps_the_data() {
    let scratch = Scratch::new();
    let groups = filled(&scratch.store());
    let other = Connection::open(scratch.store()).unwrap();
    other
        .execute_batch("PRAGMA journal_mode = DELETE; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")
        .unwrap();
    let started = std::time::Instant::now();
    let error = refused(&scratch.store());
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    assert!(started.elapsed().as_millis() < 1_000);
    drop(other);
    assert_groups(&open(&scratch.store()), &groups);
}

#[test]
fn folders_and_pipes_are_no_stores() {
    let scratch = Scratch::new();
    let pipe = scratch.0.join("pipe");
    let name = std::ffi::CString::new(pipe.as_os_str().as_bytes()).unwrap();
    // SAFETY: `name` is a NUL-terminated string that outlives the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    for path in [
        scratch.0.as_path(),
        pipe.as_path(),
        "/".as_ref(),
        "/dev/null".as_ref(),
    ] {
        let error = refused(path);
        assert!(matches!(error, StoreError::NotAFile { .. }), "{error}");
    }
    assert!(matches!(
        refused("/proc/1/x/y".as_ref()),
        StoreError::Io { .. } | StoreError::ReadOnly { .. }
    ));
}

#[test]
fn a_path_need_not_be_utf8() {
    let scratch = Scratch::new();
    let path = scratch.0.join(OsStr::from_bytes(b"st\xffre/k\xfe.db"));
    let groups = filled(&path);
    assert_groups(&open(&path), &groups);
    assert!(path.is_file());
    assert_eq!(
        fs::read_dir(&scratch.0).unwrap().count(),
        1,
        "nothing under another name"
    );
}

#[test]
fn a_link_is_followed_on_the_way_and_refused_in_the_last_place() {
    let scratch = Scratch::new();
    let groups = filled(&scratch.store());
    let link = scratch.0.join("link.db");
    symlink(scratch.store(), &link).unwrap();
    assert!(matches!(refused(&link), StoreError::Refused { .. }));
    let folder = scratch.0.join("folder");
    symlink(".", &folder).unwrap();
    let store = open(&folder.join("kevmon.db"));
    assert_groups(&store, &groups);
    // The same lock, whichever way one comes.
    assert!(matches!(refused(&scratch.store()), StoreError::InUse { .. }));
}

#[test]
fn opening_twice_changes_nothing() {
    let scratch = Scratch::new();
    filled(&scratch.store());
    let before = dump(&scratch.store());
    drop(open(&scratch.store()));
    assert_eq!(dump(&scratch.store()), before);
}

#[test]
fn a_lock_that_is_left_behind_locks_nothing() {
    let scratch = Scratch::new();
    fs::write(scratch.0.join("kevmon.db.lock"), "1\n").unwrap();
    let mut store = open(&scratch.store());
    let group = (key("web"), super::Random(3).group(1));
    store
        .commit(Commit {
            time: NOW,
            groups: vec![group.clone()],
            ..Commit::default()
        })
        .unwrap();
    assert_groups(&store, &[group]);
}
