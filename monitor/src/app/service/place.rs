//! Where the commands socket of an instance is, for the daemon that listens and for whoever looks for it.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use crate::config::{self, Environment};

/// The name of an instance that was given none.
const INSTANCE: &str = "kevmon";
/// A root kevmon's folder.
const OF_ROOT: &str = "/run/kevmon";
const EXTENSION: &str = "sock";
/// Sockets that are looked at in one folder at most.
const LOOKED_AT: usize = 256;

/// What says where a socket is.
#[derive(Debug, Clone, Copy)]
pub(in crate::app) struct Wanted<'a> {
    /// The instance's name, where it was given.
    pub(in crate::app) instance: Option<&'a str>,
    /// The state's database, where it was given.
    pub(in crate::app) database: Option<&'a Path>,
    pub(in crate::app) environment: &'a Environment,
}

impl Wanted<'_> {
    /// The name of the socket's file without its extension.
    pub(in crate::app) fn instance(&self) -> &str {
        self.instance.unwrap_or(INSTANCE)
    }

    /// The folder in which a daemon listens; `None`: there is none.
    pub(in crate::app) fn folder(&self) -> Option<PathBuf> {
        self.of_systemd()
            .or_else(|| self.of_database())
            .or_else(|| is_root().then(|| OF_ROOT.into()))
            .or_else(|| self.of_user())
            .or_else(|| self.of_state())
    }

    /// The folders in which somebody else may listen.
    fn folders(&self) -> Vec<PathBuf> {
        if let Some(folder) = self.of_database() {
            return vec![folder];
        }
        let all = [
            self.of_systemd(),
            Some(OF_ROOT.into()),
            self.of_user(),
            self.of_state(),
        ];
        let mut folders: Vec<PathBuf> = all.into_iter().flatten().collect();
        folders.sort();
        folders.dedup();
        folders
    }

    fn of_systemd(&self) -> Option<PathBuf> {
        // Several directories are separated by colons (systemd.exec(5), RuntimeDirectory=).
        let list = self.environment.get("RUNTIME_DIRECTORY")?;
        list.split(':').find_map(absolute)
    }

    /// The sockets that are there, by instance and path, and the folders that were looked at.
    pub(in crate::app) fn sockets(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let folders = self.folders();
        let mut sockets: Vec<PathBuf> = Vec::new();
        for folder in &folders {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let paths = entries.map(|entry| entry.path()).take(LOOKED_AT);
            sockets.extend(paths.filter(|path| path.extension() == Some(OsStr::new(EXTENSION))));
        }
        if let Some(instance) = self.instance {
            sockets.retain(|path| path.file_stem() == Some(OsStr::new(instance)));
        }
        sockets.sort();
        (sockets, folders)
    }

    fn of_database(&self) -> Option<PathBuf> {
        let path = std::path::absolute(self.database?).ok()?;
        Some(path.parent()?.to_owned())
    }

    fn of_user(&self) -> Option<PathBuf> {
        let folder = absolute(self.environment.get("XDG_RUNTIME_DIR")?)?;
        Some(folder.join("kevmon"))
    }

    fn of_state(&self) -> Option<PathBuf> {
        let state = config::metadata_path(None, self.environment, is_root()).ok()?;
        Some(state.parent()?.to_owned())
    }
}

/// The file of an instance's socket.
pub(in crate::app) fn file(folder: &Path, instance: &str) -> PathBuf {
    folder.join(format!("{instance}.{EXTENSION}"))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn absolute(text: &str) -> Option<PathBuf> {
    Path::new(text).is_absolute().then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_listens_where_it_is_looked_for() {
        let environment = |pairs: &[(&str, &str)]| Environment::from_pairs(pairs.iter().copied());
        let systemd = environment(&[
            ("RUNTIME_DIRECTORY", "/run/kevmon:/run/other"),
            ("HOME", "/home/x"),
        ]);
        let plain = environment(&[("HOME", "/home/x")]);
        let wanted = |environment, database| Wanted {
            instance: None,
            database,
            environment,
        };
        let database = Some(Path::new("/srv/kevmon/metadata.db"));
        let folder = |wanted: Wanted<'_>| wanted.folder().unwrap();
        assert_eq!(folder(wanted(&systemd, database)), Path::new("/run/kevmon"));
        assert_eq!(folder(wanted(&plain, database)), Path::new("/srv/kevmon"));
        assert_eq!(wanted(&plain, database).folders(), [PathBuf::from("/srv/kevmon")]);
        let elsewhere = environment(&[("RUNTIME_DIRECTORY", "/run/other"), ("HOME", "/home/x")]);
        for environment in [&plain, &systemd, &elsewhere] {
            let default = wanted(environment, None);
            assert!(default.folders().contains(&default.folder().unwrap()));
        }
    }
}
