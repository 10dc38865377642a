//! End-to-end tests that run one at a time: they flood the host with processes or renames, overflow the ring, choose pids,
//! or need a processor to themselves.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed assumption in a test is a failed test"
)]

mod cpu_usage;
mod export_answers;
mod export_connections;
mod export_series;
mod grpcio_collections;
mod harness_times;
mod hostile_collector;
mod hostile_receivers;
mod kills;
mod large_groups;
mod limits;
mod long_arguments;
mod loss_corners;
mod mass_death;
mod otel_collector;
mod outage;
mod overflow;
mod pid_reuse;
mod prometheus_otlp;
mod renames;
mod slow_disk;
mod soak_receivers;
mod storm;
