//! End-to-end tests that run at the same time: each has names, ports and folders of its own.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed assumption in a test is a failed test"
)]

mod accounting;
mod bad_input;
mod clock;
mod collectors;
mod collectors_attacks;
mod collectors_python;
mod collectors_settings;
mod collectors_stream;
mod command_lines;
mod commands;
mod conventions;
mod cron;
mod doctor;
mod entropy;
mod events;
mod export;
mod export_answers;
mod export_connections;
mod export_deltas;
mod export_ends;
mod export_faults;
mod export_lines_kills;
mod export_outage;
mod export_outputs;
mod export_routes;
mod export_series;
mod export_telemetry;
mod export_telemetry_ways;
mod export_times;
mod export_tls;
mod export_transports;
mod export_unconfirmed;
mod grpcio_collections;
mod harness;
mod harness_delivery;
mod harness_endings;
mod harness_fake;
mod harness_logs;
mod harness_receivers;
mod hidden_boot;
mod history_users;
mod host_changes;
mod hostile_receivers;
mod identity;
mod idle;
mod kernel_features;
mod kills;
mod limits;
mod lives;
mod log;
mod matching;
mod membership;
mod metric_names;
mod names;
mod notify;
mod one_state;
mod otel_collector;
mod outage;
mod outage_plugins;
mod planted;
mod plugin_import;
mod plugin_tools;
mod proc_source;
mod process_series;
mod prometheus;
mod prometheus_access;
mod prometheus_otlp;
mod reasons;
mod reexecuted;
mod reload;
mod resource;
mod restart_kept;
mod restart_pairs;
mod restarts;
mod rotel;
mod run_once;
mod selectors;
mod service_names;
mod services;
mod shutdown;
mod slow_disk;
mod state_deleted;
mod store;
mod titles;
mod units;
mod victoria_metrics;
