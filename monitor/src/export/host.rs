//! Which host this is, and what every resource says of it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

/// Where a machine-id is looked for, below the root: systemd's (machine-id(5)), and the one that D-Bus had before it.
const MACHINE_IDS: [&str; 2] = ["etc/machine-id", "var/lib/dbus/machine-id"];

/// More of such a file is not read, bytes.
const LONGEST_MACHINE_ID: u64 = 128;

/// Who the host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostIdentity {
    /// `host.id`: the one that is given, else the machine-id, where there is one.
    pub id: Option<String>,
    /// `host.name`.
    pub name: String,
    /// What instance ids are made of: `id`, else `name`, as they were when kevmon started.
    origin: String,
    /// Which of this host's daemons reports.
    pub reporter: Reporter,
    /// Resource attributes that the settings give, `host.name` and `host.id` among them.
    given: BTreeMap<String, String>,
    /// Why there is no machine-id, where one is needed.
    no_machine_id: Option<String>,
}

/// What tells several daemons on one host apart at a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reporter {
    /// The only one there may be.
    #[default]
    Main,
    /// The one that has the state at a path of this hash: services have the ids that they have anywhere, what it says of
    /// itself has an id of that state, which stays.
    OfState(u64),
    /// The same of one that shares that path with others, and watches other plugins.
    OfSet(u64),
    /// One without a store: its counters begin at 0 with each run, so each run has ids of its own.
    Unstored(u64),
}

impl HostIdentity {
    /// With these.
    pub fn new(id: Option<String>, name: String) -> Self {
        Self {
            origin: id.clone().unwrap_or_else(|| name.clone()),
            id,
            name,
            reporter: Reporter::Main,
            given: BTreeMap::new(),
            no_machine_id: None,
        }
    }

    /// This host's, with the resource attributes that are `given`.
    pub fn read(given: &BTreeMap<String, String>) -> Self {
        Self::read_below(Path::new("/"), given)
    }

    fn read_below(root: &Path, given: &BTreeMap<String, String>) -> Self {
        let name = given.get("host.name").cloned();
        let name = name.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
        let (id, no_machine_id) = match given.get("host.id").cloned().map_or_else(|| machine_id(root), Ok) {
            Ok(id) => (Some(id), None),
            Err(reason) => (None, Some(reason)),
        };
        Self {
            given: given.clone(),
            no_machine_id,
            ..Self::new(id, name)
        }
    }

    /// This host's, with name, machine-id and what is `given` as they are now. Instance ids stay what they are, and so does
    /// a `host.id` that was given: they are made of it.
    pub fn read_again(&self, given: &BTreeMap<String, String>) -> Self {
        let mut given = given.clone();
        given.remove("host.id");
        let id = self.given.get("host.id").cloned();
        given.extend(id.map(|id| ("host.id".to_owned(), id)));
        Self {
            origin: self.origin.clone(),
            reporter: self.reporter,
            ..Self::read(&given)
        }
    }

    /// The same with the host's name as it is now, where that has changed and none is given. Costs one system call.
    pub fn renamed(&self) -> Option<Self> {
        if self.given.contains_key("host.name") {
            return None;
        }
        let uname = rustix::system::uname();
        let name = uname.nodename().to_string_lossy();
        (name != self.name).then(|| Self {
            name: name.into_owned(),
            ..self.clone()
        })
    }

    /// What the settings give, `host.name` and `host.id` among them.
    pub fn given(&self) -> &BTreeMap<String, String> {
        &self.given
    }

    /// The settings say what `host.id` is.
    pub fn is_id_given(&self) -> bool {
        self.given.contains_key("host.id")
    }

    /// Why `host.id` is not known, in words; `None` where it is.
    pub fn no_machine_id(&self) -> Option<&str> {
        self.no_machine_id.as_deref()
    }

    /// What instance ids are made of.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// What every resource says: `host.*` and `os.type` (semantic conventions 1.44, "Host" and "Operating System"), and what
    /// is given, which outranks them.
    pub(super) fn attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = BTreeMap::from([
            ("host.name".to_owned(), self.name.clone()),
            ("host.arch".to_owned(), arch()),
            ("os.type".to_owned(), "linux".to_owned()),
        ]);
        attributes.extend(self.id.clone().map(|id| ("host.id".to_owned(), id)));
        attributes.extend(self.given.clone());
        attributes
    }
}

