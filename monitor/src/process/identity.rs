//! The names a process goes by.

use std::borrow::Cow;

use super::{
    arguments::argv0_name,
    interpreter::{self, Runs},
    paths,
};

/// `comm` without its terminating zero (TASK_COMM_LEN, include/linux/sched.h, all versions), bytes.
pub const COMM_BYTES: usize = 15;

/// What a process is called; matching looks at all of it. Bytes that are not UTF-8 have become U+FFFD.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// `comm`: at most 15 bytes, cut by the kernel.
    pub comm: String,
    /// Base name of the executable file (an interpreter's, for a script); empty for kernel threads.
    pub exe: String,
    /// The path as given to execve(2), where it was seen: a script's own path. Of a long one [`paths::end_of_a_path`].
    pub filename: String,
    /// The argument vector, or its first arguments where it was cut; each of them whole.
    pub argv: Vec<String>,
    /// There are more arguments than `argv` holds: the known beginning of the next one.
    pub cut: Option<String>,
}

impl Identity {
    /// The names that a pattern is tried on, most telling first, without repetition: the executable's base name,
    /// `argv[0]`'s, what an interpreter runs, and `comm`. A process that was started through a descriptor or a link of
    /// /proc does not have that path's last component for a name (`exe`, `3`).
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names_with(self.script())
    }

    /// The one name to show: what an interpreter runs rather than the interpreter's own. Empty only where nothing at
    /// all is known.
    pub fn name(&self) -> &str {
        match self.script() {
            "" if !self.exe.is_empty() => &self.exe,
            "" => self.names_with("").next().unwrap_or(&self.comm),
            script => script,
        }
    }

    fn names_with<'a>(&'a self, script: &'a str) -> impl Iterator<Item = &'a str> {
        let argv0 = self
            .argv
            .first()
            .map_or("", |argument| argv0_name(argument, &self.exe));
        let comm = self.comm_as_name(argv0, script);
        let names = [self.exe.as_str(), argv0, script, comm];
        (0..names.len())
            .map(move |i| (i, names))
            .filter_map(|(i, names)| {
                let name = names[i];
                (!name.is_empty() && !names[..i].contains(&name)).then_some(name)
            })
    }

    /// True when a snapshot or scan shows another program, another `comm`, or, where it tells them, other arguments. No
    /// executable is none: the leader of a process may have given up its address space while other threads go on.
    pub fn differs_from(&self, seen: &Self) -> bool {
        self.comm != seen.comm
            || (!seen.exe.is_empty() && self.exe != seen.exe)
            || (!seen.arguments_are_unknown() && (self.argv != seen.argv || self.cut != seen.cut))
    }

    /// Takes over what a snapshot shows; what it cannot tell stays, as long as the program is the same.
    pub fn update(&mut self, seen: &Self) {
        if seen.exe.is_empty() || self.exe == seen.exe {
            self.comm.clone_from(&seen.comm);
            if !seen.arguments_are_unknown() {
                self.argv.clone_from(&seen.argv);
                self.cut.clone_from(&seen.cut);
            }
        } else {
            *self = seen.clone();
        }
    }

    /// `comm`, where it is a name. The kernel takes it from the path that was executed: `/proc/self/exe` leaves `exe`,
    /// `/dev/fd/3` leaves `3`, and a memfd's name has a prefix (fs/exec.c, begin_new_exec). Such remains are told from
    /// names by what else the process is called.
    fn comm_as_name<'a>(&'a self, argv0: &str, script: &str) -> &'a str {
        let comm = executable_name(&self.comm);
        let is_number = !comm.is_empty() && comm.bytes().all(|byte| byte.is_ascii_digit());
        let may_be_remains = !self.exe.is_empty() && (is_number || comm == "exe");
        if may_be_remains && ![self.exe.as_str(), argv0, script].contains(&comm) {
            ""
        } else {
            comm
        }
    }

    /// Name of what an interpreter runs, or an empty string.
    pub(super) fn script(&self) -> &str {
        if let Some(path) = self.executed_script() {
            return paths::program_name(path);
        }
        interpreter::runs(&self.exe, &self.argv).map_or("", Runs::name)
    }

    /// The path of the script that was executed, whatever its interpreter. The kernel puts that path behind the
    /// interpreter and its argument (fs/binfmt_script.c; fs/binfmt_misc.c likewise), and names the process after it.
    fn executed_script(&self) -> Option<&str> {
        /// An interpreter may be a script, five deep (fs/exec.c, exec_binprm), each with one argument.
        const DEEPEST: usize = 10;
        if self.argv.is_empty() {
            // Names kept by an earlier run, or arguments that could not be read.
            return self.given_script();
        }
        let mut arguments = self.argv.iter().skip(1).take(DEEPEST);
        if !self.filename.is_empty() {
            return arguments
                .find(|argument| paths::is_path(argument, &self.filename))
                .map(String::as_str);
        }
        // Found running: `argv[0]` is the interpreter's path, and `comm` is the script's name, cut, and neither the
        // executable's nor `argv[0]`'s.
        let is_named = |path: &str| {
            let name = paths::program_name(path);
            !name.is_empty() && cut(name) == self.comm
        };
        let is_interpreted =
            self.argv[0].starts_with('/') && !is_named(&self.argv[0]) && cut(&self.exe) != self.comm;
        arguments
            .find(|argument| is_interpreted && is_named(argument))
            .map(String::as_str)
    }

    /// The path as given, where it is neither the executable's nor an interpreter's: a script's, unless it is that of a link
    /// to the executable.
    pub(super) fn given_script(&self) -> Option<&str> {
        let given = paths::base_name(&self.filename);
        let is_script = !given.is_empty()
            && given != self.exe
            && !paths::is_a_reference(&self.filename)
            && !interpreter::is_interpreter(given);
        is_script.then_some(self.filename.as_str())
    }
}

