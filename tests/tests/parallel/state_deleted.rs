//! The state is deleted, moved away or replaced under a running daemon, which is killed then: counters go on.

use std::{fs, path::Path, time::Duration};

use kevmon_tests::{history, kevmon::Daemon, scratch::Scratch, truth, wait, workload::Program};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(20);

fn beside(database: &Path, suffix: &str) -> std::path::PathBuf {
    format!("{}{suffix}", database.display()).into()
}

fn start(program: &Program, database: &Path) -> Daemon {
    Daemon::start(&[
        "--interval",
        "300ms",
        "--process-name",
        &program.pattern(),
        "--metadata-db-path",
        database.to_str().expect("UTF-8"),
    ])
}

/// Starts, ends and the group's first watch.
fn counted(daemon: &mut Daemon, plugin: &str, starts: u64) -> (u64, u64, u64) {
    let tick = daemon.wait_until("all starts", LIMIT, |tick| {
        let group = tick.group(plugin);
        group.is_some_and(|group| group.int("starts") >= starts && group.int("exits") >= starts)
    });
    let group = tick.expect_group(plugin);
    (group.int("starts"), group.int("exits"), group.start_time())
}

#[test]
fn a_kill_after_the_state_was_deleted_loses_nothing() {
    let remove = |database: &Path, suffixes: &[&str]| {
        for suffix in suffixes {
            fs::remove_file(beside(database, suffix)).expect("it is there");
        }
    };
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path));
    let damages: [Damage; 6] = [
        ("the database", &|path| remove(path, &[""])),
        ("all of it", &|path| remove(path, &["", "-wal", "-shm", ".lock"])),
        ("the log", &|path| remove(path, &["-wal"])),
        ("the index of the log", &|path| remove(path, &["-shm"])),
        ("the folder", &|path| {
            fs::remove_dir_all(path.parent().expect("a folder")).expect("it is there")
        }),
        ("the database, by a rename", &|path| {
            fs::rename(path, beside(path, ".away")).expect("it is there")
        }),
    ];
    let scratch = Scratch::new();
    for (number, (what, damage)) in damages.into_iter().enumerate() {
        let database = scratch.path().join(format!("state{number}")).join("metadata.db");
        let program = Program::new(WORKLOAD, "deleted");
        let plugin = program.plugin();
        let mut daemon = start(&program, &database);
        daemon.next_tick(LIMIT);
        truth::spawn(&program, &["exit", "3"]).reap();
        let before = counted(&mut daemon, &plugin, 1);
        damage(&database);
        truth::spawn(&program, &["exit", "4"]).reap();
        let told = counted(&mut daemon, &plugin, before.0 + 1);
        wait::until("it to be noticed", LIMIT, || {
            daemon.stderr().contains("while kevmon runs").then_some(())
        });
        // What was told is in the state: it is committed first.
        daemon.kill();
        let mut daemon = start(&program, &database);
        let now = counted(&mut daemon, &plugin, told.0);
        assert_eq!(now, told, "after {what} was deleted");
        let log = daemon.stderr();
        assert!(!log.contains("moved to"), "{what}: {log}");
        daemon.terminate();
        let rows = history::rows(&database, Some(&plugin));
        let exits = rows.iter().filter(|row| row["event"] == "exit").count() as u64;
        assert_eq!(exits, told.1, "{what}: events");
    }
}
