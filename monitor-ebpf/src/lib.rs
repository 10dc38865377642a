//! What the programs of both objects share: how they read the kernel's structures.
#![no_std]
// Nobody prints what is in a program.
#![allow(missing_debug_implementations)]
#![feature(asm_experimental_arch)]

pub mod atomic;
pub mod iterator;
pub mod task;
