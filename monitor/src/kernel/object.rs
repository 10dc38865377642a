//! Loads the eBPF object and attaches its programs.

use std::path::Path;

use aya::{
    Btf, Ebpf, EbpfLoader, Pod,
    programs::{BtfTracePoint, Iter, ProgramFd},
};
use kevmon_common::{Counters, HeldRename, Key, Lives, LivesKey, LostEnd, Mark, Offsets, Verdict};

use tracing::warn;

use super::btf::{self, BtfError};

/// The object that `cargo xtask build` made from `monitor-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("KEVMON_EBPF_OBJECT_PATH"));

/// Where the kernel tells its types.
pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The smallest ring there is.
const LOG_OFF_BYTES: u32 = 4096;

/// Programs that report events, by the tracepoint they attach to.
const TRACEPOINTS: [&str; 5] = [
    "sched_process_exec",
    "sched_process_fork",
    "sched_process_exit",
    "sched_process_free",
    "task_rename",
];

/// Programs without which kevmon does not know something, and what.
const OPTIONAL: [(&str, &str); 3] = [
    ("signal_generate", "who sent a signal is not told"),
    (
        "mark_victim",
        "ends by the OOM killer look like any other SIGKILL",
    ),
    (
        "cgroup_mkdir",
        "what ran and ended with its cgroup may be no member of a plugin with unit, cgroup or container",
    ),
];

