//! The store against real files, real locks, real disks and real kills.

mod commits;
mod damage;
mod disk;
mod fixtures;
mod history;
mod identities;
mod in_place;
mod kills;
mod measure;
mod migration;
mod opening;
mod seed;
mod sharing;
mod spool;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use rusqlite::{Connection, OpenFlags, types::Value};

use super::{Commit, GroupKey, Note, Opened, Store, StoreError, ThisBoot};
use crate::{
    plugin::{Durations, Programs, SavedEnd, SavedExit, SavedGroup, SavedMember, reading::Happened},
    process::{BootTime, Counter, Ending, ProcessKey, Program, Reason, Sender, Tgid, Usage},
};

const BOOT: &str = "11111111-2222-3333-4444-555555555555";
const NOW: u64 = 1_795_231_579_000_000_000;

/// What the tests look at and the daemon does not.
impl Store {
    /// What was done at opening; it has been logged.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// All groups as of their last commit, by key. Members are good for the boot of [`Self::outage`]'s `same_boot` only.
    pub fn groups(&self) -> HashMap<String, SavedGroup> {
        self.written
            .iter()
            .map(|(key, written)| (key.clone(), written.to_group()))
            .collect()
    }

    /// The id of the service that is or was known by this name, in the original framework too.
    pub fn service_id(&self, namespace: &str, name: &str) -> Option<String> {
        self.identities.service_id(namespace, name).map(str::to_owned)
    }

    /// The id of the host of this name.
    pub fn host_id(&self, name: &str) -> Option<String> {
        self.identities.host_id(name).map(str::to_owned)
    }
}

/// A folder of the test's own.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// In memory where that can be had: what these tests kill is kevmon and not the host, and a disk that has to flush for
    /// each of some thousand commits disturbs whatever else is being measured.
    pub(super) fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        Self::below(if memory.is_dir() {
            memory
        } else {
            std::env::temp_dir()
        })
    }

    fn on_disk() -> Self {
        Self::below(std::env::temp_dir())
    }

    fn below(folder: PathBuf) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("kevmon-store-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn store(&self) -> PathBuf {
        self.0.join("kevmon.db")
    }

    fn files(&self) -> Vec<(PathBuf, Content)> {
        files(&self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a file holds; a failed assertion tells no more of it than its length.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Content(Vec<u8>);

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

#[track_caller]
fn content(path: &Path) -> Content {
    Content(fs::read(path).unwrap())
}

/// Names and contents, without locks and what SQLite puts up again by itself.
fn files(folder: &Path) -> Vec<(PathBuf, Content)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.to_string_lossy();
            path.is_file() && !name.ends_with(".lock") && !name.ends_with("-shm")
        })
        .map(|path| (path.clone(), content(&path)))
        .collect();
    files.sort();
    files
}

/// The boot of this name.
pub(super) fn named(boot_id: &str) -> ThisBoot {
    ThisBoot {
        id: Some(boot_id.to_owned()),
        began: NOW,
        now: BootTime(0),
        proc: PathBuf::from("/nonexistent"),
    }
}

#[track_caller]
fn ready(opened: Opened) -> Store {
    match opened {
        Opened::Ready(store) => *store,
        Opened::Without { reason } => panic!("no store: {reason}"),
    }
}

#[track_caller]
fn open(path: &Path) -> Store {
    ready(Store::open(path, BOOT, NOW))
}

#[track_caller]
fn refused(path: &Path) -> StoreError {
    match Store::open(path, BOOT, NOW) {
        Opened::Ready(store) => panic!("opened: {store:?}"),
        Opened::Without { reason } => reason,
    }
}

fn key(plugin: &str) -> Arc<GroupKey> {
    Arc::new(GroupKey {
        plugin: plugin.to_owned(),
        key: format!("{plugin}/service/abc"),
    })
}

