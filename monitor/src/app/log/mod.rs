//! kevmon's own log: where it goes, how much of it there is, and what libraries may say in it.

pub(super) mod file;
pub(super) mod verdicts;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use tracing_subscriber::{EnvFilter, fmt::writer::BoxMakeWriter};

use crate::{config::LogFilter, shown::one_line};
use file::LogFile;

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogPlace {
    /// Appended to; `None` is standard error.
    pub(super) file: Option<PathBuf>,
    /// The file is rotated before it exceeds this, bytes.
    pub(super) rotate_at: Option<u64>,
}

impl LogPlace {
    /// Standard error.
    pub(super) const STDERR: Self = Self {
        file: None,
        rotate_at: None,
    };
}

/// Starts the log.
///
/// # Errors
/// The file cannot be opened.
pub(super) fn start(place: &LogPlace, filter: &LogFilter) -> Result<()> {
    let writer = match &place.file {
        None => BoxMakeWriter::new(|| Shown(io::stderr())),
        Some(path) => {
            let writer = open(path, place.rotate_at)?;
            BoxMakeWriter::new(move || Shown(writer.clone()))
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter.directives()))
        .with_writer(writer)
        .with_ansi(false)
        .with_target(false)
        .init();
    Ok(())
}

fn open(path: &Path, rotate_at: Option<u64>) -> Result<LogWriter> {
    let file = LogFile::open(path, rotate_at).with_context(|| format!("--log-file {}", path.display()))?;
    Ok(LogWriter(Arc::new(Mutex::new(file))))
}

/// Makes each line of the log one that a person may look at. tracing-subscriber hands over a whole line at a time
/// (`fmt_layer.rs`, `on_event`), with what others chose in it.
struct Shown<W>(W);

impl<W: io::Write> io::Write for Shown<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0
            .write_all(one_line(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Hands whole lines to the file.
#[derive(Clone)]
struct LogWriter(Arc<Mutex<LogFile>>);

impl io::Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A panic elsewhere leaves nothing half-done in it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).append(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::shown::{is_unsafe, tests::all};

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_of_the_log_is_one_line_without_unsafe_code_points() {
        let kept = Kept::default();
        let to = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(BoxMakeWriter::new(move || Shown(to.clone())))
            .with_ansi(false)
            .finish();
        let count = tracing::subscriber::with_default(subscriber, || {
            all()
                .map(|letter| tracing::error!(field = %letter, "a{letter}b"))
                .count()
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), count, "each message is one line");
        let bad: Vec<char> = text.chars().filter(|c| *c != '\n' && is_unsafe(*c)).collect();
        assert!(bad.is_empty(), "{bad:?}");
    }
}
