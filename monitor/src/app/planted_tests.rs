//! What somebody else has put at the paths that kevmon uses: every file of kevmon's with every kind of thing at its name or on
//! the way to it, made by root and by nobody. Needs root, as chown(2) does.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, lchown, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::{lines, log};
use crate::{
    files,
    store::{
        self, Opened, Store,
        spool::{Limits, Spool},
    },
};

const NOBODY: u32 = 65_534;
/// Unix ns: what is damaged is moved to `.corrupt-100`.
const NOW: u64 = 100_000_000_000;
const PRECIOUS: &str = "precious\n";

/// A file that kevmon uses: what is asked for, and which name is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Used {
    State,
    StateLog,
    StateJournal,
    StateLock,
    StartingLock,
    /// The name that a damaged state is moved to.
    Aside,
    Spool,
    SpoolLog,
    SpoolLock,
    History,
    Log,
    RotatedLog,
    Json,
}

const USED: [Used; 13] = [
    Used::State,
    Used::StateLog,
    Used::StateJournal,
    Used::StateLock,
    Used::StartingLock,
    Used::Aside,
    Used::Spool,
    Used::SpoolLog,
    Used::SpoolLock,
    Used::History,
    Used::Log,
    Used::RotatedLog,
    Used::Json,
];

impl Used {
    fn suffix(self) -> &'static str {
        match self {
            Self::State | Self::Spool | Self::History | Self::Log | Self::Json => "",
            Self::StateLog | Self::SpoolLog => "-wal",
            Self::StateJournal => "-journal",
            Self::StateLock | Self::SpoolLock => ".lock",
            Self::StartingLock => ".starting.lock",
            Self::Aside => ".corrupt-100",
            Self::RotatedLog => ".1",
        }
    }

    /// Whether it is written and never read, so that a FIFO and a device may take it.
    fn is_output(self) -> bool {
        matches!(self, Self::Log | Self::Json)
    }

    fn is_database(self) -> bool {
        !matches!(self, Self::Log | Self::RotatedLog | Self::Json)
    }

    /// Uses it; true where kevmon could.
    fn uses(self, path: &Path) -> bool {
        match self {
            Self::State | Self::StateLog | Self::StateJournal | Self::StateLock | Self::StartingLock => {
                matches!(Store::open(path, "boot", NOW), Opened::Ready(_))
            }
            Self::Aside => {
                // Of ours, so that what is planted decides.
                let whole = path
                    .parent()
                    .is_some_and(|folder| fs::write(path, "damaged").is_ok() && folder.is_dir());
                whole && matches!(Store::open(path, "boot", NOW), Opened::Ready(_))
            }
            Self::Spool | Self::SpoolLog | Self::SpoolLock => {
                let limits = Limits {
                    bytes: 1 << 20,
                    age: Duration::from_secs(3_600),
                };
                Spool::open(path, limits, NOW).is_ok()
            }
            Self::History => store::history(path, None).is_ok(),
            Self::Log => {
                let Ok(mut log) = log::file::LogFile::open(path, None) else {
                    return false;
                };
                log.append(b"line\n");
                log.lost() == 0
            }
            Self::RotatedLog => {
                let Ok(mut log) = log::file::LogFile::open(path, Some(8)) else {
                    return false;
                };
                log.append(b"line\n");
                log.append(b"line\n");
                log.lost() == 0
            }
            Self::Json => lines::LineFile::new(path.to_owned()).append("line\n").is_ok(),
        }
    }
}

/// What is put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plant {
    Nothing,
    LinkToFile,
    LinkToFolder,
    DanglingLink,
    /// To a folder of root's, on the way.
    LinkOnTheWay,
    HardLink,
    Fifo,
    Device,
    Socket,
    File,
    FileForAll,
    FileForGroup,
}

const PLANTS: [Plant; 12] = [
    Plant::Nothing,
    Plant::LinkToFile,
    Plant::LinkToFolder,
    Plant::DanglingLink,
    Plant::LinkOnTheWay,
    Plant::HardLink,
    Plant::Fifo,
    Plant::Device,
    Plant::Socket,
    Plant::File,
    Plant::FileForAll,
    Plant::FileForGroup,
];

/// A case: a tree of its own.
struct Case {
    root: PathBuf,
    used: Used,
    plant: Plant,
    /// What is asked for.
    path: PathBuf,
    /// The name that is planted.
    planted: PathBuf,
}

impl Drop for Case {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.root).unwrap();
    }
}

