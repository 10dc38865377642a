//! kevmon: an eBPF-assisted process monitor that speaks OTLP.

mod app;
mod cli;
mod collector;
mod config;
mod episode;
mod export;
mod files;
mod health;
mod import;
mod kernel;
mod limits;
mod metrics;
mod plugin;
mod process;
mod procfs;
mod store;
mod users;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match app::run(cli::Cli::parse()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("kevmon: {error:#}");
            app::Exit::Failure.into()
        }
    }
}
