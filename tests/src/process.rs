//! What the kernel says of a running process: its memory and the TCP ports that it listens at.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    process::Child,
    time::Duration,
};

/// TCP_LISTEN of the kernel's include/net/tcp_states.h.
const LISTEN: &str = "0A";

/// A child that is killed and reaped when it goes out of scope, also by a failed test.
#[derive(Debug)]
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Its resident set, bytes.
pub fn rss(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a live process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.expect("VmRSS in kB (proc_pid_status(5))") * 1024
}

/// The time that its threads that still run have used of all processors.
pub fn cpu_time(pid: u32) -> Duration {
    Duration::from_nanos(schedstat(pid, 0).expect("a live process"))
}

/// The time for which its threads that still run were ready and had no processor: what a busy host took from it. Zero
/// where it is gone.
pub fn run_queue_wait(pid: u32) -> Duration {
    Duration::from_nanos(schedstat(pid, 1).unwrap_or_default())
}

/// A number of proc_pid_schedstat's, added up over its threads that still run; `None` where it is gone.
fn schedstat(pid: u32, index: usize) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let of = |path: PathBuf| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split(' ').nth(index)?.trim().parse::<u64>().ok()
    };
    Some(threads.filter_map(|thread| of(thread.ok()?.path())).sum())
}

/// The state of one of its threads (proc_pid_stat(5)): `t` for one that a tracer has stopped. `None` where it is gone.
pub fn state_of_thread(pid: u32, tid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Its command line, as everybody sees it.
pub fn command_line(pid: u32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/cmdline")).expect("a live process")
}

/// The TCP addresses that it listens at.
pub fn listening(pid: u32) -> Vec<SocketAddr> {
    let sockets: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("a live process")
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let mut addresses = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // proc_pid_net(5): the local address, the state, and the socket's inode.
            if fields[3] == LISTEN && sockets.contains(fields[9]) {
                addresses.push(address(fields[1]));
            }
        }
    }
    addresses
}

/// Reads `0100007F:1F90`: words of the host's byte order, and the port.
fn address(text: &str) -> SocketAddr {
    let (host, port) = text.split_once(':').expect("an address and a port");
    let words: Vec<[u8; 4]> = (0..host.len() / 8)
        .map(|index| {
            let word = u32::from_str_radix(&host[index * 8..index * 8 + 8], 16).expect("hexadecimal");
            word.to_ne_bytes()
        })
        .collect();
    let ip = match &words[..] {
        [word] => IpAddr::from(Ipv4Addr::from(*word)),
        words => {
            let bytes: Vec<u8> = words.concat();
            IpAddr::from(Ipv6Addr::from(
                <[u8; 16]>::try_from(&bytes[..]).expect("four words"),
            ))
        }
    };
    SocketAddr::new(ip, u16::from_str_radix(port, 16).expect("hexadecimal"))
}

/// What the kernel has counted of a thread that does not run now (proc_pid_schedstat(5), proc_pid_status(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheduled {
    /// Time on CPUs, ns.
    pub runtime: u64,
    /// Time ready and without a CPU, ns.
    pub run_delay: u64,
    /// Turns on a CPU.
    pub turns: u64,
    /// Context switches of its own accord, and others.
    pub switches: (u64, u64),
}

/// Of the first thread of `pid`.
pub fn scheduled(pid: u32) -> Scheduled {
    let folder = PathBuf::from(format!("/proc/{pid}/task/{pid}"));
    let text = fs::read_to_string(folder.join("schedstat")).expect("a live process");
    let numbers: Vec<u64> = text
        .split_whitespace()
        .map(|number| number.parse().expect("numbers"))
        .collect();
    let status = fs::read_to_string(folder.join("status")).expect("a live process");
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|text| text.trim().parse().ok())
            .expect("proc_pid_status(5)")
    };
    Scheduled {
        runtime: numbers[0],
        run_delay: numbers[1],
        turns: numbers[2],
        switches: (of("voluntary_ctxt_switches:"), of("nonvoluntary_ctxt_switches:")),
    }
}
