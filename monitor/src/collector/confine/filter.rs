//! The seccomp filter of a collector: a classic BPF program that the kernel runs at each system call (seccomp(2)).
//!
//! What [`calls`] refuses fails with EPERM and is reported: the filter hands such a call to the supervisor, which notes its
//! name and answers EPERM ([`super::refusals`]). Where the kernel has no such notification, or another listener exists
//! already, the filter answers EPERM itself and nothing is reported. A call of another architecture's table, which the rules
//! do not name, is refused likewise: i386 and x32 on x86-64, 32-bit ARM on arm64.
//!
//! The program is made here rather than by a library: seccompiler (rust-vmm) has no user notification, and libseccomp is a C
//! library that the host would need.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
};

use super::calls::{Refused, Rule, Sockets, rules};

/// <linux/audit.h>: the machine, 64 bits, little endian.
#[cfg(target_arch = "x86_64")]
pub(super) const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHITECTURE: u32 = 0xC000_00B7;
/// The bit that x32 sets in a call's number, under the same architecture.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// struct seccomp_data: the number, the architecture, six arguments of 64 bits from 16 on.
const NUMBER: u32 = 0;
const MACHINE: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_BITS: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// A program in the making.
struct Program {
    instructions: Vec<libc::sock_filter>,
    /// What a refused call comes to.
    refusal: u32,
}

impl Program {
    fn push(&mut self, code: u16, k: u32, jt: u8, jf: u8) {
        self.instructions.push(libc::sock_filter { code, jt, jf, k });
    }

    fn load(&mut self, offset: u32) {
        self.push(LOAD, offset, 0, 0);
    }

    /// The lower half of an argument; both architectures are little endian.
    fn load_argument(&mut self, index: u8) {
        self.load(ARGUMENTS + 8 * u32::from(index));
    }

    fn refuse(&mut self) {
        self.push(RETURN, self.refusal, 0, 0);
    }

