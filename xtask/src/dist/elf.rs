//! What the packages have to know of a program file.

use anyhow::{Context, Result, bail};
use object::elf::FileHeader64;
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{LittleEndian, elf};

use super::target::Arch;

/// The last byte of an ELF file's identification, of its padding (elf(5): EI_NIDENT, EI_PAD).
const PADDING_END: usize = 15;
/// Where the header has the processor (elf(5), e_machine).
const MACHINE: usize = 18;

/// A program without an interpreter (the dynamic loader) and without a shared library: the kernel starts it by itself.
pub(crate) fn is_static(content: &[u8]) -> Result<bool> {
    let header = header(content)?;
    let segments = header
        .program_headers(LittleEndian, content)
        .context("its program headers")?;
    for segment in segments {
        if segment.p_type(LittleEndian) == elf::PT_INTERP {
            return Ok(false);
        }
        let entries = segment
            .dynamic(LittleEndian, content)
            .context("its dynamic section")?;
        let is_library = |entry: &elf::Dyn64<LittleEndian>| entry.d_tag.get(LittleEndian) == elf::DT_NEEDED;
        if entries.is_some_and(|entries| entries.iter().any(is_library)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Fails where it is no program for `arch`.
pub(crate) fn expect_machine(content: &[u8], arch: Arch) -> Result<()> {
    let machine = header(content)?.e_machine.get(LittleEndian);
    if machine != arch.machine() {
        bail!("it is no program for {}", arch.kernel());
    }
    Ok(())
}

/// Writes a byte into the unused end of the identification of each eBPF object in `program`, which no loader reads. Returns how
/// many objects there are.
pub(crate) fn mark_programs(program: &mut [u8]) -> usize {
    const MARK: u8 = b'x';
    let machine = elf::EM_BPF.to_le_bytes();
    let mut marked = 0;
    for at in 0..program.len() {
        let is_object = program[at..].starts_with(&elf::ELFMAG)
            && program.get(at + MACHINE..at + MACHINE + machine.len()) == Some(&machine);
        if is_object {
            program[at + PADDING_END] = MARK;
            marked += 1;
        }
    }
    marked
}

fn header(content: &[u8]) -> Result<&FileHeader64<LittleEndian>> {
    FileHeader64::parse(content).context("it is no ELF file of 64 bits and little endian")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Such a file with one segment of this type and content.
    fn file(machine: u16, kind: u32, segment: &[u8]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64 + 56, 0);
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(16, &elf::ET_DYN.to_le_bytes());
        put(18, &machine.to_le_bytes());
        put(32, &64_u64.to_le_bytes()); // where the program headers are
        put(52, &64_u16.to_le_bytes());
        put(54, &56_u16.to_le_bytes());
        put(56, &1_u16.to_le_bytes());
        put(64, &kind.to_le_bytes());
        put(64 + 8, &120_u64.to_le_bytes());
        put(64 + 32, &(segment.len() as u64).to_le_bytes());
        file.extend_from_slice(segment);
        file
    }

    #[test]
    fn a_program_that_names_a_loader_or_a_library_is_not_static() {
        let entry = |tag: i64| [tag.to_le_bytes(), 1_i64.to_le_bytes()].concat();
        let is_static =
            |kind: u32, segment: &[u8]| is_static(&file(elf::EM_X86_64, kind, segment)).expect("ELF");
        assert!(is_static(elf::PT_LOAD, b"code"));
        assert!(!is_static(elf::PT_INTERP, b"/lib64/ld-linux-x86-64.so.2\0"));
        assert!(!is_static(elf::PT_DYNAMIC, &entry(elf::DT_NEEDED)));
        // As static programs at any address have it: they relocate themselves.
        assert!(is_static(elf::PT_DYNAMIC, &entry(elf::DT_RELA)));
    }

    #[test]
    fn the_test_itself_is_read_as_the_compiler_says() {
        let own = std::fs::read(std::env::current_exe().expect("a path")).expect("a program");
        assert_eq!(
            is_static(&own).expect("ELF"),
            cfg!(target_feature = "crt-static"),
            "this program"
        );
        expect_machine(&own, Arch::here().expect("a known processor")).expect("this processor");
    }

    #[test]
    fn embedded_programs_are_marked_and_stay_programs() {
        let (host, object) = (
            file(elf::EM_X86_64, elf::PT_LOAD, b"code"),
            file(elf::EM_BPF, 0, b""),
        );
        let whole = [&host[..], &object, b"between", &object, b"\x7fELF"].concat();
        let mut marked = whole.clone();
        assert_eq!(mark_programs(&mut marked), 2);
        let differs: Vec<usize> = (0..whole.len()).filter(|&at| whole[at] != marked[at]).collect();
        let first = host.len();
        assert_eq!(differs, [first + 15, first + object.len() + "between".len() + 15]);
        assert!(header(&marked[first..]).is_ok());
        assert_eq!(mark_programs(&mut host.clone()), 0);
    }

    #[test]
    fn another_processor_s_program_and_no_program_are_refused() {
        let arm = file(elf::EM_AARCH64, elf::PT_LOAD, b"");
        assert!(expect_machine(&arm, Arch::Arm).is_ok());
        assert!(expect_machine(&arm, Arch::X86).is_err());
        assert!(expect_machine(b"#!/bin/sh\n", Arch::X86).is_err());
        assert!(is_static(&arm[..70]).is_err(), "cut off");
    }
}
