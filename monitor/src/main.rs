//! kevmon: an eBPF-assisted process monitor that speaks OTLP.

#![cfg_attr(fuzzing, no_main)]
#![cfg_attr(fuzzing, expect(dead_code, reason = "libFuzzer calls the targets alone"))]

mod app;
mod cli;
mod collector;
mod config;
mod episode;
mod export;
mod files;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod health;
mod import;
mod kernel;
mod limits;
mod metrics;
mod plugin;
mod process;
mod procfs;
mod recorder;
mod shown;
mod store;
mod users;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match app::run(cli::Cli::parse()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            shown::complain(format_args!("{error:#}"));
            app::Exit::Failure.into()
        }
    }
}
