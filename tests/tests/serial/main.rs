//! End-to-end tests that run one at a time: they flood the host with processes or renames, overflow the ring, choose pids,
//! or need a processor to themselves. A test that only waits belongs to the parallel ones, however long it takes.

mod collectors_attacks;
mod cpu_usage;
mod detailed;
mod exact_ends;
mod harness_times;
mod hostile_collector;
mod large_groups;
mod long_arguments;
mod loss_corners;
mod mass_death;
mod overflow;
mod pid_reuse;
mod pins;
mod renames;
mod sleep;
mod soak_receivers;
mod soak_steady;
mod storm;
mod takeover;
mod verdicts;
