//! What kevmon knows about processes, whichever source told it: identities, usage, events and the table.
//! Pure: no I/O, no clock; time comes in with every event.

pub mod arguments;
mod contention;
pub mod ending;
pub mod event;
pub mod facts;
pub mod gauges;
pub mod identity;
pub mod interpreter;
pub mod key;
pub mod paths;
pub mod program;
mod progress;
pub mod spread;
mod switch_times;
pub mod table;
pub mod usage;
mod version;

pub use arguments::Arguments;
pub use contention::{Contention, Stall};
pub use ending::{Ending, Reason, Sender, signal_name};
pub use event::{Event, Judgement, LostEnd, LostLives, Recovered, Sample, Seen, SeenEnd};
pub use facts::{FactIds, Facts};
pub use gauges::{Gauges, Host};
pub use identity::{COMM_BYTES, Identity, executable_name};
pub use key::{BootTime, KeyMap, KeySet, Moment, ProcessKey, Tgid, UserMap};
pub use paths::end_of_a_path;
pub use program::{Likeness, Program};
pub use progress::Progress;
pub use spread::{Quantity, Spread};
pub use switch_times::{Preempted, SwitchTimes};
pub use table::{Process, ProcessTable, State};
pub use usage::{Counter, Usage};
