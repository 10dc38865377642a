//! Looks the programs' field offsets up in the running kernel's BTF.
//!
//! Layout of BTF: Documentation/bpf/btf.rst. Unnamed struct and union members are searched through, as C does.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use btf_rs::{Backend, Btf, BtfType, FuncProto, Struct, Type};
use kevmon_common::{ABSENT, Offsets, RSS_COUNTERS};

/// The kernel function by which programs read through a pointer that the verifier need not trust (ADR 46).
const CAST: &str = "bpf_rdonly_cast";

/// The kernel's BTF does not hold what the programs need.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// No BTF, or not readable.
    #[error("{path}: {source} (the kernel must be built with CONFIG_DEBUG_INFO_BTF)")]
    Unreadable {
        /// The file that was read.
        path: String,
        /// Why it could not be read.
        source: btf_rs::Error,
    },
    /// A structure member that no program can do without.
    #[error("the kernel's BTF has no {0}; this kernel is older than 5.10 or patched")]
    Missing(&'static str),
}

/// Resolves everything in [`Offsets`] from the BTF file at `path`.
///
/// # Errors
/// The file cannot be read, or a required member is missing.
pub fn resolve(path: &Path) -> Result<Offsets, BtfError> {
    let btf = parse(path).map_err(|source| BtfError::Unreadable {
        path: path.display().to_string(),
        source,
    })?;
    resolve_from(&Known::new(btf))
}

fn resolve_from(known: &Known) -> Result<Offsets, BtfError> {
    let btf = &known.btf;
    let mut offsets = Offsets::UNRESOLVED;
    offsets.resolve_with(|paths, required| {
        let found = paths.iter().find_map(|path| member_bits(known, path));
        match found {
            Some(bits) => Ok(bits.offset / 8),
            None if required => Err(BtfError::Missing(paths[0])),
            None => Ok(ABSENT),
        }
    })?;
    if let Some(bits) = member_bits(known, "task_struct.in_execve") {
        offsets.in_execve_byte = bits.offset / 8;
        offsets.in_execve_mask = 1 << (bits.offset % 8);
    }
    offsets.exit_has_group_dead = u32::from(arguments(btf, "btf_trace_sched_process_exit") == Some(2));
    offsets.mark_victim_has_task = u32::from(first_argument_is_pointer(btf, "btf_trace_mark_victim"));
    offsets.switch_has_state = u32::from(arguments(btf, "btf_trace_sched_switch") == Some(4));
    // All of them, or the call is left out.
    let cast = type_id(btf, CAST, |found| matches!(found, Type::Func(_)));
    if let (Some(cast), Some(task), Some(bprm)) = (
        cast,
        known.structure("task_struct"),
        known.structure("linux_binprm"),
    ) {
        (offsets.cast, offsets.task_type, offsets.bprm_type) = (cast, task.0, bprm.0);
    }
    offsets.mm_rss = resident_counters(known).unwrap_or([ABSENT; RSS_COUNTERS]);
    Ok(offsets)
}

/// Maps the file where the kernel lets that be done with its BTF (6.16 and later): what is not asked for is then not parsed.
/// Otherwise reads it as a whole.
fn parse(path: &Path) -> Result<Btf, btf_rs::Error> {
    Btf::from_file_with_backend(path, Backend::Mmap).or_else(|_| read(path))
}

/// Parses BTF that was read as a whole. `Btf::from_file` asks the file for its position before each of the kernel's 150,000
/// types, and, as a generic function, is compiled here: in a development build without optimisation.
fn read(path: &Path) -> Result<Btf, btf_rs::Error> {
    Btf::from_bytes(&std::fs::read(path)?)
}

/// A structure with its id; `None`: there is none of its name.
type Found = Option<Rc<(u32, Struct)>>;

/// BTF, and the structures that were found in it by their names: a mapped file is searched from its beginning for each name. Those
/// that members point to are known without a search.
struct Known {
    btf: Btf,
    structures: RefCell<HashMap<String, Found>>,
}

impl Known {
    fn new(btf: Btf) -> Self {
        Self {
            btf,
            structures: RefCell::default(),
        }
    }

    fn structure(&self, name: &str) -> Found {
        if let Some(found) = self.structures.borrow().get(name) {
            return found.clone();
        }
        let found = named_struct(&self.btf, name).map(Rc::new);
        self.structures
            .borrow_mut()
            .insert(name.to_owned(), found.clone());
        found
    }

