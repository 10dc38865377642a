//! Lines of output, written from a thread of their own: a reader that does not read, and a disk that is slow, must not stop
//! the ticks.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use super::output::print;
use crate::{
    episode::Episode,
    files::{self, Accepts, Folder, Missing, Open},
    limits, shown,
};

/// Lines that wait for a slow reader; further ones are left out and counted.
const WAITING: usize = 64;

/// What they may hold together, bytes; one line has room whatever its length.
const WAITING_BYTES: usize = 16 << 20;

/// How long whoever hands over lines for a file waits, at most, until the file has them.
const WRITTEN_WITHIN: Duration = Duration::from_millis(500);

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LineTarget {
    /// Standard output. When its reader goes away, that is the end of it.
    Stdout,
    /// Appended to this file; a new one is begun when it was moved away.
    File(PathBuf),
}

/// The end of the queue that lines are handed to.
pub(super) struct Lines {
    queue: Option<mpsc::SyncSender<String>>,
    finished: mpsc::Receiver<()>,
    counts: Arc<Counts>,
    target: LineTarget,
    /// Lines handed over so far.
    pushed: u64,
    /// Whether the file takes lines too slowly to be waited for, and the log has said so.
    is_late: bool,
    /// Lines that had been handed over when the file was last waited for.
    waited: u64,
}

#[derive(Default)]
struct Counts {
    /// Lines that the thread is done with.
    done: Mutex<u64>,
    /// Notified when `done` grows.
    grown: Condvar,
    /// Bytes in the queue.
    waiting: AtomicUsize,
    /// Lines that could not be written.
    failed: AtomicU64,
}

impl Lines {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread can be had.
    pub(super) fn start(target: LineTarget) -> io::Result<Self> {
        let (queue, lines) = mpsc::sync_channel::<String>(WAITING);
        let (finish, finished) = mpsc::channel();
        let counts = Arc::new(Counts::default());
        let (counted, to) = (Arc::clone(&counts), target.clone());
        let name = match target {
            LineTarget::Stdout => "stdout",
            LineTarget::File(_) => "lines",
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut taken = 0;
            let lines = std::iter::from_fn(|| {
                counted.note_done(taken); // asked for the next one
                let line = lines.recv().ok()?;
                counted.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                taken += 1;
                Some(line)
            });
            match to {
                LineTarget::Stdout => to_stdout(lines),
                LineTarget::File(path) => to_file(lines, path, &counted.failed),
            }
            // Fails only when nobody waits for it any more.
            let _: Result<(), mpsc::SendError<()>> = finish.send(());
        })?;
        Ok(Self {
            queue: Some(queue),
            finished,
            counts,
            target,
            pushed: 0,
            is_late: false,
            waited: 0,
        })
    }

    /// Hands a line over, with its newline; returns false when it had to be left out.
    pub(super) fn push(&mut self, line: String) -> bool {
        let Some(queue) = &self.queue else { return true };
        let length = line.len();
        let waiting = self.counts.waiting.fetch_add(length, Ordering::Relaxed);
        let result = if waiting > 0 && waiting + length > WAITING_BYTES {
            Err(mpsc::TrySendError::Full(line))
        } else {
            queue.try_send(line)
        };
        if result.is_err() {
            self.counts.waiting.fetch_sub(length, Ordering::Relaxed);
        }
        self.pushed += u64::from(result.is_ok());
        match result {
            Ok(()) => true,
            Err(mpsc::TrySendError::Full(_)) => false,
            Err(mpsc::TrySendError::Disconnected(_)) => {
                self.queue = None;
                true
            }
        }
    }

    /// Waits until what was handed over is in the file, or was given up, for [`WRITTEN_WITHIN`] at most. A file that has not
    /// caught up since is not waited for again, and neither is standard output.
    pub(super) fn wait(&mut self) {
        let LineTarget::File(path) = &self.target else {
            return;
        };
        // It has caught up once it has what was waited for in vain.
        let is_behind = self.is_late && !self.counts.wait_for(self.waited, Duration::ZERO);
        let limit = if is_behind { Duration::ZERO } else { WRITTEN_WITHIN };
        let is_late = self.queue.is_some() && !self.counts.wait_for(self.pushed, limit);
        self.waited = self.pushed;
        if is_late && !self.is_late {
            warn!(
                "{}: does not take lines within {WRITTEN_WITHIN:?}: receivers get collections before they are in the \
                 file, and a kill then costs the file those that wait",
                path.display()
            );
        }
        self.is_late = is_late;
    }

    /// How many lines could not be written since the last call.
    pub(super) fn take_failed(&self) -> u64 {
        self.counts.failed.swap(0, Ordering::Relaxed)
    }

    /// Waits until all lines are written, for `limit` at most.
    pub(super) fn finish(mut self, limit: Duration) {
        self.queue = None;
        if self.finished.recv_timeout(limit).is_err() {
            match self.target {
                LineTarget::Stdout => warn!("the reader of standard output did not take the last lines"),
                LineTarget::File(path) => {
                    warn!("{}: the last lines were not written in time", path.display())
                }
            }
        }
    }
}

