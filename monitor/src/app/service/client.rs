//! `kevmon status`, `reload`, `--stop` and `--restart`: the other end of the commands socket.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{Mode, OFlags, fstat, open},
    process::{Pid, PidfdFlags, pidfd_open},
    time::Timespec,
};
use serde_json::{Value as Json, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    runtime::Builder,
    time::timeout,
};

use super::{place::Wanted, report};
use crate::{
    app::{Exit, output},
    shown,
};

/// A running kevmon answers within milliseconds; a reload reads files.
const ANSWER_WITHIN: Duration = Duration::from_secs(35);
/// Bytes of a reply at most.
const LONGEST_REPLY: u64 = 64 << 20;
/// An end waits for the last commit and the last export.
const END_WITHIN: Duration = Duration::from_secs(30);
/// A start loads programs and takes a snapshot.
const START_WITHIN: Duration = Duration::from_secs(60);
/// A kevmon that starts again is looked for this often.
const LOOK: Duration = Duration::from_millis(50);

/// One socket that somebody listened at, and what came of asking there.
pub(in crate::app) struct Instance {
    pub(in crate::app) path: PathBuf,
    /// The process that listens there; `None` where it has no pid in this namespace.
    pid: Option<Pid>,
    pub(in crate::app) status: Json,
}

/// Prints what runs.
///
/// # Errors
/// Standard output cannot be written.
pub(in crate::app) fn status(wanted: Wanted<'_>, is_json: bool) -> Result<Exit> {
    let instances = match running(&wanted)? {
        Found::Running(instances) => instances,
        Found::None(exit) => return Ok(exit),
    };
    let mut text = String::new();
    for instance in &instances {
        if is_json {
            text.push_str(&shown::json(&instance.status.to_string()));
            text.push('\n');
        } else {
            text.push_str(&report::text(&instance.status, &instance.path));
        }
    }
    output::print(&text).context("standard output")?;
    Ok(Exit::Success)
}

/// Has the instance read its configuration again, and prints what came of it.
///
/// # Errors
/// It did not answer, or refused.
pub(in crate::app) fn reload(wanted: Wanted<'_>) -> Result<Exit> {
    let instance = match the_one(&wanted)? {
        Ok(instance) => instance,
        Err(exit) => return Ok(exit),
    };
    let reply = order(&instance, "reload")?;
    let faults: Vec<&str> = reply["faults"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    for fault in &faults {
        shown::complain(fault);
    }
    let plugins = &reply["plugins"];
    let run = if *plugins == 1 {
        "plugin runs"
    } else {
        "plugins run"
    };
    output::print(&format!(
        "kevmon has read its configuration again: {plugins} {run}\n"
    ))
    .context("standard output")?;
    Ok(if faults.is_empty() {
        Exit::Success
    } else {
        Exit::Usage
    })
}

/// Ends the instance, and waits until it has ended.
///
/// # Errors
/// It did not answer, refused, or did not end in time.
pub(in crate::app) fn stop(wanted: Wanted<'_>) -> Result<Exit> {
    let instance = match the_one(&wanted)? {
        Ok(instance) => instance,
        Err(exit) => return Ok(exit),
    };
    if let Some(unit) = unit(&instance.status) {
        return systemctl("stop", unit);
    }
    // Before the order: the pid may be another's soon after.
    let process = process_of(&instance)?;
    order(&instance, "stop")?;
    if !has_ended(&process, END_WITHIN)? {
        bail!(
            "kevmon ({}) has not ended within {END_WITHIN:?}; see its log",
            named(&instance)
        );
    }
    output::print(&format!("kevmon ({}) has ended\n", named(&instance))).context("standard output")?;
    Ok(Exit::Success)
}

/// Has the instance end and begin again, and waits until it watches.
///
/// # Errors
/// It did not answer, refused, or is not there again in time.
pub(in crate::app) fn restart(wanted: Wanted<'_>) -> Result<Exit> {
    let instance = match the_one(&wanted)? {
        Ok(instance) => instance,
        Err(exit) => return Ok(exit),
    };
    if let Some(unit) = unit(&instance.status) {
        return systemctl("restart", unit);
    }
    let process = process_of(&instance)?;
    let before = instance.status["run"].clone();
    order(&instance, "restart")?;
    let until = Instant::now() + START_WITHIN;
    while Instant::now() < until {
        if has_ended(&process, LOOK)? {
            bail!(
                "kevmon ({}) has ended and not begun again; see its log",
                named(&instance)
            );
        }
        let again = ask(&instance.path, "status").ok();
        if again.is_some_and(|(status, _)| status["run"] != before) {
            output::print(&format!("kevmon ({}) runs again\n", named(&instance)))
                .context("standard output")?;
            return Ok(Exit::Success);
        }
    }
    bail!(
        "kevmon ({}) is not there again within {START_WITHIN:?}; see its log",
        named(&instance)
    );
}

/// What is there.
enum Found {
    Running(Vec<Instance>),
    /// Nobody answers, which has been said.
    None(Exit),
}

fn running(wanted: &Wanted<'_>) -> Result<Found> {
    let (sockets, folders) = wanted.sockets();
    let mut instances = Vec::new();
    let mut forbidden = None;
    for path in sockets {
        match ask(&path, "status") {
            Ok((status, pid)) => instances.push(Instance { path, pid, status }),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => forbidden = Some(path),
            // Nobody listens there any more.
            Err(error) if is_dead(&error) => {}
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
    if !instances.is_empty() {
        return Ok(Found::Running(instances));
    }
    if let Some(path) = forbidden {
        shown::complain(format_args!(
            "{}: this user may not connect; run the command as root, or add the user to the group kevmon",
            path.display()
        ));
        return Ok(Found::None(Exit::Failure));
    }
    let folders: Vec<String> = folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    let named = wanted
        .instance
        .map_or_else(String::new, |name| format!(" by the name {name}"));
    shown::complain(format_args!(
        "no kevmon runs{named}: nobody listens in {}; name its state with --metadata-db-path if it has another one, or start \
         it (systemctl start kevmon)",
        folders.join(", ")
    ));
    Ok(Found::None(Exit::NotRunning))
}

fn is_dead(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
    )
}

/// The one instance that a command is for; or what the command ends with where there is none, or several, which has been said.
///
/// # Errors
/// A socket cannot be asked.
pub(in crate::app) fn the_one(wanted: &Wanted<'_>) -> Result<std::result::Result<Instance, Exit>> {
    let mut instances = match running(wanted)? {
        Found::Running(instances) => instances,
        Found::None(exit) => return Ok(Err(exit)),
    };
    if let (Some(instance), true) = (instances.pop(), instances.is_empty()) {
        return Ok(Ok(instance));
    }
    let (sockets, _) = wanted.sockets();
    let names = sockets.iter().filter_map(|path| path.file_stem());
    let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
    shown::complain(format_args!(
        "several instances run ({}): name one with --instance",
        names.join(", ")
    ));
    Ok(Err(Exit::Usage))
}

/// One request, and its reply as it came.
fn order(instance: &Instance, command: &str) -> Result<Json> {
    let (reply, _) = ask(&instance.path, command).with_context(|| instance.path.display().to_string())?;
    match (reply["error"].as_str(), reply["remedy"].as_str()) {
        (Some(error), remedy) => bail!("{error}; {}", remedy.unwrap_or("see its log")),
        _ => Ok(reply),
    }
}

/// Asks whoever listens at `path`: the reply, and who that is.
fn ask(path: &Path, command: &str) -> io::Result<(Json, Option<Pid>)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (reply, pid) = runtime.block_on(ask_for(path, &json!({ "command": command })))?;
    Ok((serde_json::from_slice(&reply)?, pid))
}

/// Sends a request to whoever listens at `path`: the reply as it came, and who that is.
///
/// # Errors
/// Nobody listens, this user may not connect, or no reply comes in time.
pub(in crate::app) async fn ask_for(path: &Path, request: &Json) -> io::Result<(Vec<u8>, Option<Pid>)> {
    // Never through a link: another service's socket would get the request.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let socket = open(path, flags, Mode::empty())?;
    let place = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&socket));
    let owner = fstat(&socket)?.st_uid;
    let asking = async {
        let mut stream = UnixStream::connect(place).await?;
        let peer = stream.peer_cred()?;
        if peer.uid() != owner && peer.uid() != 0 {
            return Err(io::Error::other(
                "the socket is another user's than who listens at it",
            ));
        }
        let request = request.to_string() + "\n";
        stream.write_all(request.as_bytes()).await?;
        let mut reply = Vec::new();
        stream.take(LONGEST_REPLY).read_to_end(&mut reply).await?;
        if reply.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let pid = peer.pid().and_then(Pid::from_raw);
        Ok((reply, pid))
    };
    let late = || io::Error::other(format!("no answer within {ANSWER_WITHIN:?}"));
    timeout(ANSWER_WITHIN, asking).await.map_err(|_| late())?
}

