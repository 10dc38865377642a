//! Files: settings, plugins, the state, the spool, and what an ended kevmon left in the BPF file system.

use std::path::{Path, PathBuf};

use super::{Check, Finding, fault, fine, warning};
use crate::{
    app::{exports::spool_path, sources::Sources},
    config::{self, Fault, Loaded, Settings},
    files::{self, Accepts, Folder, Missing},
    kernel::{self, Left},
    store::{self, StoreError},
};

/// What the state takes on a disk at most, without the spool: figures of docs/store.md.
const STATE_BYTES: u64 = 64 << 20;

/// Settings and plugin files, as a daemon reads them.
pub(super) fn configuration(loaded: &Loaded, faults: Option<&Vec<Fault>>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = faults
        .into_iter()
        .flatten()
        .map(|one| fault(Check::Settings, one.to_string(), ""))
        .collect();
    if findings.is_empty() {
        findings.push(fine(Check::Settings, "read"));
    }
    findings.extend(
        loaded
            .faults
            .iter()
            .map(|one| fault(Check::Plugins, one.to_string(), "")),
    );
    let warnings = loaded.warnings.iter().filter(|one| !one.harmless);
    findings.extend(warnings.map(|one| warning(Check::Plugins, one.to_string(), "")));
    let count = loaded.plugins.len();
    match &loaded.idle {
        Some(idle) if count == 0 => findings.push(warning(Check::Plugins, idle.to_string(), "")),
        _ => findings.push(fine(Check::Plugins, format!("{count} can run"))),
    }
    findings
}

/// The state of a daemon with these sources. Only read: a running daemon has its lock.
pub(super) fn state(sources: &Sources, settings: Option<&Settings>, fix: bool) -> Vec<Finding> {
    let is_root = rustix::process::geteuid().is_root();
    let asked = sources.args().metadata_db_path.as_deref();
    let path = match config::metadata_path(asked, sources.environment(), is_root) {
        Ok(path) => path,
        Err(one) => return vec![fault(Check::State, one.to_string(), "")],
    };
    let mut findings = vec![database(&path), spool(&spool_path(&path))];
    findings.extend(space(&path, settings));
    findings.push(pins(&path, fix));
    findings
}

fn database(path: &Path) -> Finding {
    let shown = path.display();
    match store::history(path, None) {
        Ok(_) => fine(Check::State, format!("{shown} can be read")),
        Err(StoreError::Missing { .. }) => match Folder::holding(path, Missing::Fail) {
            Err(error) if files::refusal(&error).is_some() => fault(Check::State, error.to_string(), ""),
            _ => fine(Check::State, format!("{shown} does not exist yet")),
        },
        Err(error) => fault(Check::State, error.to_string(), ""),
    }
}

fn spool(path: &Path) -> Finding {
    let found =
        Folder::holding(path, Missing::Fail).and_then(|(folder, name)| folder.check(&name, Accepts::File));
    match found {
        Ok(Some(stat)) => fine(
            Check::Spool,
            format!("{}, {} bytes", path.display(), stat.st_size),
        ),
        Ok(None) => fine(Check::Spool, format!("{} does not exist yet", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            fine(Check::Spool, format!("{} does not exist yet", path.display()))
        }
        Err(error) => fault(Check::Spool, error.to_string(), ""),
    }
}

/// The disk of the state, of which the folder may not exist yet.
fn space(path: &Path, settings: Option<&Settings>) -> Option<Finding> {
    let folder: PathBuf = path.ancestors().skip(1).find(|folder| folder.is_dir())?.into();
    let stat = rustix::fs::statvfs(&folder).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let needed = STATE_BYTES + settings.map_or(0, |settings| settings.spool.bytes);
    let found = format!("{} MiB free in {}", free >> 20, folder.display());
    Some(if free < needed {
        let remedy = format!(
            "state and spool may take {} MiB: make room, or lessen [spool] max_bytes",
            needed >> 20
        );
        warning(Check::Disk, found, remedy)
    } else {
        fine(Check::Disk, found)
    })
}

/// What a kevmon on this state left in the kernel that nobody goes on from.
fn pins(path: &Path, fix: bool) -> Finding {
    const CHECK: Check = Check::LeftInKernel;
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let state = match kernel::state_name(&path) {
        Ok(state) => state,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return fine(CHECK, "nothing"),
        Err(error) => return warning(CHECK, format!("not known: {error}"), ""),
    };
    match kernel::left(&state) {
        Ok(Left::Nothing) => fine(CHECK, "nothing"),
        Ok(Left::InUse) => fine(CHECK, "a running kevmon's own"),
        Ok(Left::Alone) if fix => match kernel::remove_pins(&state) {
            Ok(_) => fine(
                CHECK,
                "programs and maps of an ended kevmon, which are removed now",
            ),
            Err(error) => fault(CHECK, error.to_string(), ""),
        },
        Ok(Left::Alone) => warning(
            CHECK,
            "programs and maps of an ended kevmon, which the next one goes on from",
            format!(
                "if none follows, remove them: kevmon unpin --metadata-db-path {}",
                path.display()
            ),
        ),
        Err(error) => warning(CHECK, format!("not known: {error}"), ""),
    }
}