/// The same numbers for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn flag(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// Of any size, also beyond SQLite's integers.
    fn number(&mut self) -> u64 {
        let bits = self.below(65);
        match bits {
            0 => 0,
            64 => u64::MAX,
            bits => self.next() >> (64 - bits),
        }
    }

    fn maybe(&mut self) -> Option<u64> {
        self.flag().then(|| self.number())
    }

    fn usage(&mut self) -> Usage {
        const ALL: [Counter; 10] = [
            Counter::Runtime,
            Counter::User,
            Counter::System,
            Counter::RunDelay,
            Counter::Voluntary,
            Counter::Involuntary,
            Counter::MinorFaults,
            Counter::MajorFaults,
            Counter::ReadBytes,
            Counter::WriteBytes,
        ];
        ALL.into_iter().fold(Usage::UNKNOWN, |usage, counter| {
            let value = self.maybe();
            usage.with(counter, value)
        })
    }

    fn durations(&mut self) -> Durations {
        let mut durations = Durations::default();
        for count in &mut durations.counts {
            *count = if self.flag() { 0 } else { self.number() };
        }
        durations.sum = self.number();
        durations.last = self.maybe();
        durations
    }

    fn member(&mut self, tgid: u32) -> SavedMember {
        SavedMember {
            name: format!("process {}", self.below(3)).into(),
            exe: ["", "café"][self.below(2)].into(),
            former: self.flag(),
            key: ProcessKey {
                tgid: Tgid(tgid),
                start: BootTime(self.number()),
            },
            root: self.flag(),
            executed: self.flag(),
            base: self.usage(),
            totals: self.usage(),
            attributed: self.usage(),
            ended: self.flag(),
            user: self.flag().then_some(tgid % 3),
            series: self.flag().then(|| "[[\"process.owner\",\"jö\"]]".into()),
            programs: self.flag().then(|| {
                let mut program = || Program {
                    executable: "java".into(),
                    script: format!("-c\0{}", self.below(3)).into(),
                    fallback: ["", "caf\u{e9}"][self.below(2)].into(),
                };
                Programs {
                    first: program(),
                    last: program(),
                }
            }),
        }
    }

    fn untold_exit(&mut self, tgid: u32) -> SavedExit {
        let SavedEnd {
            key, time, ending, ..
        } = self.unpaired_end(tgid);
        SavedExit { key, time, ending }
    }

    /// One of a later time than those of lower pids.
    fn unpaired_end(&mut self, tgid: u32) -> SavedEnd {
        let program = |number: u64| Program {
            executable: format!("e{number}").into(),
            script: "".into(),
            fallback: format!("f\u{1b}{number}").into(),
        };
        SavedEnd {
            key: ProcessKey {
                tgid: Tgid(tgid),
                start: BootTime(self.number()),
            },
            time: BootTime(u64::from(tgid)),
            since: BootTime(self.number()),
            name: format!("n{tgid}").into(),
            ending: Ending {
                status: (tgid > 0).then_some(0x8b),
                oom_victim: tgid == 1,
                sender: (tgid > 1).then(|| Sender {
                    tgid: Tgid(77),
                    comm: "kill".to_owned(),
                    signal: 11,
                }),
            },
            first: program(self.number()),
            last: program(self.number()),
            user: (tgid > 0).then_some(u32::MAX - tgid),
        }
    }

    fn group(&mut self, members: u32) -> SavedGroup {
        let mut exits = vec![
            (Reason::Exit { code: 0 }, self.number()),
            (Reason::Exit { code: 255 }, self.number()),
        ];
        for number in [9, 64] {
            for core_dumped in [false, true] {
                exits.push((Reason::Signal { number, core_dumped }, self.number()));
            }
        }
        exits.push((Reason::Oom, self.number()));
        exits.push((Reason::Unknown, self.number()));
        SavedGroup {
            watch_start: self.number(),
            usage_start: self.number(),
            left_behind: self.usage(),
            happened: Happened {
                starts: self.number(),
                worker_starts: self.number(),
                respawns: self.number(),
                reexecs: self.number(),
                unpaired_starts: self.number(),
                failed_starts: self.number(),
                exits: self.number(),
                joins: self.number(),
                leaves: self.number(),
            },
            exits,
            given_up: self.number(),
            downtime: self.durations(),
            lifetime: self.durations(),
            last_start: self.maybe(),
            last_exit: self.maybe(),
            peak_rss: self.maybe(),
            members: (0..members).map(|tgid| self.member(tgid)).collect(),
            unpaired_ends: (0..3).map(|tgid| self.unpaired_end(tgid)).collect(),
            untold_exits: (0..3).map(|tgid| self.untold_exit(tgid)).collect(),
        }
    }
}

/// A store with three groups, closed again.
fn filled(path: &Path) -> Vec<(Arc<GroupKey>, SavedGroup)> {
    let mut random = Random(1);
    let groups: Vec<_> = ["web", "db", "queue"]
        .map(|plugin| (key(plugin), random.group(20)))
        .to_vec();
    let mut store = open(path);
    store
        .commit(Commit {
            time: NOW,
            groups: groups.clone(),
            ..Commit::default()
        })
        .unwrap();
    groups
}

#[track_caller]
fn assert_groups(store: &Store, expected: &[(Arc<GroupKey>, SavedGroup)]) {
    let groups = store.groups();
    assert_eq!(groups.len(), expected.len());
    for (key, group) in expected {
        assert_eq!(groups.get(&key.key), Some(group), "{key:?}");
    }
}

type Table = (String, Vec<Vec<Value>>);

/// Every table with every row, by name.
fn dump(path: &Path) -> Vec<Table> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut names = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .unwrap();
    let names: Vec<String> = names
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    names
        .into_iter()
        .map(|name| {
            let mut rows = connection.prepare(&format!("SELECT * FROM {name}")).unwrap();
            let columns = rows.column_count();
            let rows = rows
                .query_map([], |row| (0..columns).map(|column| row.get(column)).collect())
                .unwrap()
                .map(Result::unwrap)
                .collect();
            (name, rows)
        })
        .collect()
}

fn count(path: &Path, sql: &str) -> i64 {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .unwrap()
        .query_row(sql, [], |row| row.get(0))
        .unwrap()
}

/// Names the file, for the children below.
const CHILD_PATH: &str = "KEVMON_STORE_TEST_PATH";
/// A number, whatever it means to the child.
const CHILD_NUMBER: &str = "KEVMON_STORE_TEST_NUMBER";

/// This test binary again, running one ignored test.
fn child(test: &str, path: &Path, number: usize) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            &format!("store::tests::{test}"),
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD_PATH, path)
        .env(CHILD_NUMBER, number.to_string())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null());
    command
}

/// What [`child`] was given; `None` when a person runs all ignored tests.
fn child_arguments() -> Option<(PathBuf, usize)> {
    let path = std::env::var_os(CHILD_PATH)?;
    let number = std::env::var(CHILD_NUMBER).ok()?.parse().ok()?;
    Some((path.into(), number))
}

fn kill_self() -> ! {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    unreachable!("killed")
}