/// The unit that an instance says it is, and whether it is a user's.
fn unit(status: &Json) -> Option<(&str, bool)> {
    let is_of_user = status["user_unit"].as_bool().unwrap_or(false);
    // It becomes an argument: a name as systemd has them, and no flag.
    let is_name = |name: &&str| {
        let mut letters = name.chars();
        letters.next().is_some_and(char::is_alphanumeric)
            && letters.all(|letter| letter.is_ascii_alphanumeric() || ":-_.\\@".contains(letter))
    };
    Some((status["unit"].as_str().filter(is_name)?, is_of_user))
}

fn systemctl(verb: &str, (unit, is_of_user): (&str, bool)) -> Result<Exit> {
    let user = is_of_user.then_some("--user");
    let status = Command::new("systemctl")
        .args(user)
        .args([verb, "--", unit])
        .status();
    let status = status
        .with_context(|| format!("kevmon runs as the unit {unit}, and systemctl is needed to {verb} it"))?;
    Ok(if status.success() {
        Exit::Success
    } else {
        Exit::Failure
    })
}

fn process_of(instance: &Instance) -> Result<OwnedFd> {
    let pid = instance
        .pid
        .context("kevmon runs in another pid namespace; give the command there")?;
    pidfd_open(pid, PidfdFlags::empty()).with_context(|| format!("pid {}", pid.as_raw_pid()))
}

fn has_ended(process: &OwnedFd, within: Duration) -> Result<bool> {
    let within = Timespec::try_from(within).context("a short time")?;
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    Ok(poll(&mut polled, Some(&within)).context("poll")? > 0)
}

fn named(instance: &Instance) -> String {
    instance.pid.map_or_else(
        || "no pid here".to_owned(),
        |pid| format!("pid {}", pid.as_raw_pid()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_a_name_and_no_flag() {
        let of = |name: &str| unit(&json!({ "unit": name })).is_some();
        for name in ["kevmon.service", "kevmon@web.service", "a\\x2db.service"] {
            assert!(of(name), "{name}");
        }
        for name in ["", "-Hother", "--user", "a b", "a;b", "é.service/../x", "a/b"] {
            assert!(!of(name), "{name}");
        }
    }
}
