//! The command lines about packages: what is in them, and what of it is installed.

use std::path::PathBuf;

use clap::Args as ClapArgs;

/// The flags of `kevmon generate`.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct GenerateArgs {
    /// The folder to write into; it is made where it is missing
    pub directory: PathBuf,
}

/// The flags of `kevmon verify-install`.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct VerifyInstallArgs {
    /// The root of the file system, or the folder that install.sh installed into [default: the folder above the one that
    /// kevmon itself is in, where a manifest is there, else /]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
