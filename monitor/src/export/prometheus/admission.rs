//! How many connections the page serves at a time, and which one ends where there are more.
//!
//! A newcomer is always let in: a connection that waited for a place would wait for those that never ask. Its place is
//! taken from the peer that holds the most connections that have not asked for anything yet, and of them from the oldest.
//! So who holds many slow connections is cut off first, and who connects and asks at once is served, whatever others do.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::task::AbortHandle;

/// Connections at a time, of all peers.
pub(super) const MOST: usize = 64;

/// Connections at a time of one peer.
pub(super) const MOST_OF_A_PEER: usize = 8;

/// Who connects: an IPv4 address, or the /64 network of an IPv6 address, all of which one host may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Peer(IpAddr);

impl Peer {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(network.into())
            }
            address => address,
        })
    }
}

/// An open connection.
#[derive(Debug)]
struct Open<H> {
    id: u64,
    peer: Peer,
    /// A whole request has arrived.
    has_asked: bool,
    /// Ends it.
    handle: Option<H>,
}

/// The open connections, oldest first.
#[derive(Debug)]
struct Table<H> {
    open: Vec<Open<H>>,
    next: u64,
}

impl<H> Table<H> {
    /// Takes a connection in; returns its id, and what ends the one whose place it got.
    fn admit(&mut self, peer: Peer) -> (u64, Option<H>) {
        let victim = self.victim(peer).map(|place| self.open.remove(place));
        let id = self.next;
        self.next += 1;
        self.open.push(Open {
            id,
            peer,
            has_asked: false,
            handle: None,
        });
        (id, victim.and_then(|victim| victim.handle))
    }

    fn victim(&self, newcomer: Peer) -> Option<usize> {
        let of = |peer: Peer| self.open.iter().filter(move |open| open.peer == peer);
        let peer = if of(newcomer).count() >= MOST_OF_A_PEER {
            newcomer
        } else if self.open.len() >= MOST {
            let slow = |peer: Peer| of(peer).filter(|open| !open.has_asked).count();
            // Of equals, max_by_key finds the last: reversed, the one with the oldest connection.
            let held = self.open.iter().rev().map(|open| open.peer);
            held.max_by_key(|&peer| (slow(peer), of(peer).count()))?
        } else {
            return None;
        };
        let is_slow = |open: &Open<H>| open.peer == peer && !open.has_asked;
        let slowest = self.open.iter().position(is_slow);
        slowest.or_else(|| self.open.iter().position(|open| open.peer == peer))
    }

    fn find(&mut self, id: u64) -> Option<&mut Open<H>> {
        self.open.iter_mut().find(|open| open.id == id)
    }
}

/// The open connections. Cloning it shares them.
#[derive(Debug, Clone)]
pub(super) struct Admission(Arc<Mutex<Table<AbortHandle>>>);

impl Default for Admission {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Table {
            open: Vec::new(),
            next: 0,
        })))
    }
}

impl Admission {
    /// Takes a connection of `peer` in, and ends another one where there are too many.
    pub(super) fn admit(&self, peer: Peer) -> Place {
        let (id, victim) = self.table().admit(peer);
        if let Some(victim) = victim {
            victim.abort();
        }
        Place {
            admission: self.clone(),
            id,
        }
    }

    /// `handle` ends the connection that has this place.
    pub(super) fn ends_with(&self, id: u64, handle: AbortHandle) {
        if let Some(open) = self.table().find(id) {
            open.handle = Some(handle);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table<AbortHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Admission,
    id: u64,
}

impl Place {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// A whole request has arrived.
    pub(super) fn has_asked(&self) {
        if let Some(open) = self.admission.table().find(self.id) {
            open.has_asked = true;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.table().open.retain(|open| open.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> Peer {
        Peer::of(IpAddr::from([127, 0, 0, number]))
    }

    /// A table of connections that are ended by their ids.
    fn table() -> Table<u64> {
        Table {
            open: Vec::new(),
            next: 0,
        }
    }

    fn admit(table: &mut Table<u64>, of: Peer, has_asked: bool) -> Option<u64> {
        let (id, victim) = table.admit(of);
        let open = table.find(id).unwrap();
        (open.handle, open.has_asked) = (Some(id), has_asked);
        victim
    }

    #[test]
    fn one_peer_gives_up_its_own_oldest_slow_connection() {
        let mut table = table();
        for asked in [true, false, false, true, false, false, false, false] {
            assert_eq!(admit(&mut table, peer(1), asked), None);
        }
        assert_eq!(admit(&mut table, peer(2), false), None);
        let ended: Vec<Option<u64>> = (0..8).map(|_| admit(&mut table, peer(1), true)).collect();
        let slow = [1, 2, 4, 5, 6, 7].map(Some);
        assert_eq!(ended[..6], slow);
        // All have asked: the oldest.
        assert_eq!(ended[6..], [Some(0), Some(3)]);
    }

    #[test]
    fn the_peer_with_the_most_slow_connections_makes_room_for_a_newcomer() {
        let mut table = table();
        for number in 0..8 {
            for _ in 0..8 {
                admit(&mut table, peer(number), number != 5);
            }
        }
        assert_eq!(table.open.len(), MOST);
        assert_eq!(admit(&mut table, peer(100), false), Some(40), "peer 5's oldest");
        // One connection each: the oldest one that has not asked.
        let mut table = self::table();
        for number in 0..64 {
            admit(&mut table, peer(number), number < 7);
        }
        assert_eq!(admit(&mut table, peer(100), false), Some(7));
    }

    #[test]
    fn a_host_has_one_ipv6_network() {
        let of = |text: &str| Peer::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:127.0.0.1"), of("127.0.0.1"));
        assert_ne!(of("127.0.0.1"), of("127.0.0.2"));
    }
}
