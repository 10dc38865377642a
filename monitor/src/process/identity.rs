//! The names a process goes by.

/// What a process is called; matching looks at all of it. Bytes that are not UTF-8 have become U+FFFD.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// `comm`: at most 15 bytes, cut by the kernel.
    pub comm: String,
    /// Base name of the executable file (an interpreter's, for a script); empty for kernel threads.
    pub exe: String,
    /// The path as given to execve(2), where it was seen: a script's own path.
    pub filename: String,
    /// The argument vector, as far as it was kept.
    pub argv: Vec<String>,
}

impl Identity {
    /// The names that a pattern is tried on, most telling first, without repetition: the executable's base name,
    /// `argv[0]`'s, the script's, and `comm`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let argv0 = self.argv.first().map_or("", |argument| base_name(argument));
        let names = [self.exe.as_str(), argv0, self.script(), self.comm.as_str()];
        (0..names.len())
            .map(move |i| (i, names))
            .filter_map(|(i, names)| {
                let name = names[i];
                (!name.is_empty() && !names[..i].contains(&name)).then_some(name)
            })
    }

    /// The one name to show: a script's own rather than its interpreter's.
    pub fn name(&self) -> &str {
        match self.script() {
            "" => self.names().next().unwrap_or(""),
            script => script,
        }
    }

    /// True when a snapshot, which tells only these two names, shows another program or another `comm`. No executable
    /// is none: the leader of a process may have given up its address space while other threads go on.
    pub fn differs_from(&self, seen: &Self) -> bool {
        self.comm != seen.comm || (!seen.exe.is_empty() && self.exe != seen.exe)
    }

    /// Takes over what a snapshot shows; what it cannot tell stays, as long as the program is the same.
    pub fn update(&mut self, seen: &Self) {
        if seen.exe.is_empty() || self.exe == seen.exe {
            self.comm.clone_from(&seen.comm);
        } else {
            *self = seen.clone();
        }
    }

    /// Base name of the script that an interpreter runs, or an empty string. The kernel puts the script's path
    /// behind the interpreter's own arguments (fs/binfmt_script.c), and execve was given that same path.
    fn script(&self) -> &str {
        let given = base_name(&self.filename);
        if !given.is_empty() && given != self.exe && !is_interpreter(given) {
            return given;
        }
        if !is_interpreter(&self.exe) {
            return "";
        }
        // Found running, or started as `python3 script.py`.
        let mut arguments = self.argv.iter().skip(1);
        while let Some(argument) = arguments.next() {
            if argument == "-m" {
                return arguments.next().map_or("", String::as_str); // python's module
            }
            if !argument.starts_with('-') {
                return base_name(argument);
            }
            // `sh -c`, `bash -lc`, `perl -e`: what follows is a program text and no name.
            if !argument.starts_with("--") && argument.ends_with(['c', 'e']) {
                return "";
            }
        }
        ""
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Executables whose first plain argument names the program that people mean.
fn is_interpreter(exe: &str) -> bool {
    const INTERPRETERS: [&str; 12] = [
        "bash", "dash", "sh", "zsh", "ksh", "python", "perl", "ruby", "node", "php", "lua", "tclsh",
    ];
    let stem = exe.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    INTERPRETERS.contains(&stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(exe: &str, filename: &str, argv: &[&str], comm: &str) -> Identity {
        Identity {
            comm: comm.into(),
            exe: exe.into(),
            filename: filename.into(),
            argv: argv.iter().map(|&argument| argument.into()).collect(),
        }
    }

    #[test]
    fn names_in_order_and_once() {
        let cases = [
            (
                identity("nginx", "/usr/sbin/nginx", &["nginx: master"], "nginx"),
                vec!["nginx", "nginx: master"],
            ),
            (
                identity(
                    "bash",
                    "/opt/backup.sh",
                    &["/bin/bash", "/opt/backup.sh"],
                    "backup.sh",
                ),
                vec!["bash", "backup.sh"],
            ),
            (
                identity("python3.11", "", &["python3", "-u", "/srv/app.py"], "python3"),
                vec!["python3.11", "python3", "app.py"],
            ),
            (
                identity(
                    "a-name-longer-than-fifteen",
                    "",
                    &["./a-name-longer-than-fifteen"],
                    "a-name-longer-t",
                ),
                vec!["a-name-longer-than-fifteen", "a-name-longer-t"],
            ),
            // Interpreters are often run through a link: /bin/sh → dash, python3 → python3.11.
            (
                identity("dash", "/bin/sh", &["sh", "/opt/job.sh"], "job.sh"),
                vec!["dash", "sh", "job.sh"],
            ),
            (
                identity(
                    "python3.11",
                    "/usr/bin/python3",
                    &["python3", "/srv/app.py"],
                    "python3",
                ),
                vec!["python3.11", "python3", "app.py"],
            ),
            (
                identity("python3.11", "", &["python3", "-m", "http.server"], "python3"),
                vec!["python3.11", "python3", "http.server"],
            ),
            (
                identity(
                    "env",
                    "/srv/app.py",
                    &["/usr/bin/env", "python3", "/srv/app.py"],
                    "app.py",
                ),
                vec!["env", "app.py"],
            ),
            // A program text is no name.
            (
                identity(
                    "bash",
                    "/bin/bash",
                    &["bash", "-lc", "tail /var/log/nginx"],
                    "bash",
                ),
                vec!["bash"],
            ),
            (identity("", "", &[], "kworker/0:1"), vec!["kworker/0:1"]),
            (identity("", "", &[], ""), vec![]),
        ];
        for (identity, expected) in cases {
            assert_eq!(identity.names().collect::<Vec<_>>(), expected, "{identity:?}");
        }
    }

    #[test]
    fn a_snapshot_that_tells_less_takes_nothing_away() {
        let known = identity(
            "bash",
            "/opt/backup.sh",
            &["/bin/bash", "/opt/backup.sh"],
            "backup.sh",
        );
        assert!(!known.differs_from(&identity("bash", "", &[], "backup.sh")));
        assert!(
            !known.differs_from(&identity("", "", &[], "backup.sh")),
            "an executable that is gone"
        );
        let mut renamed = known.clone();
        renamed.update(&identity("bash", "", &[], "other"));
        assert_eq!(
            renamed,
            Identity {
                comm: "other".into(),
                ..known.clone()
            }
        );
        let mut executed = known;
        executed.update(&identity("cat", "", &["cat"], "cat"));
        assert_eq!(executed, identity("cat", "", &["cat"], "cat"));
    }

    #[test]
    fn the_name_shown_is_the_scripts_where_there_is_one() {
        for (identity, shown) in [
            (
                identity("nginx", "/usr/sbin/nginx", &["nginx: master"], "nginx"),
                "nginx",
            ),
            (
                identity(
                    "bash",
                    "/opt/backup.sh",
                    &["/bin/bash", "/opt/backup.sh"],
                    "backup.sh",
                ),
                "backup.sh",
            ),
            (identity("bash", "/bin/bash", &["-bash"], "bash"), "bash"),
            (identity("", "", &[], "kthreadd"), "kthreadd"),
        ] {
            assert_eq!(identity.name(), shown, "{identity:?}");
        }
    }
}
