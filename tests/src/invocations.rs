//! Ways to start a program, each with the name that kevmon is to show and the names that it is to match: scripts behind
//! interpreters and their options, descriptors, links of /proc, memfds. Every program says `ready` and waits for the end
//! of its input. Names are private to one [`Invocations`], so that many may be watched at a time.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    executable,
    scratch::{self, Scratch},
    workload::Running,
};

/// One way to start a program.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The command line, for messages.
    pub what: String,
    /// A word of its command line that no other process has.
    pub tag: String,
    /// The name to show.
    pub shown: String,
    /// Names that it has and no other process.
    pub names: Vec<String>,
    /// Texts that are no name of it: values of options.
    pub not_names: Vec<String>,
    /// The executable's base name.
    pub exe: String,
    program: PathBuf,
    arg0: Option<String>,
    arguments: Vec<String>,
}

/// The invocations that this machine can start, and the files that they need.
#[derive(Debug)]
pub struct Invocations {
    /// All of them.
    pub all: Vec<Invocation>,
    /// Interpreters that are not installed: what they run is left out.
    pub left_out: Vec<&'static str>,
    scratch: Scratch,
}

/// An interpreter: where it may be, how its scripts are called, a program, and command lines. In those, `S` is a script,
/// `T` the program as a text, `V` a value that is no name, `C` a file that may be read first; the program runs with one
/// more argument behind.
struct Interpreter {
    programs: &'static [&'static str],
    suffix: &'static str,
    text: &'static str,
    lines: &'static [&'static str],
}

/// A machine without these runs no tests.
const NEEDED: [&str; 5] = [
    "/bin/bash",
    "/bin/sh",
    "/usr/bin/awk",
    "/usr/bin/perl",
    "/usr/bin/python3",
];

const SHELL: &str = "echo ready; read x; :";

