//! Puts the running kernel's field offsets into the programs' instructions.
//!
//! clang would write a CO-RE relocation for each field that a program reads, and the loader would put the field's offset into the
//! instruction. rustc writes none. The programs therefore move a placeholder into a register, which names a word of
//! [`Offsets`] (kevmon-common, offsets.rs); here the word takes its place. The verifier sees constants, as with CO-RE, and drops the
//! branches for fields that the kernel lacks. Read from a map instead, the offsets would cost every program five
//! cold cache lines.
//!
//! Instruction encoding: Documentation/bpf/standardization/instruction-set.rst (Linux 6.18).

use kevmon_common::{Offsets, placed};
use object::{Object, ObjectSection, SectionKind};

/// Bytes of an instruction: code, registers, a signed 16-bit offset, a signed 32-bit immediate.
const INSTRUCTION: usize = 8;
/// `BPF_ALU64 | BPF_MOV | BPF_K`: a register becomes the immediate, whose sign is extended.
const MOVE_IMMEDIATE: u8 = 0xb7;
/// `BPF_JMP | BPF_CALL`: a helper, or, with [`KERNEL_FUNCTION`] as its source register, the kernel function with that BTF id.
const CALL: u8 = 0x85;
/// `BPF_PSEUDO_KFUNC_CALL`.
const KERNEL_FUNCTION: u8 = 2;
/// `r0 = r1`: what a cast comes to.
const MOVE_ARGUMENT: [u8; INSTRUCTION] = [0xbf, 0x10, 0, 0, 0, 0, 0, 0];
/// `BPF_LD | BPF_DW | BPF_IMM`: the only instruction that takes two places.
const LOAD_IMMEDIATE: u8 = 0x18;

/// Returns `elf` with `offsets` in the place of their placeholders, and how many there were.
///
/// # Errors
/// `elf` is no ELF file.
pub fn replace(elf: &[u8], offsets: &Offsets) -> Result<(Vec<u8>, usize), object::Error> {
    let code: Vec<(u64, u64)> = object::File::parse(elf)?
        .sections()
        .filter(|section| section.kind() == SectionKind::Text)
        .filter_map(|section| section.file_range())
        .collect();
    let mut replaced = elf.to_vec();
    let mut count = 0;
    for (start, len) in code {
        let range = usize::try_from(start).ok().zip(usize::try_from(len).ok());
        let section = range.and_then(|(start, len)| replaced.get_mut(start..start.checked_add(len)?));
        count += section.map_or(0, |section| in_section(section, offsets));
    }
    Ok((replaced, count))
}

fn in_section(code: &mut [u8], offsets: &Offsets) -> usize {
    let mut count = 0;
    let mut instructions = code.chunks_exact_mut(INSTRUCTION);
    while let Some(instruction) = instructions.next() {
        match instruction[0] {
            LOAD_IMMEDIATE => drop(instructions.next()),
            MOVE_IMMEDIATE => count += usize::from(in_move(instruction, offsets)),
            CALL => count += usize::from(in_call(instruction, offsets)),
            _ => {}
        }
    }
    count
}

/// False when the immediate is no placeholder.
fn in_move(instruction: &mut [u8], offsets: &Offsets) -> bool {
    let Some(immediate) = instruction.last_chunk_mut::<4>() else {
        return false;
    };
    let word = placed(i32::from_le_bytes(*immediate)).and_then(|word| offsets.words().get(word));
    if let Some(word) = word {
        *immediate = word.to_le_bytes();
    }
    word.is_some()
}

/// False when no placeholder is called.
fn in_call(instruction: &mut [u8], offsets: &Offsets) -> bool {
    if !in_move(instruction, offsets) {
        return false;
    }
    if offsets.cast == 0 {
        instruction.copy_from_slice(&MOVE_ARGUMENT);
    } else {
        instruction[1] = KERNEL_FUNCTION << 4;
    }
    true
}

#[cfg(test)]
mod tests {
    use kevmon_common::placeholder;

    use super::*;
    use crate::kernel::object::OBJECT;

    fn instruction(code: u8, immediate: i32) -> [u8; INSTRUCTION] {
        let mut instruction = [code, 1, 0, 0, 0, 0, 0, 0];
        instruction[4..].copy_from_slice(&immediate.to_le_bytes());
        instruction
    }

    #[test]
    fn only_moves_of_placeholders_change() {
        let mut offsets = Offsets::UNRESOLVED;
        offsets.task_tgid = 2468;
        let tgid = placeholder(std::mem::offset_of!(Offsets, task_tgid));
        let behind = placeholder(size_of::<Offsets>());
        let (or, load_second) = (0x47, 0);
        let before = [
            (MOVE_IMMEDIATE, tgid),
            (MOVE_IMMEDIATE, 7),
            (MOVE_IMMEDIATE, behind),
            (or, tgid),
            (LOAD_IMMEDIATE, tgid),
            (load_second, tgid),
            (LOAD_IMMEDIATE, 1),
            (MOVE_IMMEDIATE, tgid), // the second place of the load: its code means nothing
            (MOVE_IMMEDIATE, tgid),
        ];
        let bytes = |program: &[(u8, i32)]| -> Vec<u8> {
            program
                .iter()
                .flat_map(|&(code, immediate)| instruction(code, immediate))
                .collect()
        };
        let mut code = bytes(&before);
        assert_eq!(in_section(&mut code, &offsets), 2);
        let mut expected = before;
        expected[0].1 = 2468;
        expected[8].1 = 2468;
        assert_eq!(code, bytes(&expected));
    }

    #[test]
    fn a_cast_is_a_call_of_the_kernel_or_a_move() {
        let mut offsets = Offsets::UNRESOLVED;
        let cast = placeholder(std::mem::offset_of!(Offsets, cast));
        let call = |immediate: i32| {
            let mut instruction = [CALL, 0, 0, 0, 0, 0, 0, 0];
            instruction[4..].copy_from_slice(&immediate.to_le_bytes());
            instruction
        };
        let (helper, before) = (call(125), call(cast));
        let mut code = [helper, before].concat();
        assert_eq!(in_section(&mut code, &offsets), 1);
        assert_eq!(code, [helper, MOVE_ARGUMENT].concat());
        offsets.cast = 0x1234;
        let mut code = [helper, before].concat();
        assert_eq!(in_section(&mut code, &offsets), 1);
        assert_eq!(code, [helper, [CALL, 0x20, 0, 0, 0x34, 0x12, 0, 0]].concat());
    }

    #[test]
    fn the_programs_keep_no_placeholder() {
        let offsets = Offsets::UNRESOLVED;
        let (replaced, count) = replace(OBJECT, &offsets).expect("the object is an ELF file");
        assert!(count > 100, "{count} placeholders");
        assert_eq!(replaced.len(), OBJECT.len());
        let (again, left) = replace(&replaced, &offsets).expect("still an ELF file");
        assert_eq!((left, again == replaced), (0, true));
    }

    #[test]
    fn what_is_no_elf_file_is_refused() {
        assert!(replace(b"\x7fELF", &Offsets::UNRESOLVED).is_err());
    }
}