impl Counts {
    fn note_done(&self, lines: u64) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = lines;
        self.grown.notify_all();
    }

    /// Waits until `lines` are done; returns false where that takes longer than `limit`.
    fn wait_for(&self, lines: u64, limit: Duration) -> bool {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .grown
            .wait_timeout_while(done, limit, |done| *done < lines)
            .unwrap_or_else(PoisonError::into_inner);
        *waited.0 >= lines
    }
}

fn to_stdout(lines: impl Iterator<Item = String>) {
    for line in lines {
        match print(&shown::json(&line)) {
            Ok(true) => {}
            Ok(false) => {
                warn!("nobody reads standard output any more: no further JSON; exports go on");
                break;
            }
            Err(error) => {
                error!("standard output: {error}: no further JSON; exports go on");
                break;
            }
        }
    }
}

/// A line that cannot be written is lost, and counted in `failed`; the next one is tried anew.
fn to_file(lines: impl Iterator<Item = String>, path: PathBuf, failed: &AtomicU64) {
    let mut file = LineFile::new(path);
    let mut trouble = Episode::default();
    for line in lines {
        match file.append(&line) {
            Ok(()) => {
                if let Some(lost) = trouble.works(Instant::now()) {
                    info!("{}: written again; {lost} lines were lost", file.path.display());
                }
            }
            Err(error) => {
                failed.fetch_add(1, Ordering::Relaxed);
                if trouble.fails(Instant::now()) {
                    let remedy =
                        limits::remedy(&error).unwrap_or("see to the disk, the folder and its permissions");
                    match files::refusal(&error) {
                        Some(refusal) => error!("{refusal}; lines are lost until then"),
                        None => error!(
                            "{}: {error}: lines are lost until it can be written; {remedy}",
                            file.path.display()
                        ),
                    }
                }
            }
        }
    }
}

/// A file of whole lines.
pub(super) struct LineFile {
    path: PathBuf,
    open: Option<OpenFile>,
}

struct OpenFile {
    file: File,
    /// Device and inode.
    id: (u64, u64),
    /// Its last line has no end: a write was cut short.
    torn: bool,
}

