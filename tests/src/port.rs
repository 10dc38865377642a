//! Ports for servers that tests start.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

/// The ports that are tried: below those that the kernel gives to clients (ip(7), `ip_local_port_range`), and below those of
/// [`crate::fake`].
const FIRST: u16 = 10_000;
const COUNT: u16 = 10_000;

/// A port of 127.0.0.1 that nobody listens on. No two calls of one test program return the same one: a port that the kernel
/// chose could be another test's before its server listens.
///
/// # Panics
/// Without a free port.
pub fn free() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Programs that run at the same time begin far from each other.
    let begin = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or_default();
    (0..COUNT)
        .map(|_| {
            FIRST
                + (begin
                    .wrapping_mul(7)
                    .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)))
                    % COUNT
        })
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a free port")
}
