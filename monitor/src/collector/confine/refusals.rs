//! Calls that the filter refused: the supervisor's thread that answers them, and what it noted.
//!
//! The kernel holds a refused call until its answer, which is always EPERM (seccomp_unotify(2)): the arguments in memory are
//! never looked at, so that nothing can change behind a decision. Should the thread be gone, the call fails with ENOSYS.

use std::{
    collections::BTreeSet,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::{Deserialize, Serialize};

use super::{calls, filter::ARCHITECTURE};

/// Different calls that are noted of one run.
const MOST: usize = 32;
/// Bytes of a message from the child.
const LONGEST: usize = 8 << 10;

/// What the child tells the supervisor before it begins its work.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Confined {
    /// Walls that are missing, where the collector may run without them, and what else the kernel could not do.
    pub(super) lacking: Vec<String>,
}

/// Sends `confined`, and the listener where there is one.
///
/// # Errors
/// The socket does not take it.
pub(super) fn send(to: &OwnedFd, confined: &Confined, listener: Option<&OwnedFd>) -> io::Result<()> {
    let text = serde_json::to_vec(confined)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = listener.iter().map(|listener| listener.as_fd()).collect();
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    rustix::net::sendmsg(to, &[IoSlice::new(&text)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// What [`send`] sent; nothing where the child ended before it.
pub(super) fn receive(from: &OwnedFd) -> (Confined, Option<OwnedFd>) {
    let mut text = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = rustix::net::recvmsg(from, &mut [IoSliceMut::new(&mut text)], &mut ancillary, flags);
    let length = received.map_or(0, |message| message.bytes);
    let confined = serde_json::from_slice(&text[..length]).unwrap_or_default();
    let listener = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    (confined, listener)
}

/// Names of refused calls, each once.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusals(Arc<Mutex<BTreeSet<String>>>);

impl Refusals {
    /// Answers the listener's calls until no process has the filter any more. `tell` hears of each name once.
    pub(super) fn answer(&self, listener: OwnedFd, tell: impl Fn(&str) + Send + 'static) -> io::Result<()> {
        let noted = self.clone();
        let thread = std::thread::Builder::new().name("refusals".to_owned());
        thread.spawn(move || {
            while let Some(call) = next(&listener) {
                // Noted before its answer: a program that then ends at once ends with this in its report.
                let name = name(&call.data);
                let is_new = noted.note(&name);
                answer(&listener, call.id);
                if is_new {
                    tell(&name);
                }
            }
        })?;
        Ok(())
    }

    fn note(&self, name: &str) -> bool {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.len() < MOST && names.insert(name.to_owned())
    }

    /// What has been noted so far.
    pub(super) fn names(&self) -> Vec<String> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().cloned().collect()
    }
}

/// Waits for a refused call; `None` where there can be no more.
fn next(listener: &OwnedFd) -> Option<libc::seccomp_notif> {
    loop {
        let mut polled = libc::pollfd {
            fd: listener.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid entry.
        let ready = unsafe { libc::poll(&raw mut polled, 1, -1) };
        if ready < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
            continue;
        }
        if ready < 1 || polled.revents & libc::POLLIN == 0 {
            return None;
        }
        // SAFETY: integers alone; the kernel wants zeros.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel fills the struct, whose size belongs to the request's number.
        if unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV,
                &raw mut call,
            )
        } != -1
        {
            return Some(call);
        }
        // The caller was killed in between, or a signal came.
    }
}

fn answer(listener: &OwnedFd, id: u64) {
    let mut answer = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: -libc::EPERM,
        flags: 0,
    };
    // An error: the caller is gone, and so is its question.
    // SAFETY: the kernel reads the struct, whose size belongs to the request's number.
    unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            &raw mut answer,
        )
    };
}

fn name(call: &libc::seccomp_data) -> String {
    let number = libc::c_long::from(call.nr);
    let is_x32 = cfg!(target_arch = "x86_64") && call.nr & 0x4000_0000 != 0;
    if call.arch != ARCHITECTURE || is_x32 {
        return "a call of another architecture's table (a 32-bit or x32 program)".to_owned();
    }
    calls::described(number, call.args[0])
}