    /// Notes the structure that a member of this type points to, or has several of.
    fn note(&self, member: u32) {
        let Some((id, structure)) = element(&self.btf, member) else {
            return;
        };
        let name = self.btf.resolve_name(&structure).unwrap_or_default();
        if !name.is_empty() {
            let mut structures = self.structures.borrow_mut();
            structures
                .entry(name)
                .or_insert_with(|| Some(Rc::new((id, structure))));
        }
    }
}

/// A member found: where, and its type.
struct Bits {
    offset: u32,
    type_id: u32,
}

/// Follows `struct.member.member…` through embedded structures.
fn member_bits(known: &Known, path: &str) -> Option<Bits> {
    let btf = &known.btf;
    let mut names = path.split('.');
    let outermost = known.structure(names.next()?)?;
    let mut member = find_member(btf, &outermost.1, names.next()?)?;
    for name in names {
        let inner = find_member(btf, &as_struct(btf, member.type_id)?, name)?;
        member = Bits {
            offset: member.offset + inner.offset,
            ..inner
        };
    }
    known.note(member.type_id);
    Some(member)
}

fn named_struct(btf: &Btf, name: &str) -> Option<(u32, Struct)> {
    let ids = btf.resolve_ids_by_name(name).ok()?;
    ids.into_iter()
        .find_map(|id| match btf.resolve_type_by_id(id).ok()? {
            Type::Struct(structure) => Some((id, structure)),
            _ => None,
        })
}

/// The structure that a pointer points to, or that an array is made of, with its id.
fn element(btf: &Btf, type_id: u32) -> Option<(u32, Struct)> {
    let mut id = type_id;
    loop {
        id = match btf.resolve_type_by_id(id).ok()? {
            Type::Struct(structure) if id != type_id => return Some((id, structure)),
            Type::Ptr(pointer) => pointer.get_type_id()?,
            Type::Array(array) => array.get_type_id()?,
            Type::Const(qualified) => qualified.get_type_id()?,
            Type::Volatile(qualified) => qualified.get_type_id()?,
            Type::TypeTag(tagged) => tagged.get_type_id()?,
            _ => return None,
        };
    }
}

fn find_member(btf: &Btf, structure: &Struct, name: &str) -> Option<Bits> {
    structure.members.iter().find_map(|member| {
        let type_id = member.get_type_id()?;
        let offset = member.bit_offset();
        let member_name = btf.resolve_name(member).unwrap_or_default();
        if member_name == name {
            return Some(Bits { offset, type_id });
        }
        if !member_name.is_empty() {
            return None;
        }
        let inner = find_member(btf, &as_struct(btf, type_id)?, name)?;
        Some(Bits {
            offset: offset + inner.offset,
            ..inner
        })
    })
}

/// The structure or union behind typedefs and qualifiers.
fn as_struct(btf: &Btf, type_id: u32) -> Option<Struct> {
    let mut id = type_id;
    loop {
        match btf.resolve_type_by_id(id).ok()? {
            Type::Struct(structure) | Type::Union(structure) => return Some(structure),
            Type::Typedef(alias) => id = alias.get_type_id()?,
            Type::Const(qualified) => id = qualified.get_type_id()?,
            Type::Volatile(qualified) => id = qualified.get_type_id()?,
            Type::TypeTag(tagged) => id = tagged.get_type_id()?,
            // Behind a pointer or in an array lies no member of the structure itself.
            _ => return None,
        }
    }
}

/// The id of what has this name and is of the kind that is looked for.
fn type_id(btf: &Btf, name: &str, is_it: impl Fn(&Type) -> bool) -> Option<u32> {
    let ids = btf.resolve_ids_by_name(name).ok()?;
    ids.into_iter()
        .find(|id| btf.resolve_type_by_id(*id).is_ok_and(|found| is_it(&found)))
}

/// Number of arguments of a tracepoint: those of its prototype less the leading `void *`.
fn arguments(btf: &Btf, typedef: &str) -> Option<usize> {
    prototype(btf, typedef)?.parameters.len().checked_sub(1)
}

/// Whether a tracepoint's first argument is a pointer rather than a number.
fn first_argument_is_pointer(btf: &Btf, typedef: &str) -> bool {
    let argument = prototype(btf, typedef).and_then(|prototype| {
        let id = prototype.parameters.get(1)?.get_type_id()?;
        btf.resolve_type_by_id(id).ok()
    });
    matches!(argument, Some(Type::Ptr(_)))
}