/// The name of an executable file: what a memfd was called at memfd_create(2), and else the base name that the file
/// system knows. A memfd without a name is called `memfd`.
pub fn executable_name(file: &str) -> &str {
    const PREFIX: &str = "memfd:";
    match file.strip_prefix(PREFIX) {
        Some("") => PREFIX.trim_end_matches(':'),
        Some(name) => name,
        None => file,
    }
}

/// A name as `comm` holds it: its first 15 bytes (TASK_COMM_LEN, include/linux/sched.h), where they end within a
/// letter with U+FFFD for its beginning, as all bytes that are not UTF-8.
fn cut(name: &str) -> Cow<'_, str> {
    if name.len() <= COMM_BYTES {
        return Cow::Borrowed(name);
    }
    String::from_utf8_lossy(&name.as_bytes()[..COMM_BYTES])
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
            cut: None,
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
    fn a_script_below_a_deep_folder_is_named_by_the_end_of_its_path() {
        let path = format!("/opt/{}/report.awk", "x".repeat(300));
        let end = paths::end_of_a_path(&path[path.len() - 255..]);
        let early = identity("gawk", &end, &["/usr/bin/awk", "-f", &path], "report.awk");
        let late = identity("gawk", "", &["/usr/bin/awk", "-f", &path], "report.awk");
        for one in [&early, &late] {
            assert_eq!(one.name(), "report.awk", "{one:?}");
            assert!(one.names().any(|name| name == "report.awk"));
        }
        let other = identity("gawk", &end, &["/usr/bin/awk", "-f", "/opt/other.awk"], "gawk");
        assert_eq!(other.script(), "");
        let unread = identity("gawk", &end, &[], "report.awk");
        assert_eq!(unread.script(), "report.awk");
    }

    #[test]
    fn a_snapshot_that_tells_less_takes_nothing_away() {
        let known = identity(
            "bash",
            "/opt/backup.sh",
            &["/bin/bash", "/opt/backup.sh"],
            "backup.sh",
        );
        let without_arguments = |exe: &str, comm: &str| Identity {
            cut: Some(String::new()),
            ..identity(exe, "", &[], comm)
        };
        assert!(!known.differs_from(&without_arguments("bash", "backup.sh")));
        assert!(
            !known.differs_from(&without_arguments("", "backup.sh")),
            "an executable that is gone"
        );
        let mut wiped = known.clone();
        let empty = identity("bash", "", &[], "backup.sh");
        assert!(
            known.differs_from(&empty),
            "its arguments were written over with nothing"
        );
        wiped.update(&empty);
        assert_eq!((wiped.argv.len(), wiped.cut), (0, None));
        let mut renamed = known.clone();
        renamed.update(&without_arguments("bash", "other"));
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
        let mut titled = identity("nginx", "/usr/sbin/nginx", &["nginx", "-g", "x"], "nginx");
        let title = identity("nginx", "", &["nginx: master"], "nginx");
        assert!(titled.differs_from(&title));
        titled.update(&title);
        assert_eq!(
            titled,
            identity("nginx", "/usr/sbin/nginx", &["nginx: master"], "nginx")
        );
    }

    /// Each program as an exec record tells it and as /proc tells it; the names, with the one to show first.
    #[test]
    fn one_identity_however_it_is_seen() {
        let long = "a-script-longer-than-fifteen.sh";
        let in_opt = format!("/opt/{long}");
        // (exe, filename, argv, comm), then the name to show and all names.
        type Row<'a> = (&'a str, &'a str, Vec<&'a str>, &'a str, &'a str, Vec<&'a str>);
        let rows: Vec<Row<'_>> = vec![
            (
                "nginx",
                "/usr/sbin/nginx",
                vec!["nginx"],
                "nginx",
                "nginx",
                vec!["nginx"],
            ),
            // A script is known by its own name, whatever its interpreter and the interpreter's argument.
            (
                "bash",
                "/opt/x.sh",
                vec!["/bin/bash", "/opt/x.sh"],
                "x.sh",
                "x.sh",
                vec!["bash", "x.sh"],
            ),
            (
                "bash",
                "./x.sh",
                vec!["/bin/bash", "-e", "./x.sh", "a"],
                "x.sh",
                "x.sh",
                vec!["bash", "x.sh"],
            ),
            (
                "mawk",
                "/opt/x",
                vec!["/usr/bin/awk", "-f", "/opt/x"],
                "x",
                "x",
                vec!["mawk", "awk", "x"],
            ),
            (
                "dash",
                "/opt/3",
                vec!["/bin/sh", "/opt/3"],
                "3",
                "3",
                vec!["dash", "sh", "3"],
            ),
            (
                "bash",
                "/opt/outer",
                vec!["/bin/bash", "/opt/inner", "/opt/outer"],
                "outer",
                "outer",
                vec!["bash", "outer"],
            ),
            (
                "bash",
                &in_opt,
                vec!["/bin/bash", &in_opt],
                &long[..15],
                long,
                vec!["bash", long, &long[..15]],
            ),
            (
                "env",
                "/x.py",
                vec!["/usr/bin/env", "-S python3 -W ignore", "/x.py"],
                "x.py",
                "x.py",
                vec!["env", "x.py"],
            ),
            (
                "qemu-arm",
                "/opt/app",
                vec!["/usr/bin/qemu-arm", "/opt/app"],
                "app",
                "app",
                vec!["qemu-arm", "app"],
            ),
            // An interpreter that was given a script.
            (
                "python3.11",
                "/usr/bin/python3",
                vec!["python3", "-W", "ignore", "x.py"],
                "python3",
                "x.py",
                vec!["python3.11", "python3", "x.py"],
            ),
            (
                "python3.11",
                "./foo",
                vec!["./foo", "x.py"],
                "foo",
                "x.py",
                vec!["python3.11", "foo", "x.py"],
            ),
            (
                "node",
                "/usr/bin/nodejs",
                vec!["nodejs", "-r", "m", "x.js"],
                "nodejs",
                "x.js",
                vec!["node", "nodejs", "x.js"],
            ),
            (
                "busybox",
                "/bin/sh",
                vec!["sh", "-e", "x.sh"],
                "sh",
                "x.sh",
                vec!["busybox", "sh", "x.sh"],
            ),
            (
                "busybox",
                "/bin/busybox",
                vec!["busybox", "sh", "x.sh"],
                "busybox",
                "x.sh",
                vec!["busybox", "x.sh"],
            ),
            (
                "bash",
                "/bin/bash",
                vec!["-bash"],
                "bash",
                "bash",
                vec!["bash", "-bash"],
            ),
            (
                "bash",
                "/bin/bash",
                vec!["bash", "/dev/fd/63"],
                "bash",
                "bash",
                vec!["bash"],
            ),
            (
                "dash",
                "/bin/sh",
                vec!["sh", "-c", "nginx"],
                "sh",
                "dash",
                vec!["dash", "sh"],
            ),
            // Through a link of /proc or a descriptor.
            (
                "app",
                "/proc/self/exe",
                vec!["/proc/self/exe", "x"],
                "exe",
                "app",
                vec!["app"],
            ),
            (
                "app",
                "/proc/self/exe",
                vec!["app", "x"],
                "exe",
                "app",
                vec!["app"],
            ),
            (
                "app",
                "/proc/thread-self/exe",
                vec!["web"],
                "exe",
                "app",
                vec!["app", "web"],
            ),
            (
                "app",
                "/proc/4711/exe",
                vec!["/proc/4711/exe"],
                "exe",
                "app",
                vec!["app"],
            ),
            ("app", "/dev/fd/3", vec!["/dev/fd/3"], "3", "app", vec!["app"]),
            (
                "app",
                "/proc/self/fd/13",
                vec!["x"],
                "13",
                "app",
                vec!["app", "x"],
            ),
            ("app", "/dev/fd/3", vec![""], "app", "app", vec!["app"]),
            (
                "bash",
                "/dev/fd/3",
                vec!["/bin/bash", "/dev/fd/3", "a"],
                "bash",
                "bash",
                vec!["bash"],
            ),
            (
                "bash",
                "/dev/fd/3",
                vec!["/bin/bash", "/dev/fd/3"],
                "3",
                "bash",
                vec!["bash"],
            ),
            (
                "dash",
                "/dev/fd/3/x.sh",
                vec!["/bin/sh", "/dev/fd/3/x.sh"],
                "x.sh",
                "x.sh",
                vec!["dash", "sh", "x.sh"],
            ),
            // Names that only look like it.
            ("3", "/opt/3", vec!["/opt/3"], "3", "3", vec!["3"]),
            ("app", "./3", vec!["./3"], "3", "app", vec!["app", "3"]),
            ("exe", "/opt/exe", vec!["./exe"], "exe", "exe", vec!["exe"]),
            (
                "two words",
                "./two words",
                vec!["./two words"],
                "two words",
                "two words",
                vec!["two words"],
            ),
            ("a\nb", "./a\nb", vec!["./a\nb"], "a\nb", "a\nb", vec!["a\nb"]),
            // A memfd, before and since Linux 6.14, which names the process after it.
            ("prog", "/dev/fd/3", vec!["p"], "3", "prog", vec!["prog", "p"]),
            (
                "prog",
                "/dev/fd/3",
                vec!["prog"],
                "memfd:prog",
                "prog",
                vec!["prog"],
            ),
            (
                "memfd",
                "/proc/self/fd/3",
                vec!["/proc/self/fd/3"],
                "3",
                "memfd",
                vec!["memfd"],
            ),
        ];
        for (exe, filename, argv, comm, shown, names) in rows {
            for filename in [filename, ""] {
                let seen = identity(exe, filename, &argv, comm);
                assert_eq!(seen.name(), shown, "{seen:?}");
                assert_eq!(seen.names().collect::<Vec<_>>(), names, "{seen:?}");
            }
        }
    }

    #[test]
    fn what_is_known_is_shown() {
        for (identity, shown) in [
            (identity("", "", &[], "kthreadd"), "kthreadd"),
            (identity("", "", &[], "12"), "12"),
            // The executable cannot be read: argv[0] tells the interpreter.
            (
                identity("", "", &["/usr/bin/python3", "-u", "x.py"], "python3"),
                "x.py",
            ),
            (identity("", "", &["/proc/self/exe"], "exe"), "exe"),
            // Kept by an earlier run.
            (identity("bash", "x.sh", &[], "x.sh"), "x.sh"),
            (identity("app", "/proc/self/exe", &[], "exe"), "app"),
        ] {
            assert_eq!(identity.name(), shown, "{identity:?}");
        }
    }

    #[test]
    fn an_executables_name_is_the_files_or_the_memfds() {
        for (file, name) in [
            ("nginx", "nginx"),
            ("memfd:prog", "prog"),
            ("memfd:", "memfd"),
            ("memfd:runc_cloned:/proc/self/exe", "runc_cloned:/proc/self/exe"),
            ("", ""),
        ] {
            assert_eq!(executable_name(file), name, "{file}");
        }
    }
}
