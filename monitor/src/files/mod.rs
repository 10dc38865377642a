//! Files at paths that somebody chose: who may have made them, and how they are opened without being led elsewhere.
//!
//! kevmon runs as root and opens files whose paths lie partly in other users' hands: below `/tmp`, in a home folder, behind a
//! link. Whoever can make a name on such a path can lead a plain `open` or `rename` to any file of the host
//! (symlink(7), path_resolution(7)). `fs.protected_symlinks` helps in sticky folders alone, and not against one's own user.
//! These rules hold for each path, whoever named it:
//!
//! - *Ours* is what belongs to root, to kevmon's own user, or to the user who called sudo ([`Owners`]).
//! - A folder on the way has to be ours, and nobody else may write it. A sticky one (`/tmp`) may be written by others: there,
//!   what is ours stays where it is, and only what others made is refused.
//! - A link on the way is followed where it is ours and stands in a folder that nobody else can write. A link in the last place
//!   is refused for what kevmon writes. For what it only reads, it is followed by the same rule: that is how mounted
//!   ConfigMaps and certificates come.
//! - The file itself has to be ours and written by nobody else. Where others can make names, a second hard link to it is
//!   refused too: they may have made the name.
//!
//! The way is walked from `/` one name at a time with `O_PATH | O_NOFOLLOW`, and each step is looked at through its own
//! descriptor (fstat(2)). What is opened, made, renamed or removed then is done below the last descriptor ([`Folder`]). Nobody
//! else can change a way that was accepted, so its path ([`Folder::path`]) may be given to SQLite, which opens by path.

mod folder;
mod owners;
mod socket;
mod way;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

pub use folder::{Accepts, Folder, Open};
pub use owners::Owners;
pub use socket::Socket;
pub use way::{Missing, open_to_read};

/// Why a path is not used. Its `Display` is one line: path, what is wrong, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The file, folder or link that is at fault.
    pub path: PathBuf,
    /// What is wrong with it.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path.display(), self.message, self.remedy)
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::other(refusal)
    }
}

/// The refusal in an error of this module; `None`: the system refused.
pub fn refusal(error: &io::Error) -> Option<&Refusal> {
    error.get_ref()?.downcast_ref()
}

fn refuse(path: &Path, message: impl Into<String>, remedy: impl Into<String>) -> io::Error {
    let refusal = Refusal {
        path: path.to_owned(),
        message: message.into(),
        remedy: remedy.into(),
    };
    refusal.into()
}
