//! The file that the log is appended to. Before each line the path is looked at: a file that was moved or removed is opened
//! again under its name, so that logrotate's `create` and `rename` need no signal; `copytruncate` works because each write
//! goes to the end. With a size the file rotates by itself: `FILE.1` is the latest of three old ones.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Instant,
};

use crate::{
    episode::Episode,
    files::{Accepts, Folder, Missing, Open},
    limits,
};

/// Old files that rotation keeps, as the original framework does.
const KEPT: u32 = 3;

/// A log file.
#[derive(Debug)]
pub(in crate::app) struct LogFile {
    path: PathBuf,
    rotate_at: Option<u64>,
    open: Option<Opened>,
    /// Lines that could not be written since the last one that could.
    lost: u64,
    trouble: Episode,
}

#[derive(Debug)]
struct Opened {
    file: File,
    /// Device and inode.
    id: (u64, u64),
    is_regular: bool,
}

impl LogFile {
    /// Opens it, and makes the folders on the way to it.
    ///
    /// # Errors
    /// It cannot be written: what is in the way, and what to do about it.
    pub(in crate::app) fn open(path: &Path, rotate_at: Option<u64>) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            rotate_at,
            open: Some(Opened::at(path)?),
            lost: 0,
            trouble: Episode::default(),
        })
    }

    /// Appends a line. One that cannot be written is lost; the next that can says how many were.
    pub(in crate::app) fn append(&mut self, line: &[u8]) {
        let lost = self.lost;
        let mut text = Vec::new();
        if lost > 0 {
            text.extend_from_slice(
                format!("kevmon: {lost} log lines could not be written here\n").as_bytes(),
            );
        }
        text.extend_from_slice(line);
        match self.write(&text) {
            Ok(()) => {
                self.lost = 0;
                if let Some(failures) = self.trouble.works(Instant::now()) {
                    self.say(&format!("written again; {failures} log lines were lost"));
                }
            }
            Err(error) => {
                self.lost += 1;
                if self.trouble.fails(Instant::now()) {
                    let remedy = limits::remedy(&error).map(|remedy| format!("; {remedy}"));
                    let remedy = remedy.unwrap_or_default();
                    self.say(&format!(
                        "log lines are lost until it can be written: {error}{remedy}"
                    ));
                }
            }
        }
    }

    /// The only place left is standard error; it may be closed as well.
    fn say(&self, what: &str) {
        let path = self.path.display();
        let _: io::Result<()> = writeln!(io::stderr(), "kevmon: --log-file {path}: {what}");
    }

    /// Lines that could not be written since the last one that could.
    #[cfg(test)]
    pub(in crate::app) fn lost(&self) -> u64 {
        self.lost
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let there = fs::symlink_metadata(&self.path).ok();
        let id = there.as_ref().map(|there| (there.dev(), there.ino()));
        // A device or FIFO is written until it fails, wherever its name goes.
        let stays = |open: &Opened| !open.is_regular || Some(open.id) == id;
        if !self.open.as_ref().is_some_and(stays) {
            self.open = None;
            self.open = Some(Opened::at(&self.path)?);
        }
        let length = there.map_or(0, |there| there.len());
        if let (Some(most), Some(open)) = (self.rotate_at, &self.open)
            && open.is_regular
            && length > 0
            && length + text.len() as u64 > most
        {
            self.rotate()?;
        }
        let Some(open) = &mut self.open else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let result = open.file.write_all(text);
        if result.is_err() && !open.is_regular {
            // A FIFO's reader has gone: another one may come.
            self.open = None;
        }
        result
    }

    /// FILE.2 becomes FILE.3, FILE.1 FILE.2, FILE itself FILE.1, and another FILE begins.
    fn rotate(&mut self) -> io::Result<()> {
        let (folder, name) = Folder::holding(&self.path, Missing::Fail)?;
        for number in (0..KEPT).rev() {
            match folder.rename(&numbered(&name, number), &numbered(&name, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.open = None;
        self.open = Some(Opened::at(&self.path)?);
        Ok(())
    }
}

fn numbered(name: &OsStr, number: u32) -> OsString {
    let mut name = name.to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name
}

impl Opened {
    fn at(path: &Path) -> io::Result<Self> {
        let (folder, name) = Folder::holding(path, Missing::Make(0o750))?;
        // Opening a FIFO would wait for its reader, and writing for room in it.
        let opened = folder.open(&name, Open::to_append().or_create(0o640), Accepts::Stream);
        let file = opened.map_err(|error| match error.raw_os_error() {
            Some(libc::ENXIO) => io::Error::other("nobody reads this FIFO; start its reader first"),
            _ => error,
        })?;
        let there = file.metadata()?;
        Ok(Self {
            file,
            id: (there.dev(), there.ino()),
            is_regular: there.is_file(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink},
        time::Duration,
    };

    use super::*;

    /// A folder of the test's own.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("kevmon-log-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap_or_default()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn the_ways_of_logrotate_lose_no_line() {
        let scratch = Scratch::new("logrotate");
        let path = scratch.0.join("kevmon.log");
        let mut log = LogFile::open(&path, None).unwrap();
        log.append(b"one\n");
        fs::rename(&path, scratch.0.join("renamed")).unwrap();
        log.append(b"two\n");
        assert_eq!(
            (scratch.read("renamed"), scratch.read("kevmon.log")),
            ("one\n".into(), "two\n".into())
        );
        // `create`: another file has been put there.
        fs::rename(&path, scratch.0.join("moved")).unwrap();
        fs::write(&path, "").unwrap();
        log.append(b"three\n");
        assert_eq!(
            (scratch.read("moved"), scratch.read("kevmon.log")),
            ("two\n".into(), "three\n".into())
        );
        // `copytruncate`.
        fs::copy(&path, scratch.0.join("copy")).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(0)
            .unwrap();
        log.append(b"four\n");
        assert_eq!(scratch.read("kevmon.log"), "four\n", "no hole of NUL bytes");
        fs::remove_file(&path).unwrap();
        log.append(b"five\n");
        assert_eq!(scratch.read("kevmon.log"), "five\n");
    }

    #[test]
    fn rotation_keeps_three_old_files_of_whole_lines() {
        let scratch = Scratch::new("rotation");
        let path = scratch.0.join("kevmon.log");
        let mut log = LogFile::open(&path, Some(100)).unwrap();
        for number in 0..60 {
            log.append(format!("line {number:04}\n").as_bytes());
        }
        let names = ["kevmon.log.3", "kevmon.log.2", "kevmon.log.1", "kevmon.log"];
        let kept: Vec<String> = names
            .iter()
            .flat_map(|name| {
                let text = scratch.read(name);
                assert!(
                    !text.is_empty() && text.len() <= 100 && text.ends_with('\n'),
                    "{name}: {text}"
                );
                text.lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        let last: Vec<String> = (60 - kept.len()..60)
            .map(|number| format!("line {number:04}"))
            .collect();
        assert_eq!(kept, last, "the latest lines, in order");
        assert!(!scratch.0.join("kevmon.log.4").exists());
        // A line longer than the limit has a file to itself.
        log.append(&[b'x'; 300]);
        assert_eq!(scratch.read("kevmon.log").len(), 300);
    }

    #[test]
    fn folders_are_made_and_nobody_else_may_write_to_them() {
        let scratch = Scratch::new("folders");
        let path = scratch.0.join("a/b/kevmon.log");
        let mut log = LogFile::open(&path, None).unwrap();
        log.append(b"one\n");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7027;
        assert_eq!((mode(&scratch.0.join("a/b")), mode(&path)), (0, 0));
        fs::remove_dir_all(scratch.0.join("a")).unwrap();
        log.append(b"two\n");
        assert_eq!(
            scratch.read("a/b/kevmon.log"),
            "two\n",
            "the folder is made again"
        );
        let in_a_file = LogFile::open(&path.join("x"), None);
        assert!(in_a_file.is_err());
    }

    #[test]
    fn a_fifo_or_a_device_never_blocks() {
        let scratch = Scratch::new("fifo");
        let path = scratch.0.join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let began = Instant::now();
        let error = LogFile::open(&path, None).unwrap_err().to_string();
        assert!(error.contains("nobody reads"), "{error}");
        let mut reader = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .unwrap();
        let mut log = LogFile::open(&path, Some(10)).unwrap();
        let line = [&[b'x'; 999][..], b"\n"].concat();
        for _ in 0..1_000 {
            log.append(&line); // a pipe holds 64 KiB
        }
        assert!(log.lost > 900, "{}", log.lost);
        let mut text = Vec::new();
        let _: io::Result<usize> = reader.read_to_end(&mut text);
        log.append(b"again\n");
        let _: io::Result<usize> = reader.read_to_end(&mut text);
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("log lines could not be written here\nagain\n"));
        drop(reader);
        log.append(b"nobody\n");
        LogFile::open(Path::new("/dev/null"), Some(1))
            .unwrap()
            .append(b"x\n");
        assert!(Path::new("/dev/null").exists() && !Path::new("/dev/null.1").exists());
        assert!(began.elapsed() < Duration::from_secs(10));
        let folder = LogFile::open(&scratch.0, None).unwrap_err().to_string();
        assert!(folder.contains("it is a folder"), "{folder}");
    }

    #[test]
    fn a_link_is_followed_on_the_way_and_refused_in_the_last_place() {
        let scratch = Scratch::new("link");
        let link = scratch.0.join("link");
        symlink("target", &link).unwrap();
        let error = LogFile::open(&link, None).unwrap_err().to_string();
        assert!(error.contains("it is a link"), "{error}");
        assert!(!scratch.0.join("target").exists());
        fs::create_dir(scratch.0.join("target")).unwrap();
        LogFile::open(&link.join("kevmon.log"), None)
            .unwrap()
            .append(b"one\n");
        assert_eq!(scratch.read("target/kevmon.log"), "one\n");
    }
}
