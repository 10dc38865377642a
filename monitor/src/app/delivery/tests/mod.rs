//! Queues and lanes against a real spool and real receivers.

mod lanes;
mod queues;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{
    export::transport::{EncodedRequest, Signal},
    store::spool::Limits,
};

pub(super) const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    // The requests of these tests were made in 1970.
    age: Duration::from_secs(100 * 365 * 24 * 3600),
};
const SECOND: u64 = 1_000_000_000;

/// A folder of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kevmon-delivery-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn spool(&self) -> PathBuf {
        self.0.join("metadata.db.spool")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _: std::io::Result<()> = std::fs::remove_dir_all(&self.0);
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

/// A request of the collection at this second, with so many items.
fn request(signal: Signal, second: u64, items: u64) -> EncodedRequest {
    EncodedRequest {
        signal,
        items,
        time: second * SECOND,
        body: format!("collection {second}").into_bytes().into(),
    }
}