const INTERPRETERS: [Interpreter; 15] = [
    Interpreter {
        programs: &["/bin/bash"],
        suffix: ".sh",
        text: SHELL,
        lines: &[
            "S",
            "-e S",
            "-eu S",
            "-euo pipefail S",
            "-o errexit -u S",
            "+x S",
            "+o history S",
            "-O extglob S",
            "-eO extglob S",
            "--rcfile V S",
            "--init-file V S",
            "-rcfile V S",
            "--norc --noprofile S",
            "--posix -e S",
            "-- S",
            "- S",
            "-c T V",
            "-ec T V",
            "-euo pipefail -c T V",
            "--norc -c T V",
        ],
    },
    Interpreter {
        programs: &["/bin/sh"],
        suffix: ".sh",
        text: SHELL,
        lines: &[
            "S",
            "-e S",
            "-eu S",
            "-o errexit S",
            "+x S",
            "-- S",
            "-c T V",
            "-ec T V",
        ],
    },
    Interpreter {
        programs: &["/usr/bin/python3"],
        suffix: ".py",
        text: "import sys; print('ready', flush=True); sys.stdin.read()",
        lines: &[
            "S",
            "-u S",
            "-W ignore S",
            "-Wignore S",
            "-X dev S",
            "-Xdev S",
            "-Bu S",
            "-BuW ignore S",
            "-I -X importtime -W error S",
            "-- S",
            "-c T V",
            "-uc T V",
            "-W ignore -c T V",
        ],
    },
    Interpreter {
        programs: &["/usr/bin/perl"],
        suffix: ".pl",
        text: "$|=1; print qq(ready\\n); <STDIN>;",
        lines: &[
            "S",
            "-w S",
            "-I V S",
            "-w -I V S",
            "-MPOSIX S",
            "-CSDA S",
            "-0777 S",
            "-- S",
            "-e T V",
            "-we T V",
            "-MPOSIX -e T V",
        ],
    },
    Interpreter {
        programs: &["/usr/bin/node", "/usr/bin/nodejs"],
        suffix: ".js",
        text: "console.log('ready'); process.stdin.resume()",
        lines: &[
            "S",
            "-r C S",
            "--require C S",
            "--require=C S",
            "--no-warnings S",
            "--env_file C S",
            "--max_http_header_size 16384 S",
            "--trace-require-module all S",
            "-e T V",
        ],
    },
    Interpreter {
        programs: &["/usr/bin/ruby"],
        suffix: ".rb",
        text: "STDOUT.sync = true; puts 'ready'; STDIN.read",
        lines: &[
            "S",
            "-w S",
            "-I V S",
            "-r json S",
            "-E UTF-8 S",
            "--disable gems S",
            "-e T V",
        ],
    },
    Interpreter {
        programs: &["/usr/bin/php"],
        suffix: ".php",
        text: "echo 'ready', chr(10); fgets(STDIN);",
        lines: &[
            "S",
            "-f S --",
            "-d k=V S",
            "-d k=V -f S --",
            "-t V S",
            "-r T -- V",
        ],
    },
    Interpreter {
        programs: &["/usr/bin/lua5.4", "/usr/bin/lua"],
        suffix: ".lua",
        text: "io.stdout:write('ready', string.char(10)) io.stdout:flush() io.read()",
        lines: &["S", "-l string S", "-e local_x=1 S", "-W S"],
    },
    Interpreter {
        programs: &["/usr/bin/luajit"],
        suffix: ".lua",
        text: "io.stdout:write('ready', string.char(10)) io.stdout:flush() io.read()",
        lines: &["S", "-l string S", "-joff S", "-j off -O3 S", "-e local_x=1 S"],
    },
    Interpreter {
        programs: &["/usr/bin/tclsh"],
        suffix: ".tcl",
        text: "puts ready; flush stdout; gets stdin",
        lines: &["S", "-encoding utf-8 S"],
    },
    Interpreter {
        programs: &["/bin/busybox", "/usr/bin/busybox"],
        suffix: ".sh",
        text: SHELL,
        lines: &["sh S", "sh -e S", "ash -eu S"],
    },
    Interpreter {
        programs: &["/bin/zsh"],
        suffix: ".zsh",
        text: SHELL,
        lines: &[
            "S",
            "-f S",
            "-o extendedglob S",
            "-feo extendedglob S",
            "+o nomatch S",
            "-fc T V",
        ],
    },
    Interpreter {
        programs: &["/bin/mksh"],
        suffix: ".sh",
        text: SHELL,
        lines: &["S", "-eu S", "-o posix S", "-c T V"],
    },
    Interpreter {
        programs: &["/bin/ksh93", "/bin/ksh"],
        suffix: ".ksh",
        text: SHELL,
        lines: &["S", "-eo pipefail S", "-c T V"],
    },
    Interpreter {
        programs: &["/usr/bin/fish"],
        suffix: ".fish",
        text: "echo ready; read x",
        lines: &["S", "-N S", "-C true S", "-c T V"],
    },
];

impl Invocations {
    /// Those that this machine can start; panics where even the usual interpreters are missing.
    pub fn new() -> Self {
        for program in NEEDED {
            assert!(Path::new(program).exists(), "missing prerequisite: {program}");
        }
        let mut all = Self {
            all: Vec::new(),
            left_out: Vec::new(),
            scratch: Scratch::new(),
        };
        for interpreter in &INTERPRETERS {
            let mut programs = interpreter.programs.iter().map(Path::new);
            match programs.find(|program| program.exists()) {
                Some(program) => interpreter
                    .lines
                    .iter()
                    .for_each(|line| all.interpreted(interpreter, program, line)),
                None => all.left_out.push(interpreter.programs[0]),
            }
        }
        all.scripts();
        all.links();
        all.descriptors();
        all
    }

    /// A word that is in no other name.
    fn tag(&self) -> String {
        format!("kvt{}n{}e", scratch::unique(), self.all.len())
    }

