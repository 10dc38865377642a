//! End-to-end tests that run one at a time: they flood the host with processes, overflow the ring, choose pids or measure
//! CPU time to the microsecond.

mod accounting;
mod loss_corners;
mod outage;
mod overflow;
mod pid_reuse;
mod storm;