impl Case {
    /// `owner` made the plant and `folder_owner` the folder, with `folder_mode`.
    fn new(used: Used, plant: Plant, owner: u32, folder_owner: u32, folder_mode: u32) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("kevmon-planted-{}-{number}", std::process::id()));
        let folder = root.join("folder");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir(root.join("private")).unwrap();
        fs::write(root.join("victim"), PRECIOUS).unwrap();
        fs::set_permissions(root.join("victim"), Permissions::from_mode(0o600)).unwrap();
        let asked = folder.join("kevmon.db");
        let mut case = Self {
            planted: PathBuf::from(format!("{}{}", asked.display(), used.suffix())),
            path: asked,
            root,
            used,
            plant,
        };
        if used == Used::History {
            // There is something to be read, which then is planted at the path.
            assert!(Used::State.uses(&case.root.join("private/state")));
        }
        case.put(owner);
        chown(&folder, Some(folder_owner), Some(folder_owner)).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(folder_mode)).unwrap();
        case
    }

    fn put(&mut self, owner: u32) {
        let (root, at) = (self.root.clone(), self.planted.clone());
        let victim = root.join("victim");
        let node = |kind, device| mknodat(CWD, &at, kind, Mode::from_raw_mode(0o600), device).unwrap();
        let content = |mode: u32| {
            if self.used == Used::History {
                fs::copy(root.join("private/state"), &at).unwrap();
            } else {
                fs::write(&at, "").unwrap();
            }
            fs::set_permissions(&at, Permissions::from_mode(mode)).unwrap();
        };
        match self.plant {
            Plant::Nothing => return,
            Plant::LinkToFile => symlink(&victim, &at).unwrap(),
            Plant::LinkToFolder => symlink(root.join("private"), &at).unwrap(),
            Plant::DanglingLink => symlink(root.join("private/made"), &at).unwrap(),
            Plant::LinkOnTheWay => {
                let link = root.join("folder/link");
                symlink(root.join("private"), &link).unwrap();
                lchown(&link, Some(owner), Some(owner)).unwrap();
                self.path = link.join(if self.used == Used::History {
                    "state"
                } else {
                    "kevmon.db"
                });
                self.planted = link;
                return;
            }
            Plant::HardLink => return fs::hard_link(&victim, &at).unwrap(),
            Plant::Fifo => node(FileType::Fifo, 0),
            Plant::Device => node(FileType::CharacterDevice, makedev(1, 3)),
            Plant::Socket => drop(std::os::unix::net::UnixListener::bind(&at).unwrap()),
            Plant::File => content(0o600),
            Plant::FileForAll => content(0o666),
            Plant::FileForGroup => content(0o620),
        }
        lchown(&at, Some(owner), Some(NOBODY)).unwrap();
        if self.plant == Plant::File {
            lchown(&at, Some(owner), Some(owner)).unwrap();
        }
    }

    /// Whether the rule allows it, as the tree is: from owners, modes and kinds.
    fn is_allowed(&self) -> bool {
        let folder = fs::symlink_metadata(self.root.join("folder")).unwrap();
        let (mode, is_roots) = (folder.mode(), folder.uid() == 0);
        let others_write = mode & 0o002 != 0;
        let is_sticky = mode & 0o1000 != 0;
        if !is_roots || (others_write && !is_sticky) {
            return false;
        }
        let plant = fs::symlink_metadata(&self.planted).ok();
        if self.plant == Plant::LinkOnTheWay {
            // What it leads to is a folder that only root writes.
            return plant.unwrap().uid() == 0 && !others_write;
        }
        if others_write && self.used.is_database() {
            return false;
        }
        if self.used == Used::Aside {
            return true; // another name is taken
        }
        let Some(plant) = plant else {
            // There is nothing to read then.
            return self.used != Used::History;
        };
        let kind = plant.file_type();
        if plant.uid() != 0 {
            return false;
        }
        if kind.is_char_device() {
            return self.used.is_output();
        }
        if plant.mode() & 0o002 != 0 || (plant.mode() & 0o020 != 0 && plant.gid() != 0) {
            return false;
        }
        if kind.is_fifo() {
            // Nobody reads it: the log says so, and lines wait in its room.
            return self.used == Used::Json;
        }
        // A hard link in a folder that only root writes is root's own doing; what it leads to is no database.
        kind.is_file() && (plant.nlink() == 1 || (!others_write && !self.used.is_database()))
    }

    fn shown(&self, owner: u32, folder: (u32, u32)) -> String {
        let (folder_owner, mode) = folder;
        format!(
            "{:?} with {:?} of user {owner} in a folder of user {folder_owner}, mode {mode:o}",
            self.used, self.plant
        )
    }

    /// Whatever was planted, nothing outside the folder is touched.
    fn assert_rest_is_untouched(&self, shown: &str) {
        let victim = self.root.join("victim");
        let text = fs::read_to_string(&victim).unwrap();
        // Root's own hard link, in a folder that only root writes, is another name of what kevmon uses.
        let folder = fs::metadata(self.root.join("folder")).unwrap();
        let is_own = self.plant == Plant::HardLink && folder.uid() == 0 && folder.mode() & 0o002 == 0;
        assert!(text == PRECIOUS || is_own, "{shown}: {text:?}");
        assert_eq!(fs::metadata(&victim).unwrap().mode() & 0o7777, 0o600, "{shown}");
        if self.plant != Plant::LinkOnTheWay {
            assert!(
                !self.root.join("private/made").exists(),
                "{shown}: made through a link"
            );
        }
    }
}