    /// Writes an executable file and returns its path.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.scratch.path().join(name);
        executable::write(&path, text);
        path.to_str().expect("a UTF-8 scratch directory").to_owned()
    }

    /// A copy of bash, under its own name a program like any other.
    fn program(&self, name: &str) -> String {
        let path = self.scratch.path().join(name);
        executable::copy("/bin/bash", &path);
        path.to_str().expect("a UTF-8 scratch directory").to_owned()
    }

    fn interpreted(&mut self, interpreter: &Interpreter, program: &Path, line: &str) {
        let tag = self.tag();
        let script = format!("{tag}{}", interpreter.suffix);
        let value = format!("value-{tag}");
        let text = match interpreter.suffix {
            ".php" => format!("<?php {}", interpreter.text),
            _ => interpreter.text.to_owned(),
        };
        let path = self.file(&script, &text);
        let first = self.file(&format!("first-{tag}.js"), "");
        let arguments = line.split(' ').map(|word| match word {
            "S" => path.clone(),
            "T" => interpreter.text.to_owned(),
            "V" => value.clone(),
            "C" => first.clone(),
            word => match (word.strip_suffix("=V"), word.strip_suffix("=C")) {
                (Some(option), _) => format!("{option}={value}"),
                (_, Some(option)) => format!("{option}={first}"),
                _ => word.to_owned(),
            },
        });
        let mut arguments: Vec<String> = arguments.collect();
        arguments.push(format!("--tag={tag}"));
        let exe = base_name(&fs::canonicalize(program).expect("it exists"));
        let is_script = line.split(' ').any(|word| word == "S");
        self.all.push(Invocation {
            what: format!("{} {line}", program.display()),
            tag,
            shown: if is_script { script.clone() } else { exe.clone() },
            names: is_script.then_some(script).into_iter().collect(),
            not_names: [('V', &value), ('C', &first)]
                .into_iter()
                .filter(|(letter, _)| line.ends_with(*letter) || line.contains(&format!("{letter} ")))
                .map(|(_, path)| base_name(Path::new(path)))
                .collect(),
            exe,
            program: program.to_owned(),
            arg0: None,
            arguments,
        });
    }

    /// Scripts that are executed themselves.
    fn scripts(&mut self) {
        let python = "import sys; print('ready', flush=True); sys.stdin.read()";
        for (head, text, runs) in [
            ("#!/bin/bash", SHELL, "/bin/bash"),
            ("#!/bin/bash -e", SHELL, "/bin/bash"),
            ("#!/bin/sh", SHELL, "/bin/sh"),
            ("#!/usr/bin/env bash", SHELL, "/bin/bash"),
            ("#!/usr/bin/env -S bash -eu", SHELL, "/bin/bash"),
            ("#!/usr/bin/python3 -u", python, "/usr/bin/python3"),
            (
                "#!/usr/bin/env -S /usr/bin/python3 -W ignore",
                python,
                "/usr/bin/python3",
            ),
            (
                "#!/usr/bin/perl -w",
                "$|=1; print qq(ready\n); <STDIN>;",
                "/usr/bin/perl",
            ),
        ] {
            for name in [
                "job",
                "a-script-of-more-than-fifteen-bytes",
                "3",
                "two words",
                "gr\u{fc}n",
            ] {
                let tag = self.tag();
                let name = format!("{name}-{tag}");
                let path = self.file(&name, &format!("{head}\n{text}\n"));
                let what = format!("{head}: {name}");
                let named = vec![name.clone()];
                self.add(what, &tag, &path, &[], &name, named, runs);
            }
        }
        // A script by the interpreter that is a script.
        let tag = self.tag();
        let inner = self.file(&format!("inner-{tag}"), &format!("#!/bin/bash\n{SHELL}\n"));
        let name = format!("outer-{tag}");
        let path = self.file(&name, &format!("#!{inner}\n"));
        let named = vec![name.clone()];
        self.add(
            "a script for a script".into(),
            &tag,
            &path,
            &[],
            &name,
            named,
            "/bin/bash",
        );
        // A script whose whole name is a number, as a descriptor's would be.
        let tag = self.tag();
        fs::create_dir(self.scratch.path().join(&tag)).expect("a folder of our own");
        let path = self.file(&format!("{tag}/3"), &format!("#!/bin/bash\n{SHELL}\n"));
        self.add(
            "a script called 3".into(),
            &tag,
            &path,
            &[],
            "3",
            Vec::new(),
            "/bin/bash",
        );
        // awk is none of the interpreters whose options are known: its script goes by the path that was executed, here one
        // that no record holds.
        let tag = self.tag();
        let name = format!("{tag}.awk");
        let folder = format!("{tag}/{}/{}", "d".repeat(150), "e".repeat(150));
        fs::create_dir_all(self.scratch.path().join(&folder)).expect("a folder of our own");
        let text = "#!/usr/bin/awk -f\nBEGIN { print \"ready\"; fflush(); getline < \"-\" }\n";
        let path = self.file(&format!("{folder}/{name}"), text);
        let named = vec![name.clone()];
        self.add(
            "a script of awk, 300 bytes deep".into(),
            &tag,
            &path,
            // What follows is no option of awk's.
            &["--"],
            &name,
            named,
            "/usr/bin/awk",
        );
        // env(1) is gone when the script runs.
        let tag = self.tag();
        let script = format!("{tag}.sh");
        let path = self.file(&script, SHELL);
        let arguments = ["-i", "-u", "X", "A=1", "bash", "-e", &path];
        let named = vec![script.clone()];
        self.add(
            "env bash -e S".into(),
            &tag,
            "/usr/bin/env",
            &arguments,
            &script,
            named,
            "/bin/bash",
        );
    }

    /// Programs under other names than their own.
    fn links(&mut self) {
        // A link to an interpreter goes by what it runs, and by its own name.
        for (target, suffix) in [("/usr/bin/python3", ".py"), ("/bin/bash", ".sh")] {
            let tag = self.tag();
            let link = self.scratch.path().join(format!("link-{tag}"));
            std::os::unix::fs::symlink(target, &link).expect("a link of our own");
            let text = INTERPRETERS.iter().find(|of| of.programs[0] == target);
            let script = format!("{tag}{suffix}");
            let path = self.file(&script, text.expect("one of them").text);
            let named = vec![script.clone(), format!("link-{tag}")];
            let link = link.to_str().expect("a UTF-8 scratch directory").to_owned();
            self.add(
                format!("a link to {target}"),
                &tag,
                &link,
                &[&path],
                &script,
                named,
                target,
            );
        }
        // argv[0] is another name.
        let tag = self.tag();
        let program = self.program(&format!("program-{tag}"));
        let named = vec![format!("program-{tag}"), format!("zero-{tag}")];
        self.add(
            "another argv[0]".into(),
            &tag,
            &program,
            &["-c", SHELL],
            &named[0].clone(),
            named,
            "",
        );
        let last = self.all.last_mut().expect("just added");
        last.arg0 = Some(format!("/opt/zero-{tag}"));
        for (what, arg0) in [("a login shell", "-bash"), ("an empty argv[0]", "")] {
            let tag = self.tag();
            self.add(
                what.into(),
                &tag,
                "/bin/bash",
                &["-c", SHELL],
                "bash",
                Vec::new(),
                "/bin/bash",
            );
            self.all.last_mut().expect("just added").arg0 = Some(arg0.to_owned());
        }
    }

    /// Programs that are executed by a descriptor or a link of /proc.
    fn descriptors(&mut self) {
        // A program that executes itself again; `exec -a` gives argv[0].
        for (what, path, arg0) in [
            ("/proc/self/exe", "/proc/self/exe", ""),
            ("/proc/thread-self/exe", "/proc/thread-self/exe", ""),
            ("/proc/PID/exe", "/proc/$$/exe", ""),
            ("/proc/self/exe as another argv[0]", "/proc/self/exe", "-a zero "),
        ] {
            let tag = self.tag();
            let name = format!("program-{tag}");
            let program = self.program(&name);
            let again = format!("exec {arg0}{path} -c '{SHELL}' --tag={tag}");
            let named = vec![name.clone()];
            self.add(what.into(), &tag, &program, &["-c", &again], &name, named, "");
        }
        for (what, exec) in [
            (
                "execve(/dev/fd/N)",
                "os.execv('/dev/fd/%d' % fd, ['/dev/fd/%d' % fd] + rest)",
            ),
            (
                "execve(/proc/self/fd/N)",
                "os.execv('/proc/self/fd/%d' % fd, ['x'] + rest)",
            ),
            ("execveat(N)", "os.execve(fd, ['x'] + rest, {})"),
        ] {
            let tag = self.tag();
            let name = format!("program-{tag}");
            let program = self.program(&name);
            let open = format!("fd = os.open('{program}', os.O_RDONLY)");
            let named = vec![name.clone()];
            self.by_descriptor(what, &tag, &open, exec, &name, named, "");
            let name = format!("memfd-{tag}");
            let open =
                format!("fd = os.memfd_create('{name}', 0); os.write(fd, open('/bin/bash', 'rb').read())");
            let (tag, named) = (self.tag(), vec![name.clone()]);
            self.by_descriptor(&format!("memfd, {what}"), &tag, &open, exec, &name, named, "");
        }
        let tag = self.tag();
        let name = format!("cloned-{tag}:/proc/self/exe");
        let open = format!("fd = os.memfd_create('{name}', 0); os.write(fd, open('/bin/bash', 'rb').read())");
        let exec = "os.execv('/proc/self/fd/%d' % fd, ['/proc/self/exe'] + rest)";
        self.by_descriptor(
            "memfd of a container runtime",
            &tag,
            &open,
            exec,
            &name,
            vec![name.clone()],
            "",
        );
        // A script behind a descriptor has no name of its own.
        let tag = self.tag();
        let script = self.file(&format!("{tag}.sh"), &format!("#!/bin/bash\n{SHELL}\n"));
        let open = format!("fd = os.open('{script}', os.O_RDONLY); rest = rest[2:]");
        let exec = "os.execve(fd, ['x'] + rest, {})";
        self.by_descriptor(
            "execveat(script)",
            &tag,
            &open,
            exec,
            "bash",
            Vec::new(),
            "/bin/bash",
        );
        for (what, line) in [
            ("bash /dev/fd/3", "exec bash /dev/fd/3 --tag=TAG 3<SCRIPT"),
            (
                "bash /proc/self/fd/3",
                "exec bash -e /proc/self/fd/3 --tag=TAG 3<SCRIPT",
            ),
            ("bash <(...)", "exec bash <(cat SCRIPT) --tag=TAG"),
        ] {
            let tag = self.tag();
            let script = self.file(&format!("{tag}.sh"), SHELL);
            let line = line.replace("TAG", &tag).replace("SCRIPT", &script);
            self.add(
                what.into(),
                &tag,
                "/bin/bash",
                &["-c", &line],
                "bash",
                Vec::new(),
                "/bin/bash",
            );
        }
    }

    /// A program that python opens as `fd` and executes by it.
    #[expect(clippy::too_many_arguments, reason = "a row of a table")]
    fn by_descriptor(
        &mut self,
        what: &str,
        tag: &str,
        open: &str,
        exec: &str,
        shown: &str,
        names: Vec<String>,
        runs: &str,
    ) {
        let text = format!(
            "import os; rest = ['-c', '{SHELL}', '--tag={tag}']; {open}; os.set_inheritable(fd, True); {exec}"
        );
        self.add(
            what.to_owned(),
            tag,
            "/usr/bin/python3",
            &["-c", &text],
            shown,
            names,
            runs,
        );
    }

    /// `runs`: what it executes in the end; the program `shown` where it is empty.
    #[expect(clippy::too_many_arguments, reason = "a row of a table")]
    fn add(
        &mut self,
        what: String,
        tag: &str,
        program: &str,
        arguments: &[&str],
        shown: &str,
        names: Vec<String>,
        runs: &str,
    ) {
        let tag_argument = format!("--tag={tag}");
        let exe = match runs {
            "" => shown.to_owned(),
            runs => base_name(&fs::canonicalize(runs).expect("it exists")),
        };
        self.all.push(Invocation {
            what,
            tag: tag.to_owned(),
            shown: shown.to_owned(),
            names,
            not_names: Vec::new(),
            exe,
            program: PathBuf::from(program),
            arg0: None,
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .chain([tag_argument])
                .collect(),
        });
    }
}

impl Default for Invocations {
    fn default() -> Self {
        Self::new()
    }
}

impl Invocation {
    /// Starts it and waits until the program runs that it is about.
    pub fn start(&self) -> Running {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(&self.program);
        if let Some(arg0) = &self.arg0 {
            command.arg0(arg0);
        }
        command.args(&self.arguments);
        Running::start(command)
    }
}

fn base_name(path: &Path) -> String {
    let name = path.file_name().expect("a file");
    name.to_str().expect("a UTF-8 name").to_owned()
}
