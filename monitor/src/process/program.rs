//! What a process runs, for telling programs apart.
//!
//! A program is an executable and, for an interpreter, the script that it runs. Neither the pid, the folder, the inode nor
//! the arguments belong to it: a program that is upgraded in place, or moves from `/opt/app-1.2/bin/app` to
//! `/opt/app-1.3/bin/app`, is the same program. `python3 a.py` and `python3 b.py` are two, and so are two applets of one
//! busybox. A title that a process writes over its arguments changes nothing, as the executable decides.

use std::sync::Arc;

use super::{Identity, interpreter::is_interpreter, paths::base_name};

/// Executables that are many programs: the name that they are called by says which one.
const MULTI_CALL: [&str; 3] = ["busybox", "toybox", "coreutils"];

/// `comm` without its terminating zero (TASK_COMM_LEN, include/linux/sched.h), bytes.
const COMM_BYTES: usize = 15;

/// A program: the same for every process that runs it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Program {
    /// Base name of the executable; empty where it is not known. An interpreter's is without its version.
    pub executable: Arc<str>,
    /// The script that an interpreter runs, the program text of `sh -c`, or a multi-call executable's applet; else empty.
    pub script: Arc<str>,
    /// The name to go by where the executable is not known: `argv[0]`'s base name, or else `comm`. Empty where it is known.
    pub fallback: Arc<str>,
}

/// How two programs compare, least alike first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// Two programs.
    Different,
    /// Perhaps one program: their executables differ in a version only (`php-fpm8.1`, `php-fpm8.2`), or one executable is
    /// not known and the names that are known agree.
    Unclear,
    /// One program.
    Same,
}

impl Program {
    /// How this program compares to `other`.
    pub fn likeness(&self, other: &Self) -> Likeness {
        if !self.executable.is_empty() && !other.executable.is_empty() {
            return match (self.script == other.script, self.executable == other.executable) {
                (true, true) => Likeness::Same,
                (true, false) if without_version(&self.executable) == without_version(&other.executable) => {
                    Likeness::Unclear
                }
                _ => Likeness::Different,
            };
        }
        let (one, two) = (self.name(), other.name());
        let agree = one.is_empty() || two.is_empty() || one == two || is_cut(one, two) || is_cut(two, one);
        if agree {
            Likeness::Unclear
        } else {
            Likeness::Different
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

/// True when `comm` is the beginning of `name` that the kernel keeps.
fn is_cut(comm: &str, name: &str) -> bool {
    comm.len() == COMM_BYTES && name.starts_with(comm)
}

impl Identity {
    /// The program that a process of these names runs.
    pub fn program(&self) -> Program {
        if self.exe.is_empty() {
            let mut names = self.names();
            return Program {
                executable: Arc::from(""),
                script: Arc::from(""),
                fallback: Arc::from(names.next().unwrap_or("")),
            };
        }
        let script = self.script();
        let (executable, script) = if self.runs(script) {
            (without_version(&self.exe), script.to_owned())
        } else if MULTI_CALL.contains(&self.exe.as_str()) {
            (self.exe.as_str(), self.applet())
        } else if is_interpreter(&self.exe) {
            (without_version(&self.exe), self.text())
        } else {
            (self.exe.as_str(), String::new())
        };
        Program {
            executable: Arc::from(executable),
            script: Arc::from(script),
            fallback: Arc::from(""),
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

    /// The arguments of an interpreter without a script: a program text, or nothing.
    fn text(&self) -> String {
        self.argv.get(1..).unwrap_or_default().join("\0")
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

/// `python3.11` is `python` and `app-1.2` is `app`: an upgrade leaves a program the same. A number without a dot is no
/// version (`worker-1`), except an interpreter's.
fn without_version(executable: &str) -> &str {
    let stem = executable.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let version = &executable[stem.len()..];
    if stem.is_empty() || !(version.trim_matches('.').contains('.') || is_interpreter(executable)) {
        return executable;
    }
    stem.trim_end_matches(['-', '_'])
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
        ] {
            assert_eq!(one.likeness(&two), expected, "{one:?} and {two:?}");
            assert_eq!(two.likeness(&one), expected, "{two:?} and {one:?}");
        }
    }
}
