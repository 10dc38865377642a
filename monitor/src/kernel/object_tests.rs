//! The programs in this kernel's verifier.

use super::*;

const SIZES: Sizes = Sizes {
    ring: 1 << 16,
    marks: 64,
    log: None,
};

/// What is attached watches nobody: its time is over.
const OVER: u64 = 0;

fn resolved() -> Offsets {
    assert!(rustix::process::geteuid().is_root(), "missing prerequisite: root");
    btf::resolve(Path::new(VMLINUX_BTF)).unwrap()
}

#[test]
fn where_the_kernel_refuses_its_functions_the_programs_do_without() {
    let offsets = resolved();
    if offsets.cast == 0 {
        return; // Linux before 6.2 has no such function
    }
    let attached = attach_with(offsets, SIZES, OVER).unwrap();
    assert_eq!(attached.offsets.cast, offsets.cast);
    // A type is no function.
    let refused = Offsets {
        cast: offsets.task_type,
        ..offsets
    };
    assert!(attach_at(refused, SIZES, OVER).is_err());
    let attached = attach_with(refused, SIZES, OVER).unwrap();
    assert_eq!(attached.offsets.cast, 0);
    assert!(attached.task_dead.is_some());
}
