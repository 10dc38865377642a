//! Notifies the service manager of kevmon's state (sd_notify(3)): datagrams of `NAME=VALUE` lines to the socket that
//! `NOTIFY_SOCKET` names. The protocol is stable and documented there, hence no crate.
//!
//! Nothing here waits: a manager that does not read loses messages. `READY=1`, without which systemd would end a healthy
//! kevmon, is repeated until the socket has taken it.

use std::{
    env,
    ffi::OsString,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::Path,
    process,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tracing::warn;

/// The variables of the protocol. Whoever kevmon starts must not find them: a child would speak for kevmon.
const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";
/// Bytes of `STATUS=` at most.
const LONGEST_STATUS: usize = 512;

/// The service manager, where there is one.
#[derive(Debug, Default)]
pub(in crate::app) struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    /// Why there is none although the environment names one.
    fault: Option<String>,
    /// The variables as they were, for a kevmon that takes this one's place.
    variables: Vec<(&'static str, OsString)>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last status that was sent.
    status: String,
    /// `READY=1` is owed.
    owes_ready: bool,
    /// Reloads that have begun and not ended.
    reloads: u32,
    /// A message was refused, which the log has said.
    failed: bool,
}

impl Notifier {
    /// The manager that the environment names, whose variables are removed from it.
    ///
    /// # Safety
    /// No other thread may run (`std::env::remove_var`).
    pub(in crate::app) unsafe fn take() -> Self {
        let names = [SOCKET, WATCHDOG, WATCHDOG_PID];
        let take = |name: &'static str| {
            let value = env::var_os(name)?;
            // SAFETY: the caller's promise.
            unsafe { env::remove_var(name) };
            Some((name, value))
        };
        Self::of(names.into_iter().filter_map(take).collect())
    }

    fn of(variables: Vec<(&'static str, OsString)>) -> Self {
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name);
        let opened = value(SOCKET).map(|(_, address)| {
            open(address.as_bytes()).map_err(|error| {
                let address = address.display();
                format!("{SOCKET}={address}: {error}; no notification is sent")
            })
        });
        let (to, fault) = match opened {
            Some(Ok(to)) => (Some(to), None),
            Some(Err(fault)) => (None, Some(fault)),
            None => (None, None),
        };
        let number = |name: &str| value(name)?.1.to_str()?.parse::<u64>().ok();
        let is_meant = value(WATCHDOG_PID).is_none() || number(WATCHDOG_PID) == Some(process::id().into());
        let watchdog = number(WATCHDOG).filter(|usec| *usec > 0 && is_meant && to.is_some());
        Self {
            to,
            watchdog: watchdog.map(Duration::from_micros),
            fault,
            variables,
            state: Mutex::default(),
        }
    }

    /// Without a sign of life for so long, the manager ends kevmon.
    pub(in crate::app) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The manager's variables, for a kevmon that takes this one's place in the same process.
    pub(in crate::app) fn variables(&self) -> impl Iterator<Item = &(&'static str, OsString)> {
        self.variables.iter()
    }

    /// kevmon watches.
    pub(in crate::app) fn ready(&self) {
        if let Some(fault) = &self.fault {
            warn!("{fault}");
        }
        let mut state = self.state();
        state.owes_ready = true;
        self.pay(&mut state);
    }

    /// Repeats what the socket has not taken.
    pub(in crate::app) fn retry(&self) {
        self.pay(&mut self.state());
    }

    fn pay(&self, state: &mut State) {
        if state.owes_ready {
            state.owes_ready = !self.send("READY=1\n", state);
        }
    }

    /// The configuration is about to be read again.
    pub(in crate::app) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        let mut state = self.state();
        state.reloads += 1;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"), &mut state);
    }

    /// One of the reloads has ended.
    pub(in crate::app) fn reloaded(&self) {
        let mut state = self.state();
        state.reloads = state.reloads.saturating_sub(1);
        if state.reloads == 0 {
            state.owes_ready = true;
            self.pay(&mut state);
        }
    }

    /// kevmon ends.
    pub(in crate::app) fn stopping(&self) {
        self.send("STOPPING=1\n", &mut self.state());
    }

    /// One line for people, where it differs from the last one.
    pub(in crate::app) fn status(&self, text: String) {
        let mut state = self.state();
        if state.status == text || self.to.is_none() {
            return;
        }
        let end = text.floor_char_boundary(LONGEST_STATUS);
        let line = text[..end].replace(['\n', '\r'], " ");
        if self.send(&format!("STATUS={line}\n"), &mut state) {
            state.status = text;
        }
    }

    /// All that kevmon cannot do without moves.
    pub(in crate::app) fn alive(&self) {
        self.send("WATCHDOG=1\n", &mut self.state());
    }

    /// Whether the socket took it; also where there is no manager.
    fn send(&self, message: &str, state: &mut State) -> bool {
        let Some((socket, address)) = &self.to else {
            return true;
        };
        match socket.send_to_addr(message.as_bytes(), address) {
            Ok(_) => {
                state.failed = false;
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut state.failed, true) {
                    warn!(
                        "the service manager does not take {:?}: {error}",
                        message.trim_end()
                    );
                }
                false
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The socket, and the address that `@name` (abstract) or `/path` means.
fn open(address: &[u8]) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match address {
        [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(address)))?,
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "neither an absolute path nor @name",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(variables: &[(&'static str, &str)]) -> Notifier {
        Notifier::of(
            variables
                .iter()
                .map(|(name, value)| (*name, value.into()))
                .collect(),
        )
    }

    fn received(socket: &UnixDatagram) -> Vec<String> {
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        let next = || {
            let length = socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_watchdog_is_heeded_where_it_is_meant_for_this_process() {
        let own = process::id().to_string();
        let socket = (SOCKET, "@kevmon-test-nobody");
        for (variables, expected) in [
            (&[socket, (WATCHDOG, "3000000")][..], Some(3)),
            (&[socket, (WATCHDOG, "3000000"), (WATCHDOG_PID, &own)], Some(3)),
            (&[socket, (WATCHDOG, "3000000"), (WATCHDOG_PID, "1")], None),
            (&[socket, (WATCHDOG, "3000000"), (WATCHDOG_PID, "x")], None),
            (&[socket, (WATCHDOG, "0")], None),
            (&[socket, (WATCHDOG, "-1")], None),
            (&[(WATCHDOG, "3000000")], None),
            (&[(SOCKET, "relative"), (WATCHDOG, "3000000")], None),
            (&[(SOCKET, "@"), (WATCHDOG, "3000000")], None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(named(variables).watchdog(), expected, "{variables:?}");
        }
    }

    #[test]
    fn ready_is_repeated_until_somebody_takes_it() {
        let name = format!("kevmon-ready-{}", process::id());
        let notifier = named(&[(SOCKET, &format!("@{name}"))]);
        notifier.ready();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        notifier.retry();
        notifier.retry();
        assert_eq!(received(&socket), ["READY=1\n"]);
    }

    #[test]
    fn a_reload_is_over_once_the_last_one_is() {
        let name = format!("kevmon-reloads-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = named(&[(SOCKET, &format!("@{name}"))]);
        notifier.reloading();
        notifier.reloading();
        notifier.reloaded();
        assert_eq!(received(&socket).len(), 2, "no READY yet");
        notifier.reloaded();
        assert_eq!(received(&socket), ["READY=1\n"]);
    }

    #[test]
    fn a_status_is_one_line_and_sent_when_it_changes() {
        let name = format!("kevmon-status-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = named(&[(SOCKET, &format!("@{name}"))]);
        notifier.status("one\nREADY=1".to_owned());
        notifier.status("one\nREADY=1".to_owned());
        notifier.status("é".repeat(LONGEST_STATUS));
        let messages = received(&socket);
        assert_eq!(messages[0], "STATUS=one READY=1\n");
        assert_eq!(messages[1].len(), "STATUS=\n".len() + LONGEST_STATUS);
        assert_eq!(messages.len(), 2);
    }
}
