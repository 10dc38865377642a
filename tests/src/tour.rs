//! The commands of a page, run as its reader would: the blocks marked `sh run`, one after the other, in one shell and one folder.
//!
//! The block that follows, where it is marked `text output`, has what they print. The real output needs the same lines in the same
//! order, with whatever else between them. Numbers, lengths of time and sizes may differ, since they do each time ([`shape`]); a line
//! `…` stands for what is left out.
//!
//! The shell has a network of its own, so that ports named in a page are free, and a home in a scratch folder. One page runs at a
//! time on a host: what they call their processes is fixed. `sleep` sleeps several times as long as it says, as the host may be busy.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    docs::Page,
    kevmon,
    markdown::{self, Block},
    scratch::Scratch,
    wait,
};

/// A page has at most this long.
const LIMIT: Duration = Duration::from_secs(400);
/// Held while a page runs.
const LOCK: &str = "/var/tmp/kevmon-tests-docs.lock";
/// Printed behind each block.
const END: &str = "--- end of a block ---";

/// What a block printed, on both outputs.
#[derive(Debug)]
pub struct Ran {
    pub block: Block,
    /// The block that has the expected lines, where there is one.
    pub expected: Option<Block>,
    pub output: String,
}

/// The blocks of a page that are run, each with the one that has its output.
pub fn marked(page: &str) -> Vec<(Block, Option<Block>)> {
    let blocks = markdown::blocks(page);
    let mut marked = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        if block.info == "sh run" {
            let next = blocks.get(index + 1);
            let expected = next.filter(|next| next.info == "text output");
            marked.push((block.clone(), expected.cloned()));
        }
    }
    marked
}

/// Runs all marked blocks of a page. `programs` are put on PATH, each under its name. Sleeps are `stretch` times as long.
///
/// # Panics
/// The shell does not come to its end.
pub fn run(page: &Page, programs: &[(&str, &Path)], stretch: u32) -> Vec<Ran> {
    let lock = File::create(LOCK).expect("a file in /var/tmp");
    // SAFETY: a descriptor of ours.
    let locked = unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) };
    assert_eq!(locked, 0, "{LOCK}: {}", io::Error::last_os_error());

    let scratch = Scratch::new();
    let bin = scratch.path().join("bin");
    fs::create_dir(&bin).expect("a folder");
    let own = kevmon::binary();
    for (name, program) in programs.iter().copied().chain([("kevmon", own.as_path())]) {
        std::os::unix::fs::symlink(program, bin.join(name)).expect("a link");
    }
    let marked = marked(&page.text);
    let mut shell = Shell {
        child: command(scratch.path(), &marked, stretch)
            .spawn()
            .expect("bash starts"),
        log: scratch.path().join("output"),
    };
    let name = page.path.display();
    wait::until(&format!("the commands of {name} to end"), LIMIT, || {
        shell.child.try_wait().expect("our child")
    });
    let output = shell.output();
    drop(shell);
    let mut parts = output.split(END);
    marked
        .into_iter()
        .map(|(block, expected)| Ran {
            block,
            expected,
            output: parts.next().unwrap_or_default().to_owned(),
        })
        .collect()
}

/// The shell that runs the blocks, with its output in the file `output`.
fn command(folder: &Path, marked: &[(Block, Option<Block>)], stretch: u32) -> Command {
    let mut script = format!("sleep() {{ command sleep $(({stretch} * $1)); }}\n");
    for (block, _) in marked {
        script.push_str(&block.text);
        script.push_str(&format!("echo '{END}'\n"));
    }
    let home = folder.join("home");
    fs::create_dir(&home).expect("a folder");
    let output = File::create(folder.join("output")).expect("a file");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("bash");
    command
        .args(["-c", &script])
        .current_dir(&home)
        .env_clear()
        .env("HOME", &home)
        .env("PATH", format!("{}:{path}", folder.join("bin").display()))
        .env("TZ", "UTC")
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a descriptor"))
        .stderr(output)
        .process_group(0);
    // SAFETY: system calls alone.
    unsafe {
        command.pre_exec(own_network);
    }
    command
}

/// A network namespace with nothing but a loopback interface.
fn own_network() -> io::Result<()> {
    let checked = |result: i32| match result {
        0.. => Ok(result),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: system calls on values of ours; zeros are a valid ifreq.
    unsafe {
        checked(libc::unshare(libc::CLONE_NEWNET))?;
        let socket = checked(libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0))?;
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        checked(libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request))?;
        checked(libc::close(socket))?;
    }
    Ok(())
}

/// The shell with all that it started; killed when dropped.
struct Shell {
    child: Child,
    /// What it prints goes here.
    log: PathBuf,
}

impl Shell {
    fn output(&self) -> String {
        let output = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&output).into_owned()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- what the commands printed ---\n{}", self.output());
        }
        let Ok(group) = i32::try_from(self.child.id()) else {
            return;
        };
        // SAFETY: a system call without memory.
        unsafe {
            libc::kill(-group, libc::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// A line without what differs in each run: each number is 0, also with `<` or `≥` before it, each length of time and each size has
/// the same unit, and spaces are one. Exit codes stay.
pub fn shape(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let last = words.last().map_or("", |last| last.trim_start_matches('('));
        let bare = word.trim_end_matches([',', ':', ';', ')']);
        let rest = &word[bare.len()..];
        if is_part_of_a_time(bare) {
            // `1m 40s` is a length of time like `4.3 s`.
            if words.last().is_some_and(|last| last == "TIME") {
                words.pop();
            } else {
                words.push("0".to_owned());
            }
            words.push(format!("TIME{rest}"));
            continue;
        }
        let shaped = match bare {
            "s" | "ms" | "µs" | "ns" | "min" | "h" | "d" if last == "0" => format!("TIME{rest}"),
            "B" | "KiB" | "MiB" | "GiB" if last == "0" => format!("SIZE{rest}"),
            _ if last == "exit" => word.to_owned(),
            _ => without_numbers(word),
        };
        words.push(shaped);
    }
    words.join(" ")
}

/// `40s`, `3h`.
fn is_part_of_a_time(word: &str) -> bool {
    let number = word.strip_suffix(['s', 'm', 'h', 'd']);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A word with each number as 0.
fn without_numbers(word: &str) -> String {
    let mut shaped = String::new();
    let mut in_number = false;
    for letter in word.chars() {
        let is_digit = letter.is_ascii_digit();
        let continues = is_digit || (in_number && ".:,".contains(letter));
        if is_digit && !in_number {
            if shaped.ends_with(['<', '≥']) {
                shaped.pop();
            }
            shaped.push('0');
        }
        if !continues {
            shaped.push(letter);
        }
        in_number = continues;
    }
    shaped
}

/// The first expected line that the output lacks, in order.
pub fn missing<'a>(expected: &'a str, output: &str) -> Option<&'a str> {
    let mut lines = output.lines().map(shape);
    expected
        .lines()
        .filter(|line| !line.trim().is_empty() && line.trim() != "…")
        .find(|line| {
            let wanted = shape(line);
            !lines.any(|line| line == wanted)
        })
}
