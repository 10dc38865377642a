//! The original framework's database in the home folder: noticed once, when kevmon's own state is new.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::config::Environment;

/// Where the original keeps it, below the home folder.
const PLACE: &str = ".instana_plugins/metadata.db";

/// What an SQLite file begins with (https://sqlite.org/fileformat2.html).
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Where the header has the application's id, four bytes: 0 in the original's.
const APPLICATION_ID: std::ops::Range<usize> = 68..72;

/// The header and, in every database that the original made, the first page of its schema.
const FIRST_PAGE: u64 = 4096;

/// A table of the original's, in all its versions.
const TABLE: &[u8] = b"services";

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who {
    /// The effective user.
    pub(super) user: u32,
    /// The user who called sudo, where root was got by it.
    pub(super) sudo: Option<u32>,
}

impl Who {
    /// This process.
    pub(super) fn of_this_process(environment: &Environment) -> Self {
        Self {
            user: rustix::process::geteuid().as_raw(),
            sudo: environment.get("SUDO_UID").and_then(|uid| uid.parse().ok()),
        }
    }
}

/// One line that offers the migration; `None` where there is nothing to offer: no home, no such file, another program's or
/// one that kevmon has migrated already, or another user's. The file is only looked at: root opens no database in a
/// folder that somebody else can change.
pub(super) fn offer(environment: &Environment, who: Who, state: &Path) -> Option<String> {
    let home = PathBuf::from(environment.get("HOME")?);
    let path = home.join(PLACE);
    if !home.is_absolute() {
        return None;
    }
    let owner = owner_of_original(&path)?;
    let (path, state) = (path.display(), state.display());
    if owner == who.user {
        return Some(format!(
            "{path} is the Instana framework's database: start kevmon with --metadata-db-path {path} to keep its ids (it is \
             migrated, a copy of what it was stays beside it)"
        ));
    }
    // Whoever called sudo is who ran the original, most likely.
    (who.user == 0 && who.sudo == Some(owner)).then(|| {
        format!(
            "{path} is the Instana framework's database, of user {owner}: to keep its ids, copy it to {state}.original and \
             start kevmon with --metadata-db-path {state}.original, which migrates it"
        )
    })
}

/// The owner of what looks like a database that the original made and nobody has migrated.
fn owner_of_original(path: &Path) -> Option<u32> {
    // Neither a link to another file nor a pipe that would wait for a writer.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() {
        return None;
    }
    let mut page = Vec::new();
    file.take(FIRST_PAGE).read_to_end(&mut page).ok()?;
    let is_original = page.starts_with(MAGIC)
        && page.get(APPLICATION_ID).is_some_and(|id| id == [0; 4])
        && page.windows(TABLE.len()).any(|window| window == TABLE);
    is_original.then_some(metadata.uid())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// What the original's database begins with.
    fn page(application_id: u8, table: &str) -> Vec<u8> {
        let mut page = vec![0; 4096];
        page[..16].copy_from_slice(MAGIC);
        page[71] = application_id;
        page[3000..3000 + table.len()].copy_from_slice(table.as_bytes());
        page
    }

    #[test]
    fn it_is_offered_to_its_owner_and_to_whoever_called_sudo() {
        let home = std::env::temp_dir().join(format!("kevmon-original-{}", std::process::id()));
        let path = home.join(PLACE);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let own = fs::metadata(&home).unwrap().uid();
        let environment = |home: &str| Environment::from_pairs([("HOME", home)]);
        let at_home = environment(home.to_str().unwrap());
        let state = Path::new("/var/lib/kevmon/metadata.db");
        let offered = |environment: &Environment, user, sudo| offer(environment, Who { user, sudo }, state);

        assert_eq!(offered(&at_home, own, None), None, "there is none");
        fs::write(&path, page(0, "CREATE TABLE services (")).unwrap();
        let line = offered(&at_home, own, None).unwrap();
        assert!(
            line.contains(&format!("--metadata-db-path {}", path.display())),
            "{line}"
        );
        assert!(!line.contains('\n'));
        let line = offered(&at_home, 0, Some(own)).filter(|_| own != 0);
        assert!(own == 0 || line.unwrap().contains("/var/lib/kevmon/metadata.db.original"));
        assert_eq!(offered(&at_home, own + 1, None), None, "another user's");
        assert_eq!(
            offered(&at_home, own + 1, Some(own)),
            None,
            "sudo to somebody else"
        );
        for nowhere in ["", "relative", "/no/such/home"] {
            assert_eq!(offered(&environment(nowhere), own, None), None, "{nowhere:?}");
        }
        assert_eq!(offered(&Environment::default(), own, None), None, "no HOME");

        for (what, content) in [
            ("migrated already", page(b'k', "services")),
            ("another program's", page(0, "bookmarks")),
            ("no database", b"hello".to_vec()),
            ("empty", Vec::new()),
        ] {
            fs::write(&path, content).unwrap();
            assert_eq!(offered(&at_home, own, None), None, "{what}");
        }
        fs::write(home.join("elsewhere"), page(0, "services")).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(home.join("elsewhere"), &path).unwrap();
        assert_eq!(offered(&at_home, own, None), None, "a link");
        fs::remove_dir_all(home).unwrap();
    }
}