fn assert_is_root() {
    assert!(rustix::process::geteuid().is_root(), "missing prerequisite: root");
}

/// Every case of one folder; returns how many were allowed and how many refused.
fn all_in(folder: (u32, u32)) -> (usize, usize) {
    assert_is_root();
    let (mut allowed, mut refused) = (0, 0);
    for used in USED {
        for plant in PLANTS {
            for owner in [0, NOBODY] {
                let case = Case::new(used, plant, owner, folder.0, folder.1);
                let shown = case.shown(owner, folder);
                let expected = case.is_allowed();
                let before = fs::symlink_metadata(&case.planted).ok().map(|there| there.ino());
                let hard_linked = plant == Plant::HardLink && used.is_database() && used != Used::Aside;
                let is_used = used.uses(&case.path);
                // Root's own link to what is no database: which of the two is said does not matter.
                if !(hard_linked && folder == (0, 0o755)) {
                    assert_eq!(is_used, expected, "{shown}");
                }
                if !expected && !hard_linked {
                    let after = fs::symlink_metadata(&case.planted).ok().map(|there| there.ino());
                    assert!(before.is_none() || after == before, "{shown}: moved or removed");
                }
                case.assert_rest_is_untouched(&shown);
                allowed += usize::from(expected);
                refused += usize::from(!expected);
            }
        }
    }
    (allowed, refused)
}

#[test]
fn in_a_folder_of_roots_what_others_made_is_refused() {
    let (allowed, refused) = all_in((0, 0o755));
    assert!(allowed > 60 && refused > 150, "{allowed} {refused}");
}

#[test]
fn in_a_sticky_folder_what_others_made_is_refused() {
    let (allowed, refused) = all_in((0, 0o1777));
    assert!(allowed > 5 && refused > 200, "{allowed} {refused}");
}

#[test]
fn a_folder_that_others_write_is_refused_whatever_is_in_it() {
    for folder in [(0, 0o777), (NOBODY, 0o755), (NOBODY, 0o1777), (NOBODY, 0o700)] {
        assert_eq!(all_in(folder).0, 0, "{folder:?}");
    }
}

#[test]
fn a_folder_above_counts_as_well() {
    assert_is_root();
    for used in USED {
        for (owner, mode, expected) in [
            (0, 0o755, true),
            (0, 0o1777, true),
            (0, 0o777, false),
            (NOBODY, 0o755, false),
        ] {
            let case = Case::new(used, Plant::Nothing, 0, owner, mode);
            let below = case.root.join("folder/below");
            fs::create_dir(&below).unwrap();
            fs::set_permissions(&below, Permissions::from_mode(0o700)).unwrap();
            if used == Used::History {
                fs::copy(case.root.join("private/state"), below.join("kevmon.db")).unwrap();
            }
            let shown = case.shown(0, (owner, mode));
            assert_eq!(used.uses(&below.join("kevmon.db")), expected, "{shown}");
        }
    }
}

/// Between a look and the opening, names change all the time.
#[test]
fn a_file_that_is_exchanged_meanwhile_is_never_another() {
    assert_is_root();
    let case = Case::new(Used::Json, Plant::File, 0, 0, 0o1777);
    let (link, at) = (case.root.join("folder/link"), case.path.clone());
    symlink(case.root.join("victim"), &link).unwrap();
    let stop = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while stop.load(Ordering::Relaxed) == 0 {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(CWD, &link, CWD, &at, flags).unwrap();
            }
        });
        for _ in 0..3_000 {
            let _: io::Result<()> = lines::LineFile::new(at.clone()).append("line\n");
        }
        stop.store(1, Ordering::Relaxed);
    });
    case.assert_rest_is_untouched("exchanged");
}

#[test]
fn the_remedy_mends_it() {
    assert_is_root();
    let case = Case::new(Used::Log, Plant::FileForAll, NOBODY, 0, 0o777);
    for expected in ["chmod o-w", "chown root", "chmod o-w", "chmod g-w"] {
        let error = log::file::LogFile::open(&case.path, None).unwrap_err();
        let remedy = &files::refusal(&error).expect("a refusal").remedy;
        let command = remedy.split(", or ").next().unwrap();
        assert!(command.starts_with(expected), "{remedy}");
        let mended = std::process::Command::new("sh")
            .args(["-c", command])
            .status()
            .unwrap();
        assert!(mended.success(), "{command}");
    }
    assert!(Used::Log.uses(&case.path));
    drop(File::open(&case.path).unwrap());
}