fn prototype(btf: &Btf, typedef: &str) -> Option<FuncProto> {
    let mut found = btf
        .resolve_types_by_name(typedef)
        .ok()?
        .into_iter()
        .find(|t| matches!(t, Type::Typedef(_)))?;
    loop {
        match found {
            Type::FuncProto(prototype) => return Some(prototype),
            other => found = btf.resolve_chained_type(other.as_btf_type()?).ok()?,
        }
    }
}

/// Where the resident-set counters are: since 6.2 an array of `percpu_counter` in `mm->rss_stat`. Their order is
/// MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES (include/linux/mm_types_task.h, 5.10 to 6.18). Before that they
/// are a plain array of `atomic_long_t`, which 6.1's verifier cannot walk ("Type 'atomic_long_t' is not a struct"), and
/// of no use: the address space is gone when `sched_process_exit` runs.
fn resident_counters(known: &Known) -> Option<[u32; RSS_COUNTERS]> {
    const INDICES: [u32; RSS_COUNTERS] = [0, 1, 3];
    let array = member_bits(known, "mm_struct.rss_stat")?;
    let count = member_bits(known, "percpu_counter.count")?.offset / 8;
    let size = u32::try_from(known.structure("percpu_counter")?.1.size()).ok()?;
    matches!(known.btf.resolve_type_by_id(array.type_id).ok()?, Type::Array(_))
        .then(|| INDICES.map(|index| array.offset / 8 + index * size + count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernels_offsets_are_plausible() {
        let offsets = resolve(Path::new("/sys/kernel/btf/vmlinux")).expect("a kernel with BTF");
        assert_eq!(
            offsets.task_tgid,
            offsets.task_pid + 4,
            "tgid follows pid in every version"
        );
        assert!(
            offsets.task_runtime > 0 && offsets.task_runtime < 1024,
            "se is near the front of task_struct"
        );
        assert_eq!(offsets.task_stime, offsets.task_utime + 8);
        assert_eq!(offsets.signal_stime, offsets.signal_utime + 8);
        assert_eq!(offsets.task_write_bytes, offsets.task_read_bytes + 8);
        assert!(offsets.mm_rss.iter().all(|&offset| offset != ABSENT));
        assert_eq!(offsets.in_execve_mask.count_ones(), 1);
        assert_eq!(
            offsets.siginfo_code, 8,
            "si_signo and si_errno come first in every version"
        );
        assert_eq!(offsets.dentry_name_len + 4, offsets.dentry_name);
        // What /proc tells too is looked up there when it is missing here, which would go unnoticed.
        for optional in [
            offsets.task_files,
            offsets.files_fdt,
            offsets.fdt_max_fds,
            offsets.fdt_open_fds,
            offsets.mm_total_vm,
        ] {
            assert_ne!(optional, ABSENT);
        }
    }

    /// A copy on a disk can be mapped on every kernel.
    #[test]
    fn mapped_and_read_btf_tell_the_same() {
        let copy = std::env::temp_dir().join(format!("kevmon-btf-{}", std::process::id()));
        std::fs::write(&copy, std::fs::read("/sys/kernel/btf/vmlinux").unwrap()).unwrap();
        let mapped = Btf::from_file_with_backend(&copy, Backend::Mmap).unwrap();
        let read = read(&copy).unwrap();
        std::fs::remove_file(&copy).unwrap();
        let of = |btf: Btf| format!("{:?}", resolve_from(&Known::new(btf)).unwrap());
        assert_eq!(of(mapped), of(read));
    }

    #[test]
    fn structures_that_members_point_to_are_those_of_their_names() {
        let known = Known::new(parse(Path::new("/sys/kernel/btf/vmlinux")).unwrap());
        resolve_from(&known).unwrap();
        let structures = known.structures.borrow();
        for (name, found) in structures.iter() {
            let by_name = named_struct(&known.btf, name).map(|(id, _)| id);
            assert_eq!(found.as_ref().map(|found| found.0), by_name, "{name}");
        }
        for name in ["signal_struct", "dentry", "cgroup", "upid", "pid_namespace"] {
            assert!(structures.contains_key(name), "{name}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = resolve(Path::new("/nonexistent/vmlinux"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nonexistent/vmlinux") && error.contains("CONFIG_DEBUG_INFO_BTF"),
            "{error}"
        );
    }
}