    fn allow(&mut self) {
        self.push(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
    }

    /// Refuses where the loaded value is one of `values`.
    fn refuse_if_any(&mut self, values: &[u32]) {
        let last = values.len().saturating_sub(1);
        for (at, value) in values.iter().enumerate() {
            let left = u8::try_from(last - at).unwrap_or(u8::MAX);
            self.push(IF_EQUAL, *value, left, u8::from(at == last));
        }
        self.refuse();
    }

    /// Refuses where the loaded value is none of `values`.
    fn refuse_unless(&mut self, values: &[u32]) {
        let count = values.len();
        for (at, value) in values.iter().enumerate() {
            let left = u8::try_from(count - at).unwrap_or(u8::MAX);
            self.push(IF_EQUAL, *value, left, 0);
        }
        self.refuse();
    }

    fn rule(&mut self, rule: &Rule) {
        let at = self.instructions.len();
        // Patched below with the length of what follows.
        self.push(IF_EQUAL, rule.number as u32, 0, 0);
        match rule.refused {
            Refused::Always => self.refuse(),
            Refused::Missing(error) => {
                self.push(RETURN, libc::SECCOMP_RET_ERRNO | error.unsigned_abs(), 0, 0);
            }
            Refused::Unless(arguments) => {
                for (index, values) in arguments {
                    self.load_argument(*index);
                    self.refuse_unless(values);
                }
                self.allow();
            }
            Refused::With(index, values) => {
                self.load_argument(index);
                self.refuse_if_any(values);
                self.allow();
            }
            Refused::Bits(index, mask) => {
                self.load_argument(index);
                self.push(IF_BITS, mask, 0, 1);
                self.refuse();
                self.allow();
            }
        }
        let length = self.instructions.len() - at - 1;
        self.instructions[at].jf = u8::try_from(length).unwrap_or(u8::MAX);
    }
}

/// The program for a collector with such sockets; `refusal` is what a refused call comes to.
fn program(sockets: Sockets, refusal: u32) -> Vec<libc::sock_filter> {
    let mut program = Program {
        instructions: Vec::new(),
        refusal,
    };
    program.load(MACHINE);
    program.refuse_unless(&[ARCHITECTURE]);
    program.load(NUMBER);
    #[cfg(target_arch = "x86_64")]
    {
        program.push(IF_BITS, X32, 0, 1);
        program.refuse();
    }
    for rule in rules(sockets) {
        program.rule(&rule);
    }
    program.allow();
    program.instructions
}

/// What came of installing the filter.
#[derive(Debug)]
pub(super) enum Installed {
    /// Refused calls come to this descriptor.
    Reporting(OwnedFd),
    /// Refused calls fail, and nobody hears of them, for this reason.
    Silent(io::Error),
}

/// Installs the filter in this thread, for all that it starts, for good. Needs no_new_privs.
///
/// # Errors
/// The kernel has no seccomp filters, or refuses this one.
pub(super) fn install(sockets: Sockets) -> io::Result<Installed> {
    match load(
        &program(sockets, libc::SECCOMP_RET_USER_NOTIF),
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
    ) {
        Ok(listener) => {
            // SAFETY: the kernel returned a new descriptor, which nobody else has.
            Ok(Installed::Reporting(unsafe { OwnedFd::from_raw_fd(listener) }))
        }
        // EINVAL: before Linux 5.0. EBUSY: whoever started kevmon listens already.
        Err(reason) => {
            let refusal = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
            load(&program(sockets, refusal), 0).map(|_| Installed::Silent(reason))
        }
    }
}

fn load(instructions: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<i32> {
    let program = libc::sock_fprog {
        len: u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: instructions.as_ptr().cast_mut(),
    };
    // SAFETY: seccomp(2) reads the program, which lives until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors of raw calls in a thread that has no capability and this filter.
    fn errors(sockets: Sockets, calls: &[(libc::c_long, [u64; 3])]) -> Vec<Option<i32>> {
        let calls = calls.to_vec();
        let thread = std::thread::spawn(move || {
            // Should the filter let one of them pass, it must not do what it is called for.
            for set in [caps::CapSet::Effective, caps::CapSet::Permitted] {
                caps::clear(None, set).unwrap();
            }
            rustix::thread::set_no_new_privs(true).unwrap();
            let refusal = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
            load(&program(sockets, refusal), 0).unwrap();
            let error = |(number, [a, b, c]): &(libc::c_long, [u64; 3])| {
                // SAFETY: the calls below take no memory, or none that is there.
                let result = unsafe { libc::syscall(*number, *a, *b, *c, 0, 0, 0) };
                (result == -1).then(|| io::Error::last_os_error().raw_os_error().unwrap())
            };
            calls.iter().map(error).collect()
        });
        thread.join().unwrap()
    }

    #[test]
    fn every_call_of_the_list_is_refused() {
        for sockets in [Sockets::None, Sockets::Local, Sockets::Network] {
            let rules = rules(sockets);
            let calls: Vec<_> = rules
                .iter()
                .map(|rule| {
                    // Arguments that each kind of rule refuses.
                    let arguments = match rule.refused {
                        Refused::Always | Refused::Missing(_) => [0, 0, 0],
                        Refused::Unless(_) => [9_999, 9_999, 0],
                        Refused::With(_, values) => [u64::MAX, values[0].into(), 0],
                        Refused::Bits(_, mask) => [mask.into(), 0, 0],
                    };
                    (rule.number, arguments)
                })
                .collect();
            for (rule, error) in rules.iter().zip(errors(sockets, &calls)) {
                let expected = match rule.refused {
                    Refused::Missing(error) => error,
                    _ => libc::EPERM,
                };
                assert_eq!(error, Some(expected), "{} with {sockets:?}", rule.name);
            }
        }
    }

    #[test]
    fn arguments_that_are_no_attack_pass() {
        let family = |family: i32| family as u64;
        let datagrams = libc::SOCK_DGRAM as u64;
        let cases = [
            // A number, its arguments, and whether it passes without sockets, with local ones, with the network.
            (
                libc::SYS_socket,
                [family(libc::AF_UNIX), datagrams, 0],
                [false, true, true],
            ),
            (
                libc::SYS_socket,
                [family(libc::AF_INET), datagrams, 0],
                [false, false, true],
            ),
            (
                libc::SYS_socket,
                [family(libc::AF_INET6), datagrams, 0],
                [false, false, true],
            ),
            (
                libc::SYS_socket,
                [family(libc::AF_NETLINK), datagrams, 0],
                [false; 3],
            ),
            (
                libc::SYS_socket,
                [family(libc::AF_VSOCK), datagrams, 0],
                [false; 3],
            ),
            (libc::SYS_socket, [family(libc::AF_ALG), 5, 0], [false; 3]),
            // The kernel takes the lower half of an int.
            (
                libc::SYS_socket,
                [1 << 32 | family(libc::AF_INET), datagrams, 0],
                [false, false, true],
            ),
            (libc::SYS_prlimit64, [0, 7, 0], [true; 3]),
            (libc::SYS_prlimit64, [1, 7, 0], [false; 3]),
            (libc::SYS_setpriority, [0, 0, 5], [true; 3]),
            (libc::SYS_setpriority, [0, 1, 5], [false; 3]),
            (libc::SYS_setpriority, [2, 0, 5], [false; 3]),
            (libc::SYS_clone, [libc::CLONE_NEWUSER as u64, 0, 0], [false; 3]),
            (libc::SYS_getpid, [0, 0, 0], [true; 3]),
        ];
        let calls: Vec<_> = cases
            .iter()
            .map(|(number, arguments, _)| (*number, *arguments))
            .collect();
        for (at, sockets) in [Sockets::None, Sockets::Local, Sockets::Network]
            .into_iter()
            .enumerate()
        {
            for (case, error) in cases.iter().zip(errors(sockets, &calls)) {
                assert_eq!(
                    error != Some(libc::EPERM),
                    case.2[at],
                    "{case:?} {sockets:?} {error:?}"
                );
            }
        }
    }

    /// The number of `uname` of i386 is another call's of x86-64; x32 has the numbers of x86-64 with a bit.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn calls_of_another_table_are_refused() {
        let x32 = errors(
            Sockets::Network,
            &[(libc::SYS_getpid | i64::from(X32), [0, 0, 0])],
        );
        assert_eq!(x32, [Some(libc::EPERM)]);
        let i386 = std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            let refusal = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
            load(&program(Sockets::Network, refusal), 0).unwrap();
            let result: i32;
            // SAFETY: getpid (20) by the i386 table; it changes no memory.
            unsafe { std::arch::asm!("int 0x80", inlateout("eax") 20 => result, options(nostack)) };
            result
        });
        let result = i386.join().unwrap();
        // A kernel without the i386 table ends the thread by a signal instead; this one has it.
        assert_eq!(result, -libc::EPERM);
    }
}
