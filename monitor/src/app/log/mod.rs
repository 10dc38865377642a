//! kevmon's own log: where it goes, how much of it there is, and what libraries may say in it.

pub(super) mod file;
pub(super) mod verdicts;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter, fmt::writer::BoxMakeWriter};

use crate::config::LogFilter;
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
        None => BoxMakeWriter::new(io::stderr),
        Some(path) => BoxMakeWriter::new(open(path, place.rotate_at)?),
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

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
