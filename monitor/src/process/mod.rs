//! What kevmon knows about processes, whichever source told it: identities, usage, events and the table.
//! Pure: no I/O, no clock; time comes in with every event.

pub mod event;
pub mod gauges;
pub mod identity;
pub mod key;
pub mod table;
pub mod usage;

pub use event::{Event, Judgement, Sample, Seen};
pub use gauges::{Gauges, Host};
pub use identity::Identity;
pub use key::{BootTime, ProcessKey, Tgid};
pub use table::{Process, ProcessTable, State};
pub use usage::{Counter, Usage};
