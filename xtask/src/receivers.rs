//! What the end-to-end tests send to that is not ours, and under which variable each is named to them.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{grpcio, nginx, rotel, victoria_metrics};

/// Programs that are there and run.
#[derive(Debug)]
pub(crate) struct Receivers {
    rotel: PathBuf,
    victoria_metrics: PathBuf,
    nginx: PathBuf,
    grpcio: PathBuf,
}

/// Installs those that are not there.
pub(crate) fn setup(workspace: &Workspace) -> Result<Receivers> {
    Ok(Receivers {
        rotel: rotel::setup(workspace)?,
        victoria_metrics: victoria_metrics::setup(workspace)?,
        nginx: nginx::setup(workspace)?,
        grpcio: grpcio::setup(workspace)?,
    })
}

impl Receivers {
    /// The tests' variables.
    pub(crate) fn environment(&self) -> [(&'static str, &Path); 4] {
        [
            ("KEVMON_ROTEL", &self.rotel),
            ("KEVMON_VICTORIA_METRICS", &self.victoria_metrics),
            ("KEVMON_NGINX", &self.nginx),
            ("KEVMON_GRPCIO", &self.grpcio),
        ]
    }
}
