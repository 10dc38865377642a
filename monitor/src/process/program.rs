//! What a process runs, for telling programs apart.
//!
//! A program is an executable and, for an interpreter, the script that it runs. Neither the pid, the folder, the inode nor
//! the arguments belong to it: a program that is upgraded in place, or moves from `/opt/app-1.2/bin/app` to
//! `/opt/app-1.3/bin/app`, is the same program. `python3 a.py` and `python3 b.py` are two, and so are two applets of one
//! busybox.
//!
//! A title that a process writes over its arguments changes nothing of an ordinary executable. An interpreter's script is in
//! the arguments, so of one that was found with a title nobody knows the script: such a program may be any that its
//! interpreter runs ([`Program::is_open`]).

use std::sync::Arc;

use super::{
    COMM_BYTES, Identity,
    interpreter::is_interpreter,
    paths::{base_name, program_name},
    version::without_version,
};

/// Executables that are many programs: the name that they are called by says which one.
const MULTI_CALL: [&str; 3] = ["busybox", "toybox", "coreutils"];

/// So much of a program text on a command line tells programs apart, bytes: an exec's record has it in any case (`ARGV_LEN`
/// in kevmon-common), so that a text is the same program however much of it was read.
const TEXT_BYTES: usize = 256;

/// A program: the same for every process that runs it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Program {
    /// Base name of the executable; empty where it is not known. An interpreter's is without its version.
    pub executable: Arc<str>,
    /// The script that an interpreter runs, the beginning of the program text of `sh -c`, or a multi-call executable's
    /// applet; else empty.
    pub script: Arc<str>,
    /// The name to go by where the executable is not known, or where the executable runs many programs and it is not known
    /// which one. Empty where both are known.
    pub fallback: Arc<str>,
}

/// How two programs compare, least alike first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// Two programs.
    Different,
    /// Perhaps one program: their names differ in a version only (`php-fpm8.1`, `php-fpm8.2`; `java -jar shop-1.2.jar`,
    /// `shop-1.3.jar`), or what one runs is not known and the names that are known agree.
    Unclear,
    /// One program.
    Same,
}

impl Program {
    /// The executable is known, and runs many programs; which one of them is not known.
    pub fn is_open(&self) -> bool {
        !self.executable.is_empty() && !self.fallback.is_empty()
    }

    /// All of it is known.
    pub fn is_known(&self) -> bool {
        !self.executable.is_empty() && self.fallback.is_empty()
    }

    /// How this program compares to `other`.
    pub fn likeness(&self, other: &Self) -> Likeness {
        if !self.executable.is_empty() && !other.executable.is_empty() {
            let executables = likeness_of_names(&self.executable, &other.executable);
            let scripts = if self.is_open() || other.is_open() {
                Likeness::Unclear
            } else {
                likeness_of_names(&self.script, &other.script)
            };
            return executables.min(scripts);
        }
        let (one, two) = (self.name(), other.name());
        let agree = one.is_empty() || two.is_empty() || is_cut(one, two) || is_cut(two, one);
        if agree || likeness_of_names(unversioned(one), unversioned(two)) != Likeness::Different {
            Likeness::Unclear
        } else {
            Likeness::Different
        }
    }

    /// What is known of the program that was `before`, when it is looked at again and found to be this: a title may hide
    /// now what was known then.
    pub fn or_as_before(self, before: &Self) -> Self {
        if !self.is_known() && self.likeness(before) != Likeness::Different {
            before.clone()
        } else {
            self
        }
    }

    /// The name that people know it by.
    fn name(&self) -> &str {
        [&self.script, &self.executable, &self.fallback]
            .into_iter()
            .find(|name| !name.is_empty())
            .map_or("", |name| name)
    }
}

/// Whether two names, of executables or of scripts, are one, or differ in their versions alone.
fn likeness_of_names(one: &str, two: &str) -> Likeness {
    /// Between the arguments of a program text, in which a number is no version.
    const NUL: char = '\0';
    if one == two {
        Likeness::Same
    } else if !one.contains(NUL) && !two.contains(NUL) && without_version(one) == without_version(two) {
        Likeness::Unclear
    } else {
        Likeness::Different
    }
}

