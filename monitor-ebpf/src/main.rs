//! kevmon's kernel side: one hook per file, nine BTF tracepoints and two task iterators.
//!
//! Tracepoints report what happens to processes the moment it happens; the iterators read the kernel's
//! own accounting on demand. Nothing here decides what is interesting: an exec marks its process
//! *undecided*, userspace answers with a verdict, and until then everything about it is reported.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod arguments;
mod cgroup;
mod dead;
mod end;
mod exec;
mod exit;
mod facts;
mod files;
mod fork;
mod free;
mod identity;
mod lost;
mod maps;
mod oom;
mod rename;
mod sample;
mod signal;
mod snapshot;

use kevmon_ebpf::task;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// `tp_btf` programs may call GPL-only helpers (bpf_probe_read_kernel); the object is dual-licensed.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