impl LineFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    /// Appends to the file that is at the path now.
    pub(super) fn append(&mut self, line: &str) -> io::Result<()> {
        let there = match fs::symlink_metadata(&self.path) {
            Ok(there) => Some((there.dev(), there.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // What was moved away goes on under its new name only as far as it was written.
        let open = match &mut self.open {
            Some(open) if Some(open.id) == there => open,
            stale => stale.insert(OpenFile::open(&self.path)?),
        };
        if open.torn {
            open.write("\n")?;
            open.torn = false;
        }
        open.write(line)
    }
}

/// The bytes that follow the last newline of a file of this length.
fn unended(file: &File, length: u64) -> io::Result<Vec<u8>> {
    const CHUNK: u64 = 1 << 16;
    let mut tail = Vec::new();
    let mut end = length;
    while end > 0 {
        let begin = end.saturating_sub(CHUNK);
        let mut chunk = vec![0; usize::try_from(end - begin).unwrap_or_default()];
        file.read_exact_at(&mut chunk, begin)?;
        if let Some(newline) = chunk.iter().rposition(|&byte| byte == b'\n') {
            drop(tail.splice(..0, chunk.drain(newline + 1..)));
            break;
        }
        drop(tail.splice(..0, chunk));
        end = begin;
    }
    Ok(tail)
}

/// Whether `tail` is the beginning of a line of kevmon's, and not the whole line. Anything else is left in the file.
fn is_cut_short(tail: &[u8]) -> bool {
    /// How an OTLP/JSON line begins.
    const BEGINNING: &[u8] = b"{\"resource";
    let is_ours = !tail.is_empty() && (tail.starts_with(BEGINNING) || BEGINNING.starts_with(tail));
    is_ours && serde_json::from_slice::<serde::de::IgnoredAny>(tail).is_err()
}

impl OpenFile {
    fn open(path: &Path) -> io::Result<Self> {
        let (folder, name) = Folder::holding(path, Missing::Fail)?;
        // Only this thread waits for who reads a FIFO.
        let how = Open::to_read_and_append().or_create(0o640).waiting();
        let file = folder.open(&name, how, Accepts::Stream)?;
        let there = file.metadata()?;
        let mut torn = false;
        if there.is_file() {
            let tail = unended(&file, there.len())?;
            torn = !tail.is_empty();
            if is_cut_short(&tail) {
                warn!(
                    "{}: its last line was cut short by a kill and is removed; no receiver was sent it",
                    path.display()
                );
                file.set_len(there.len() - tail.len() as u64)?;
                torn = false;
            }
        }
        Ok(Self {
            file,
            id: (there.dev(), there.ino()),
            torn,
        })
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of the test's own.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("kevmon-lines-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn lines_are_appended_and_a_rotated_file_is_left() {
        let scratch = Scratch::new("rotated");
        let path = scratch.0.join("out.jsonl");
        let rotated = scratch.0.join("out.jsonl.1");
        fs::write(&path, "before\n").unwrap();
        let mut file = LineFile::new(path.clone());
        file.append("one\n").unwrap();
        file.append("two\n").unwrap();
        fs::rename(&path, &rotated).unwrap();
        file.append("three\n").unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "new\n").unwrap();
        file.append("four\n").unwrap();
        assert_eq!(fs::read_to_string(rotated).unwrap(), "before\none\ntwo\n");
        assert_eq!(fs::read_to_string(path).unwrap(), "new\nfour\n");
    }

    #[test]
    fn a_line_that_was_cut_short_is_ended() {
        let scratch = Scratch::new("torn");
        let path = scratch.0.join("out.jsonl");
        fs::write(&path, "whole\ncut sh").unwrap();
        let mut file = LineFile::new(path.clone());
        file.append("one\n").unwrap();
        file.append("two\n").unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "whole\ncut sh\none\ntwo\n");
    }

    #[test]
    fn a_line_of_otlp_json_that_was_cut_short_is_removed() {
        let scratch = Scratch::new("cut");
        let whole = r#"{"resourceMetrics":[{"scopeMetrics":[]}]}"#;
        let path = scratch.0.join("out.jsonl");
        let long = format!(r#"{{"resourceLogs":["{}"#, "x".repeat(200_000));
        let cuts = (1..whole.len()).map(|length| &whole[..length]).chain([&*long]);
        for cut in cuts {
            for before in ["", "before\n"] {
                fs::write(&path, format!("{before}{cut}")).unwrap();
                LineFile::new(path.clone()).append("one\n").unwrap();
                assert_eq!(
                    fs::read_to_string(&path).unwrap(),
                    format!("{before}one\n"),
                    "{cut:.80}"
                );
            }
        }
        // Whole but for its end, or somebody else's.
        for kept in [whole, "[1", "{\"other"] {
            fs::write(&path, kept).unwrap();
            LineFile::new(path.clone()).append("one\n").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{kept}\none\n"));
        }
    }

    #[test]
    fn a_line_is_in_the_file_once_it_was_waited_for() {
        let scratch = Scratch::new("waited");
        let path = scratch.0.join("out.jsonl");
        let mut lines = Lines::start(LineTarget::File(path.clone())).unwrap();
        for number in 1..=50 {
            assert!(lines.push("a line of some length\n".repeat(1_000)));
            lines.wait();
            let written = fs::metadata(&path).unwrap().len();
            assert_eq!(written, number * 22_000, "{number}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_tried_again() {
        let scratch = Scratch::new("counted");
        let folder = scratch.0.join("later");
        let path = folder.join("out.jsonl");
        let mut lines = Lines::start(LineTarget::File(path.clone())).unwrap();
        let (mut failed, mut pushed) = (0, 0);
        let mut push_and_wait = |lines: &mut Lines, until: &dyn Fn(u64) -> bool| {
            pushed += 1;
            assert!(lines.push(format!("line {pushed}\n")));
            while !until(failed) {
                failed += lines.take_failed();
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        push_and_wait(&mut lines, &|failed| failed == 1);
        push_and_wait(&mut lines, &|failed| failed == 2);
        fs::create_dir(&folder).unwrap();
        push_and_wait(&mut lines, &|_| path.exists());
        lines.finish(Duration::from_secs(10));
        assert_eq!(fs::read_to_string(path).unwrap(), "line 3\n");
    }

    #[test]
    fn a_full_disk_loses_lines_and_no_more() {
        let mut file = LineFile::new(PathBuf::from("/dev/full"));
        for _ in 0..2 {
            let error = file.append("line\n").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }

    /// The thread is stuck in a pipe that nobody reads from; whoever hands lines over never is.
    #[test]
    fn what_waits_is_bounded() {
        let scratch = Scratch::new("bounded");
        let path = scratch.0.join("pipe");
        let pipe = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the path is NUL-terminated and outlives the call.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        let mut lines = Lines::start(LineTarget::File(path)).unwrap();
        let long = "x".repeat(WAITING_BYTES / 4);
        let taken = (0..20).filter(|_| lines.push(long.clone())).count();
        assert!((4..10).contains(&taken), "{taken} of the long ones");
        let taken = (0..1_000).filter(|_| lines.push("short\n".to_owned())).count();
        assert!(taken <= WAITING, "{taken} of the short ones");
        // It is waited for once, and not for each of what follows.
        let began = Instant::now();
        (0..100).for_each(|_| lines.wait());
        let waited = began.elapsed();
        assert!(
            (WRITTEN_WITHIN..20 * WRITTEN_WITHIN).contains(&waited),
            "{waited:?}"
        );
    }
}
