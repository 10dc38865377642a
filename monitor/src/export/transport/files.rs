//! Files of secrets and certificates: read whole, and looked at again once a second.

use std::{
    fs::Metadata,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::files;

/// How long files are taken to be as they were.
const TRUST: Duration = Duration::from_secs(1);

/// Largest file that is read, bytes: many times the system's certificates.
const LARGEST: u64 = 4 << 20;

/// Which file it was, and in which state.
type Fingerprint = (u64, u64, u64, i64, i64);

/// Files as they were when they were last read.
#[derive(Debug)]
pub(in crate::export) struct Files {
    seen: Vec<(PathBuf, Option<Fingerprint>)>,
    checked: Instant,
}

impl Files {
    /// Notes how the files are now.
    pub(in crate::export) fn seen<'a>(paths: impl Iterator<Item = &'a Path>, now: Instant) -> Self {
        Self {
            seen: paths.map(|path| (path.to_owned(), fingerprint(path))).collect(),
            checked: now,
        }
    }

    /// Whether the files are still the same; looks at most once a second.
    pub(in crate::export) fn are_current(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.checked) < TRUST {
            return true;
        }
        self.checked = now;
        self.seen.iter().all(|(path, known)| fingerprint(path) == *known)
    }
}

fn fingerprint(path: &Path) -> Option<Fingerprint> {
    let of = |file: Metadata| {
        (
            file.dev(),
            file.ino(),
            file.size(),
            file.mtime(),
            file.mtime_nsec(),
        )
    };
    std::fs::metadata(path).ok().map(of)
}

/// The whole of a file, `what` it is to be.
///
/// # Errors
/// It cannot be read, in words, with what to do.
pub(in crate::export) fn content(path: &Path, what: &str) -> Result<Vec<u8>, String> {
    let read = || {
        let mut bytes = Vec::new();
        files::open_to_read(path)?
            .take(LARGEST + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST {
            return Err(io::Error::other("it is larger than 4 MiB"));
        }
        Ok(bytes)
    };
    read().map_err(|error: io::Error| {
        let what = format!("cannot read the {what} {}", path.display());
        match files::refusal(&error) {
            Some(refusal) if refusal.path == path => {
                format!("{what}: {}; {}", refusal.message, refusal.remedy)
            }
            Some(refusal) => format!(
                "{what}: {}: {}; {}",
                refusal.path.display(),
                refusal.message,
                refusal.remedy
            ),
            None => format!("{what}: {error}; put it there, readable by kevmon, or change the setting"),
        }
    })
}
