//! The end-to-end harness: starts the real kevmon on the real kernel, gives it child processes of
//! known behaviour, asks the kernel (wait4) what they did, and receives what kevmon pushed.
//!
//! `cargo xtask test` runs the tests and `cargo xtask bench` the benchmarks; both set the variables
//! that [`kevmon::binary`] and [`rotel::Rotel`] read. Everything here panics with the reason when an
//! assumption fails: a missing prerequisite is a failed run, never a skipped one.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a failed assumption in a test is a failed test"
)]

pub mod answered;
pub mod answers;
pub mod answers_http2;
pub mod attacks;
pub mod cells;
pub mod certificates;
pub mod cgroup;
pub mod checks;
pub mod collector;
pub mod columns;
pub mod daemon;
pub mod dashboards;
pub mod delivery;
pub mod docs;
mod ended;
pub mod executable;
pub mod fake;
pub mod features;
pub mod filtered;
pub mod floods;
pub mod grpcio;
pub mod held_thread;
pub mod history;
pub mod http;
pub mod invocations;
pub mod isolated;
pub mod kevmon;
pub mod known;
pub mod live;
pub mod logs;
pub mod manager;
pub mod markdown;
pub mod matrix;
pub mod modes;
pub mod mount;
pub mod nginx;
pub mod nobody;
pub mod packages;
pub mod pins;
pub mod plugin_dir;
pub mod plugin_tool;
pub mod points;
pub mod port;
pub mod proc_mount;
pub mod process;
pub mod prometheus;
pub mod pty;
pub mod push;
pub mod receiver;
pub mod rotel;
pub mod same_pid;
pub mod sample;
pub mod scratch;
pub mod script;
pub mod soak;
pub mod spans;
pub mod supervisor;
pub mod telemetry;
pub mod tick;
pub mod times;
pub mod tour;
pub mod truth;
pub mod turn;
pub mod victoria_metrics;
pub mod wait;
pub mod watch;
pub mod watched;
pub mod workload;