/// True when `comm` is the beginning of `name` that the kernel keeps.
fn is_cut(comm: &str, name: &str) -> bool {
    comm.len() == COMM_BYTES && name.starts_with(comm)
}

/// `python3.11` is `python`: an interpreter's executable without its version. Other executables keep theirs.
fn unversioned(executable: &str) -> &str {
    if !is_interpreter(executable) {
        return executable;
    }
    match executable.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') {
        "" => executable,
        stem => stem.trim_end_matches(['-', '_']),
    }
}

impl Identity {
    /// The program that a process of these names runs.
    pub fn program(&self) -> Program {
        let text = |text: &str| match text {
            "" => Arc::default(), // shared: nothing is allocated
            text => Arc::from(text),
        };
        let of = |executable: &str, script: &str, fallback: &str| Program {
            executable: text(executable),
            script: text(script),
            fallback: text(fallback),
        };
        let executable = unversioned(&self.exe);
        if executable.is_empty() {
            return of("", "", self.name());
        }
        let script = self.script();
        if self.runs(script) {
            return of(executable, script, "");
        }
        let runs_many = is_interpreter(&self.exe) || MULTI_CALL.contains(&self.exe.as_str());
        if !runs_many {
            return of(executable, "", "");
        }
        let known = if self.argv.is_empty() || self.hides_its_script() {
            self.given_script().map(|path| program_name(path).to_owned())
        } else if self.names_are_open() {
            None
        } else if is_interpreter(&self.exe) {
            self.text()
        } else {
            Some(self.applet())
        };
        match known {
            Some(script) => of(executable, &script, ""),
            None if self.comm.is_empty() => of(executable, "", executable),
            None => of(executable, "", &self.comm),
        }
    }

    /// True for a script's name, and false for the name of a link to the executable (`/usr/bin/app` → `app-1.2`). The kernel
    /// and people put a script's path among the arguments.
    fn runs(&self, script: &str) -> bool {
        let is_argument = || {
            self.argv
                .iter()
                .skip(1)
                .any(|argument| base_name(argument) == script)
        };
        !script.is_empty() && (is_interpreter(&self.exe) || is_argument())
    }

    /// The beginning of the arguments of an interpreter without a script: a program text, or nothing. `None` where less of
    /// it is known than is compared.
    fn text(&self) -> Option<String> {
        let mut text = self.argv.get(1..).unwrap_or_default().join("\0");
        if let Some(cut) = &self.cut {
            if self.argv.len() > 1 {
                text.push('\0');
            }
            text.push_str(cut);
            if text.len() < TEXT_BYTES {
                return None;
            }
        }
        text.truncate(text.floor_char_boundary(TEXT_BYTES));
        Some(text)
    }

