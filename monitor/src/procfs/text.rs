//! The text of a process (`cmdline`, proc_pid_cmdline(5)), read with three system calls: to see whether it is what it was. Whether
//! the pid still is that process's is not looked at. Whoever finds another text looks closer.

use std::{
    fmt::Write,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use kevmon_common::ARGV_BOUND;

use crate::process::ProcessKey;

/// Reads one after the other.
pub struct TextReader {
    /// `ROOT/PID/cmdline`: the file that was read last.
    path: String,
    /// Bytes of it that are the root.
    root: usize,
    text: Vec<u8>,
    /// Bytes of `text` that the last one has; `None` where it could not be read.
    length: Option<usize>,
}

impl TextReader {
    /// Below `root`, usually /proc.
    pub fn new(root: &Path) -> Self {
        let path = PathBuf::from(root).display().to_string();
        Self {
            root: path.len(),
            path,
            // One byte more than is kept of arguments tells that there is more.
            text: vec![0; ARGV_BOUND + 1],
            length: None,
        }
    }

    /// The text that stands there now, as much of it as is looked at; `None` where there is none, or it cannot be read.
    pub fn read(&mut self, key: ProcessKey) -> Option<&[u8]> {
        self.path.truncate(self.root);
        self.length = write!(self.path, "/{}/cmdline", key.tgid)
            .ok()
            .and_then(|()| File::open(&self.path).ok())
            // The kernel fills the buffer as long as there is more (fs/proc/base.c, get_mm_cmdline).
            .and_then(|mut file| file.read(&mut self.text).ok())
            .filter(|length| *length > 0);
        self.last()
    }

    /// What was read last.
    pub fn last(&self) -> Option<&[u8]> {
        self.text.get(..self.length?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{BootTime, Tgid};

    #[test]
    fn it_reads_what_stands_there_and_nothing_of_the_one_before() {
        let mut reader = TextReader::new(Path::new("/proc"));
        let key = |tgid| ProcessKey {
            tgid: Tgid(tgid),
            start: BootTime(0),
        };
        let this = std::process::id();
        let known = std::fs::read("/proc/self/cmdline").expect("/proc is mounted");
        let text = reader.read(key(this)).map(<[u8]>::to_vec);
        assert_eq!(text.as_deref(), known.get(..ARGV_BOUND + 1).or(Some(&known)));
        // A kernel thread has none, and nobody has this pid.
        for nobody in [2, u32::MAX] {
            assert_eq!(reader.read(key(nobody)), None);
            assert_eq!(reader.last(), None);
        }
    }
}