/// `host.arch` of the machine that uname(2) tells.
fn arch() -> String {
    arch_of(&rustix::system::uname().machine().to_string_lossy()).to_owned()
}

/// The value of `host.arch` for a machine as the kernel calls it (`UTS_MACHINE` of arch/*/Makefile, Linux 6.12); one that the
/// semantic conventions have no word for is called as it is.
fn arch_of(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" | "aarch64_be" => "arm64",
        "ppc64" | "ppc64le" => "ppc64",
        "ppc" | "ppcle" => "ppc32",
        "i386" | "i486" | "i586" | "i686" => "x86",
        _ if machine.starts_with("arm") => "arm32",
        // ia64 and s390x among them, which are the conventions' own words.
        _ => machine,
    }
}

/// The machine-id of the host whose files lie below `root`.
///
/// # Errors
/// What each place holds instead.
fn machine_id(root: &Path) -> Result<String, String> {
    let mut reasons = Vec::new();
    for place in MACHINE_IDS {
        match read_beginning(&root.join(place)) {
            Ok(text) => match parse_machine_id(&text) {
                Some(id) => return Ok(id),
                None if text.trim().is_empty() => reasons.push(format!("/{place} is empty")),
                None => {
                    let shown: String = text.trim().chars().take(40).collect();
                    reasons.push(format!("/{place} holds no machine-id but {shown:?}"));
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                reasons.push(format!("/{place} does not exist"));
            }
            Err(error) => reasons.push(format!("/{place} cannot be read ({error})")),
        }
    }
    Err(reasons.join(", "))
}

fn read_beginning(path: &Path) -> io::Result<String> {
    // Opening a pipe would wait for a writer.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(LONGEST_MACHINE_ID)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// 32 hexadecimal digits that are not all 0 (machine-id(5)), as lower case. What an image holds before its first boot
/// (`uninitialized`, nothing) is no id: every copy has it.
fn parse_machine_id(text: &str) -> Option<String> {
    let id = text.trim();
    let digits = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (digits && id.bytes().any(|byte| byte != b'0')).then(|| id.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// A root with these machine-id files, removed with it.
    struct Root(std::path::PathBuf);

    impl Root {
        fn new(systemd: Option<&[u8]>, dbus: Option<&[u8]>) -> Self {
            let name = format!(
                "kevmon-host-{}-{:?}",
                std::process::id(),
                std::thread::current().id()
            );
            let root = Self(std::env::temp_dir().join(name));
            for (place, content) in MACHINE_IDS.into_iter().zip([systemd, dbus]) {
                let path = root.0.join(place);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                if let Some(content) = content {
                    fs::write(path, content).unwrap();
                }
            }
            root
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn what_a_machine_id_is() {
        const LEAST: &str = "00000000000000000000000000000001";
        let upper = ID.to_ascii_uppercase();
        let (longer, line, two) = (format!("{ID}0"), format!("{ID}\n"), format!("{ID}\n{ID}\n"));
        let blanks = format!(" {ID} \r\n");
        for (text, expected) in [
            (ID, Some(ID)),
            (&line, Some(ID)),
            (&blanks, Some(ID)),
            (&upper, Some(ID)),
            (LEAST, Some(LEAST)),
            ("", None),
            ("\n", None),
            ("uninitialized", None),
            ("uninitialized\n", None),
            ("00000000000000000000000000000000", None),
            (&ID[1..], None),
            (&longer, None),
            (&two, None),
            ("01234567-89ab-cdef-0123-456789abcdef", None),
            ("0123456789abcdef0123456789abcdeg", None),
            ("٠١٢٣٤٥٦٧٨٩abcdef", None),
        ] {
            assert_eq!(parse_machine_id(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn where_a_machine_id_comes_from() {
        const OTHER: &str = "fedcba9876543210fedcba9876543210";
        let (id, other) = (ID.as_bytes(), OTHER.as_bytes());
        for (systemd, dbus, expected) in [
            (Some(id), Some(other), Ok(ID)),
            (Some(id), None, Ok(ID)),
            (None, Some(other), Ok(OTHER)),
            (Some(&b"uninitialized\n"[..]), Some(other), Ok(OTHER)),
            (
                Some(b"uninitialized\n"),
                None,
                Err(
                    "/etc/machine-id holds no machine-id but \"uninitialized\", /var/lib/dbus/machine-id does not exist",
                ),
            ),
            (
                Some(b""),
                Some(b" \n"),
                Err("/etc/machine-id is empty, /var/lib/dbus/machine-id is empty"),
            ),
            (
                Some(b"\xff\x00"),
                None,
                Err(
                    "/etc/machine-id holds no machine-id but \"\u{fffd}\\0\", /var/lib/dbus/machine-id does not exist",
                ),
            ),
            (
                None,
                None,
                Err("/etc/machine-id does not exist, /var/lib/dbus/machine-id does not exist"),
            ),
        ] {
            let root = Root::new(systemd, dbus);
            let read = HostIdentity::read_below(&root.0, &given(&[]));
            assert_eq!(
                read.id.as_deref().ok_or(read.no_machine_id().unwrap_or("")),
                expected,
                "{systemd:?} {dbus:?}"
            );
            assert_eq!(read.origin(), read.id.as_ref().unwrap_or(&read.name));
            // What is given needs none.
            let read = HostIdentity::read_below(&root.0, &given(&[("host.id", "node-7")]));
            assert_eq!((read.id.as_deref(), read.no_machine_id()), (Some("node-7"), None));
            assert_eq!(read.origin(), "node-7");
        }
        let root = Root::new(None, None);
        fs::create_dir(root.0.join(MACHINE_IDS[0])).unwrap();
        let read = HostIdentity::read_below(&root.0, &given(&[]));
        assert!(
            read.no_machine_id()
                .unwrap()
                .contains("cannot be read (is no regular file)")
        );
    }

    #[test]
    fn another_name_or_a_new_id_changes_no_origin() {
        for id in [None, Some("h".to_owned())] {
            let mut host = HostIdentity::new(id, "no-such-host-name".into());
            let before = host.origin().to_owned();
            host = host.renamed().expect("this host is called otherwise");
            assert_eq!(host.renamed(), None, "the name has been taken");
            let again = host.read_again(&given(&[]));
            for host in [host, again] {
                assert_eq!(host.origin(), before);
                assert_ne!(host.name, "no-such-host-name");
            }
        }
    }

    #[test]
    fn what_is_given_is_followed_but_for_the_id() {
        let host = HostIdentity::read(&given(&[
            ("host.id", "a"),
            ("host.name", "n"),
            ("k8s.node.name", "n"),
        ]));
        assert_eq!(host.renamed(), None, "the name is given");
        let again = host.read_again(&given(&[
            ("host.id", "b"),
            ("host.name", "m"),
            ("cloud.region", "r"),
        ]));
        let told = again.attributes();
        for (key, value) in [
            ("host.id", "a"),
            ("host.name", "m"),
            ("cloud.region", "r"),
            ("os.type", "linux"),
        ] {
            assert_eq!(told.get(key).map(String::as_str), Some(value), "{key}");
        }
        assert!(!told.contains_key("k8s.node.name"), "{told:?}");
        assert_eq!(again.origin(), "a");
        let taken_back = again.read_again(&given(&[]));
        assert_eq!(taken_back.id.as_deref(), Some("a"), "until a restart");
        assert_ne!(taken_back.name, "m");
    }

    #[test]
    fn architectures() {
        for (machine, arch) in [
            ("x86_64", "amd64"),
            ("aarch64", "arm64"),
            ("aarch64_be", "arm64"),
            ("armv7l", "arm32"),
            ("armv6l", "arm32"),
            ("i686", "x86"),
            ("ppc64le", "ppc64"),
            ("ppc", "ppc32"),
            ("s390x", "s390x"),
            ("ia64", "ia64"),
            ("riscv64", "riscv64"),
            ("loongarch64", "loongarch64"),
        ] {
            assert_eq!(arch_of(machine), arch, "{machine}");
        }
        let told = HostIdentity::new(None, "n".to_owned()).attributes();
        let here = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        assert_eq!(told["host.arch"], here);
        assert!(!told.contains_key("host.id"), "absent is absent: {told:?}");
    }
}