/// Why the programs could not be put to work.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Field offsets.
    #[error(transparent)]
    Offsets(#[from] BtfError),
    /// aya's view of the BTF.
    #[error("{VMLINUX_BTF}: {0}")]
    Btf(#[from] aya::BtfError),
    /// The object as a whole: maps, mostly.
    #[error("eBPF object: {}", chain(.0))]
    Object(#[from] aya::EbpfError),
    /// One program.
    #[error("eBPF program {program}: {}", brief(.source))]
    Program {
        /// Which.
        program: &'static str,
        /// Why.
        source: aya::programs::ProgramError,
    },
    /// A map or program that should be in the object is not.
    #[error("the eBPF object has no {0}; it does not belong to this kevmon")]
    Foreign(&'static str),
    /// The ring cannot be waited for.
    #[error("the ring buffer's descriptor: {0}")]
    Ring(#[source] std::io::Error),
    /// A map of an unexpected type.
    #[error("eBPF map: {0}")]
    Map(#[from] aya::maps::MapError),
}

/// aya's errors say only the outermost part by themselves.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// A refused program, without the verifier's account of how it got there: its last words only.
fn brief(error: &aya::programs::ProgramError) -> String {
    let aya::programs::ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return chain(error);
    };
    let log = verifier_log.to_string();
    let verdict = log.lines().rev().find(|line| {
        !line.is_empty()
            && !["verification time", "stack depth", "processed"]
                .iter()
                .any(|s| line.starts_with(s))
    });
    match verdict {
        Some(verdict) => format!("{io_error}: the verifier says: {verdict}"),
        None => io_error.to_string(),
    }
}

impl LoadError {
    /// The kernel looked at a program and found it unsafe, whatever rights kevmon has: the verifier has said why.
    pub fn is_the_verifiers(&self) -> bool {
        match self {
            Self::Program {
                source: aya::programs::ProgramError::LoadError { verifier_log, .. },
                ..
            } => !verifier_log.to_string().trim().is_empty(),
            _ => false,
        }
    }

    /// The system's error that this comes from.
    pub fn io_error(&self) -> Option<&std::io::Error> {
        let mut cause: Option<&dyn std::error::Error> = Some(self);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<std::io::Error>() {
                return Some(error);
            }
            // Both hold it without naming it as their source.
            match error.downcast_ref() {
                Some(btf_rs::Error::IO(error)) => return Some(error),
                _ => cause = error.source(),
            }
        }
        None
    }
}

/// A value of a shared type, for aya's map and global interfaces.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct Shared<T>(pub T);

// SAFETY: repr(C), integers only, no padding (asserted in kevmon-common).
unsafe impl Pod for Shared<Offsets> {}
// SAFETY: as above.
unsafe impl Pod for Shared<Key> {}
// SAFETY: as above.
unsafe impl Pod for Shared<Mark> {}
// SAFETY: as above.
unsafe impl Pod for Shared<Verdict> {}
// SAFETY: as above.
unsafe impl Pod for Shared<HeldRename> {}
// SAFETY: as above.
unsafe impl Pod for Shared<Counters> {}
// SAFETY: as above.
unsafe impl Pod for Shared<LostEnd> {}
// SAFETY: as above.
unsafe impl Pod for Shared<LivesKey> {}
// SAFETY: as above.
unsafe impl Pod for Shared<Lives> {}

/// Sizes that depend on the host.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Ring buffer, bytes; a power of two and a multiple of the page size.
    pub ring: u32,
    /// Processes marked at once.
    pub marks: u32,
    /// The programs' own log, bytes; `None` keeps it out of them.
    pub log: Option<u32>,
}

/// A loaded and attached object.
#[derive(Debug)]
pub struct Attached {
    /// Maps, and the programs' lifetime.
    pub ebpf: Ebpf,
    /// What the programs were told.
    pub offsets: Offsets,
    /// The iterators' programs: snapshot, sample.
    pub iterators: (ProgramFd, ProgramFd),
    /// The tracepoint programs that are attached, by name.
    pub tracepoints: Vec<(&'static str, ProgramFd)>,
}

/// Loads and attaches everything.
///
/// # Errors
/// The kernel lacks something, or refuses.
pub fn attach(sizes: Sizes) -> Result<Attached, LoadError> {
    let offsets = Shared(btf::resolve(Path::new(VMLINUX_BTF))?);
    // Dropped at the end: it takes 23 MB.
    let btf = Btf::from_sys_fs()?;
    // Before the load: what no level lets through, the verifier drops from the programs.
    let log_level = if sizes.log.is_some() {
        aya_log::Level::Debug as u8
    } else {
        0
    };
    let wake_at = u64::from(sizes.ring / 4);
    let mut ebpf = EbpfLoader::new()
        .btf(Some(&btf))
        .override_global("OFFSETS", &offsets, true)
        .override_global("WAKE_AT", &wake_at, true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .map_max_entries("AYA_LOGS", sizes.log.unwrap_or(LOG_OFF_BYTES))
        .map_max_entries("EVENTS", sizes.ring)
        .map_max_entries("MARKS", sizes.marks)
        .map_max_entries("VERDICTS", sizes.marks)
        .load(OBJECT)?;
    let mut load_iterator = |program: &'static str| -> Result<ProgramFd, LoadError> {
        let error = |source| LoadError::Program { program, source };
        let iterator: &mut Iter = ebpf
            .program_mut(program)
            .ok_or(LoadError::Foreign(program))?
            .try_into()
            .map_err(error)?;
        iterator.load("task", &btf).map_err(error)?;
        iterator
            .fd()
            .and_then(|fd| fd.try_clone().map_err(Into::into))
            .map_err(error)
    };
    let iterators = (load_iterator("snapshot")?, load_iterator("sample")?);
    let mut tracepoints = Vec::new();
    for program in TRACEPOINTS {
        tracepoints.push((program, attach_tracepoint(&mut ebpf, program, &btf)?));
    }
    for (program, without) in OPTIONAL {
        match attach_tracepoint(&mut ebpf, program, &btf) {
            Ok(attached) => tracepoints.push((program, attached)),
            Err(error) => warn!("{error}; {without}"),
        }
    }
    Ok(Attached {
        ebpf,
        offsets: offsets.0,
        iterators,
        tracepoints,
    })
}

/// Programs are called after their tracepoint.
fn attach_tracepoint(ebpf: &mut Ebpf, program: &'static str, btf: &Btf) -> Result<ProgramFd, LoadError> {
    let error = |source| LoadError::Program { program, source };
    let hook: &mut BtfTracePoint = ebpf
        .program_mut(program)
        .ok_or(LoadError::Foreign(program))?
        .try_into()
        .map_err(error)?;
    hook.load(program, btf).map_err(error)?;
    hook.attach().map_err(error)?;
    hook.fd()
        .and_then(|fd| fd.try_clone().map_err(Into::into))
        .map_err(error)
}