    /// The applet of a multi-call executable: the name that it was called by, or its first argument.
    fn applet(&self) -> String {
        let argument = |index: usize| self.argv.get(index).map_or("", |argument| base_name(argument));
        let applet = if argument(0) == self.exe {
            argument(1)
        } else {
            argument(0)
        };
        applet.trim_start_matches('-').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(exe: &str, filename: &str, argv: &[&str]) -> Program {
        let comm = exe.chars().take(COMM_BYTES).collect();
        Identity {
            comm,
            exe: exe.into(),
            filename: filename.into(),
            argv: argv.iter().map(|&argument| argument.into()).collect(),
            cut: None,
        }
        .program()
    }

    /// A process of which the executable could not be read.
    fn nameless(comm: &str, argv: &[&str]) -> Program {
        Identity {
            comm: comm.into(),
            argv: argv.iter().map(|&argument| argument.into()).collect(),
            ..Identity::default()
        }
        .program()
    }

    #[test]
    fn likeness_of_programs() {
        use Likeness::{Different, Same, Unclear};
        for (one, two, expected) in [
            (
                program("app", "/opt/app-1.2/bin/app", &["/opt/app-1.2/bin/app", "--one"]),
                program("app", "/opt/app-1.3/bin/app", &["/opt/app-1.3/bin/app", "--two"]),
                Same,
            ),
            (
                program("nginx", "/usr/sbin/nginx", &["nginx"]),
                program("nginx", "", &["nginx: master process /usr/sbin/nginx"]),
                Same,
            ),
            (
                program("app-1.2", "/usr/bin/app", &["app"]),
                program("app-1.2", "", &["app"]),
                Same,
            ),
            (
                program("app-1.2", "/usr/bin/app", &["app"]),
                program("app-1.3", "/usr/bin/app", &["app"]),
                Unclear,
            ),
            (
                program("worker-1", "", &[]),
                program("worker-2", "", &[]),
                Different,
            ),
            (
                program("mawk", "/opt/sum", &["/usr/bin/mawk", "-f", "/opt/sum"]),
                program("mawk", "/opt/max", &["/usr/bin/mawk", "-f", "/opt/max"]),
                Different,
            ),
            (
                program("shop-web", "/bin/shop-web", &["shop-web"]),
                program("shop-worker", "/bin/shop-worker", &["shop-worker"]),
                Different,
            ),
            (
                program("python3.11", "/usr/bin/python3", &["python3", "/srv/a.py"]),
                program("python3.12", "/usr/bin/python3", &["python3", "-u", "/srv/a.py"]),
                Same,
            ),
            (
                program("python3.11", "/usr/bin/python3", &["python3", "/srv/a.py"]),
                program("python3.11", "/usr/bin/python3", &["python3", "/srv/b.py"]),
                Different,
            ),
            (
                program("bash", "/opt/job.sh", &["/bin/bash", "/opt/job.sh"]),
                program("bash", "", &["bash", "/opt/job.sh", "now"]),
                Same,
            ),
            (
                program("dash", "/bin/sh", &["sh", "-c", "exec app --one"]),
                program("dash", "/bin/sh", &["sh", "-c", "exec app --two"]),
                Different,
            ),
            (
                program("dash", "/bin/sh", &["sh", "-c", "exec app --one"]),
                program("dash", "/bin/sh", &["sh", "-c", "exec app --one"]),
                Same,
            ),
            (
                program("busybox", "/bin/httpd", &["httpd", "-f"]),
                program("busybox", "/bin/busybox", &["busybox", "httpd", "-f"]),
                Same,
            ),
            (
                program("busybox", "/bin/httpd", &["httpd"]),
                program("busybox", "/bin/crond", &["crond"]),
                Different,
            ),
            (
                program("an-application-of-some-length", "", &[]),
                nameless("an-application-", &[]),
                Unclear,
            ),
            (program("app", "", &[]), nameless("app", &["/opt/app"]), Unclear),
            (nameless("app", &[]), nameless("app", &[]), Unclear),
            (nameless("app", &[]), nameless("other", &[]), Different),
            (program("app", "", &[]), nameless("other", &[]), Different),
            (program("app", "", &[]), nameless("", &[]), Unclear),
            // The executable cannot be read, and the arguments can.
            (
                program("python3.11", "/usr/bin/python3", &["python3", "/srv/a.py"]),
                nameless("python3", &["python3", "/srv/a.py"]),
                Unclear,
            ),
            (
                program("python3.11", "/usr/bin/python3", &["python3", "/srv/a.py"]),
                nameless("python3", &["python3", "/srv/b.py"]),
                Different,
            ),
            (
                program("python3.11", "/usr/bin/python3", &["python3"]),
                nameless("python3", &["python3"]),
                Unclear,
            ),
        ] {
            assert_eq!(one.likeness(&two), expected, "{one:?} and {two:?}");
            assert_eq!(two.likeness(&one), expected, "{two:?} and {one:?}");
        }
    }

    #[test]
    fn an_upgrade_is_perhaps_the_same_program() {
        use Likeness::{Different, Same, Unclear};
        let java = |jar: &str| program("java", "/usr/bin/java", &["java", "-jar", jar]);
        let dotnet = |dll: &str| program("dotnet", "/usr/bin/dotnet", &["dotnet", dll]);
        let shell = |text: &str| program("dash", "/bin/sh", &["sh", "-c", text]);
        for (one, two, expected) in [
            (java("/opt/shop-1.2.jar"), java("/srv/shop-1.2.jar"), Same),
            (java("shop-1.2.jar"), java("shop-1.3.jar"), Unclear),
            (java("shop-1.2.jar"), java("shop-1.3-SNAPSHOT.jar"), Unclear),
            (java("shop-1.2-web.jar"), java("shop-1.2-worker.jar"), Different),
            (java("shop-1.2.jar"), java("stock-1.2.jar"), Different),
            (dotnet("Shop-2.0.dll"), dotnet("Shop-2.1.dll"), Unclear),
            (java("shop-1.jar"), java("shop-2.jar"), Different),
            (shell("ping 10.0.0.1"), shell("ping 10.0.0.2"), Different),
            (
                program("app-1.2-linux-amd64", "", &[]),
                program("app-1.3-linux-amd64", "", &[]),
                Unclear,
            ),
        ] {
            assert_eq!(one.likeness(&two), expected, "{one:?} and {two:?}");
            assert_eq!(two.likeness(&one), expected, "{two:?} and {one:?}");
        }
    }

    #[test]
    fn a_program_is_open_where_its_script_is_not_known() {
        let cut = |exe: &str, argv: &[&str], cut: &str| {
            Identity {
                comm: exe.into(),
                exe: exe.into(),
                argv: argv.iter().map(|&argument| argument.into()).collect(),
                cut: Some(cut.into()),
                ..Identity::default()
            }
            .program()
        };
        let long = "x".repeat(400);
        let gunicorn = program(
            "python3.11",
            "/usr/bin/gunicorn",
            &["/usr/bin/python3", "/usr/bin/gunicorn"],
        );
        for (seen, is_open) in [
            (gunicorn.clone(), false),
            (program("python3.11", "", &["gunicorn: master [app]"]), true),
            (program("perl", "", &["worker"]), true),
            (
                program("ruby3.1", "", &["puma 5.6 (tcp://0.0.0.0:80) [app]"]),
                true,
            ),
            // A title, and the path by which it was started.
            (
                program("python3.11", "/usr/bin/gunicorn", &["gunicorn: master"]),
                false,
            ),
            // What was kept by name, or could not be read.
            (program("java", "", &[]), true),
            (program("busybox", "", &[]), true),
            (cut("java", &["java", "-cp"], &long), true),
            (cut("dash", &["sh", "-c"], &long), false),
            (cut("dash", &["sh", "-c"], "short"), true),
            (cut("python3.11", &["python3", "/srv/x.py"], &long), false),
            // Nothing is hidden.
            (program("python3.11", "", &["python3"]), false),
            (program("bash", "", &["-bash"]), false),
            (program("nginx", "", &["nginx: master process"]), false),
            (program("python3.11", "", &["/opt/app/link", "x.py"]), false),
        ] {
            assert_eq!(seen.is_open(), is_open, "{seen:?}");
        }
        let titled = program("python3.11", "", &["gunicorn: master [app]"]);
        assert_eq!(titled.likeness(&gunicorn), Likeness::Unclear);
        assert_eq!(gunicorn.likeness(&titled), Likeness::Unclear);
        assert_eq!(titled.likeness(&titled), Likeness::Unclear);
        let shell = program("dash", "", &["sh", "-c", "x"]);
        assert_eq!(titled.likeness(&shell), Likeness::Different);
        assert_eq!(titled.or_as_before(&gunicorn), gunicorn);
        assert_eq!(shell.clone().or_as_before(&gunicorn), shell);
        // However much of a program text was read.
        let whole = program("dash", "", &["sh", "-c", &format!("{long}{long}"), "arg"]);
        assert_eq!(whole.likeness(&cut("dash", &["sh", "-c"], &long)), Likeness::Same);
    }
}
