//! What the kernel side and the user side of kevmon must agree on: records, map keys and values,
//! and the kernel field offsets that userspace resolves for the programs.
//!
//! Every shared type is `repr(C)`, holds integers and byte arrays only, has no implicit padding, and
//! its size is asserted beside it, so both compilers see one layout.
#![no_std]

mod counters;
mod marks;
mod offsets;
mod records;
mod switches;

pub use counters::{Counters, Failure};
pub use marks::*;
pub use offsets::{ABSENT, Offsets, RSS_COUNTERS, placed, placeholder};
pub use records::*;
pub use switches::*;
