//! The second object: what tracked threads do between two looks.
//!
//! `sched_switch` measures each tracked thread when it leaves its CPU: how long it waited for the CPU, how long it ran, and what
//! it did before. All of that stands in the kernel's own accounting by then (`sum_exec_runtime`, `run_delay`,
//! `last_arrival`), so that one look at one thread is enough, and nothing has to be noted when it comes to its CPU or is woken.
//! Threads that are not tracked cost one look-up.
//!
//! A thread is tracked while it has storage in the map `THREADS`. Storage is made where memory may be had: at a fork for
//! the child, at an exec, and by the iterator `walk` for what userspace wants. Nobody knows at a fork whether the child will
//! be of interest; what is not is given up by a later walk. The object is attached only while somebody asks for it.
#![no_std]
#![no_main]

mod ends;
mod life;
mod preemptors;
mod switch;
mod threads;
mod walk;

use kevmon_ebpf::task;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
