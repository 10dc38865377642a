//! The only door to eBPF: resolves kernel offsets, loads and attaches the programs, drains their records, reads
//! their iterators, and answers with verdicts. Everything it hands on is in the process module's own types.

mod btf;
mod caller;
mod cgroups;
mod decode;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod heartbeat;
mod held;
mod held_arguments;
mod iterator;
mod losses;
mod lost;
mod object;
mod pins;
mod placeholders;
mod refusal;
mod rights;
mod ring;
mod ring_memory;
mod source;
mod switch_decode;
mod switches;
mod sys;
mod threads;
mod verdicts;

pub use cgroups::Cgroups;
#[cfg(test)]
pub use losses::of_the_ring;
pub use pins::{Left, PinError, left, remove as remove_pins, state_name};
pub use source::{KernelSource, Pinning, ProgramTime, Settings, Takeover};
pub use switches::{Missed, ThreadEnded};
