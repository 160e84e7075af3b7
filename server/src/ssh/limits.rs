//! Before authentication a peer gets a bounded number of connections and a bounded number of
//! lines in the log.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counts connections that have not authenticated, in all and by address.
#[derive(Debug, Default)]
pub(super) struct Door {
    state: Mutex<DoorState>,
}

#[derive(Debug, Default)]
struct DoorState {
    max: usize,
    max_per_address: usize,
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Held from the accept to the authentication, or to the end of the connection.
#[derive(Debug)]
pub(super) struct Ticket {
    door: Arc<Door>,
    address: IpAddr,
}

/// Why a connection was closed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// `server.max_unauthenticated`.
    Total(usize),
    /// `server.max_unauthenticated_per_address`.
    Address(usize),
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Full::Total(limit) => write!(f, "{limit} connections have not authenticated yet"),
            Full::Address(limit) => write!(
                f,
                "{limit} connections from its address have not authenticated yet"
            ),
        }
    }
}

impl Door {
    fn lock(&self) -> MutexGuard<'_, DoorState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_limits(&self, max: usize, max_per_address: usize) {
        let mut state = self.lock();
        state.max = max;
        state.max_per_address = max_per_address;
    }

    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Ticket, Full> {
        let address = one_peer(address);
        let mut state = self.lock();
        if state.total >= state.max {
            return Err(Full::Total(state.max));
        }
        let max_per_address = state.max_per_address;
        let taken = state.by_address.entry(address).or_default();
        if *taken >= max_per_address {
            if *taken == 0 {
                state.by_address.remove(&address);
            }
            return Err(Full::Address(max_per_address));
        }
        *taken += 1;
        state.total += 1;
        Ok(Ticket {
            door: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.door.lock();
        state.total -= 1;
        if let Some(taken) = state.by_address.get_mut(&self.address) {
            *taken -= 1;
            if *taken == 0 {
                state.by_address.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: an IPv6 host has a /64 to choose from, so that is one.
fn one_peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

/// Lets through `burst` lines, and after that one each `interval`.
#[derive(Debug)]
pub(super) struct Throttle {
    burst: u32,
    interval: Duration,
    state: Mutex<ThrottleState>,
}

#[derive(Debug)]
struct ThrottleState {
    left: u32,
    refilled: Instant,
    kept_back: u64,
}

impl Throttle {
    pub(super) fn new(burst: u32, interval: Duration) -> Self {
        Self {
            burst,
            interval,
            state: Mutex::new(ThrottleState {
                left: burst,
                refilled: Instant::now(),
                kept_back: 0,
            }),
        }
    }

    /// `Some`: the line may be written, and this many like it were kept back before.
    pub(super) fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let due = now.saturating_duration_since(state.refilled).as_nanos()
            / self.interval.as_nanos().max(1);
        if due > 0 {
            let due = u32::try_from(due).unwrap_or(u32::MAX);
            state.left = state.left.saturating_add(due).min(self.burst);
            state.refilled = now;
        }
        if state.left == 0 {
            state.kept_back += 1;
            return None;
        }
        state.left -= 1;
        Some(std::mem::take(&mut state.kept_back))
    }
}

/// What happened at the door, for the status page.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted.
    pub connections: u64,
    /// … and closed at once, because too many had not authenticated.
    pub turned_away: u64,
    /// Connections that authenticated.
    pub logins: u64,
    /// Connections that tried a login and ended without one.
    pub failed_logins: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) connections: AtomicU64,
    pub(super) turned_away: AtomicU64,
    pub(super) logins: AtomicU64,
    pub(super) failed_logins: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> Counts {
        Counts {
            connections: self.connections.load(Ordering::Relaxed),
            turned_away: self.turned_away.load(Ordering::Relaxed),
            logins: self.logins.load(Ordering::Relaxed),
            failed_logins: self.failed_logins.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(max: usize, max_per_address: usize) -> Arc<Door> {
        let door = Arc::new(Door::default());
        door.set_limits(max, max_per_address);
        door
    }

    #[test]
    fn an_address_gets_its_share_and_a_dropped_ticket_frees_it() {
        let door = door(10, 2);
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        let first = door.admit(peer).unwrap();
        let _second = door.admit(peer).unwrap();
        assert_eq!(door.admit(peer).unwrap_err(), Full::Address(2));
        let other = door.admit("192.0.2.2".parse().unwrap()).unwrap();
        drop(first);
        drop(other);
        let _third = door.admit(peer).unwrap();
        assert_eq!(door.lock().total, 2);
        assert_eq!(door.lock().by_address.len(), 1);
    }

    #[test]
    fn the_total_holds_whatever_the_addresses() {
        let door = door(2, 2);
        let _a = door.admit("192.0.2.1".parse().unwrap()).unwrap();
        let _b = door.admit("192.0.2.2".parse().unwrap()).unwrap();
        assert_eq!(
            door.admit("192.0.2.3".parse().unwrap()).unwrap_err(),
            Full::Total(2)
        );
    }

    #[test]
    fn mapped_addresses_are_ipv4_and_an_ipv6_network_is_one_peer() {
        let door = door(10, 1);
        let _a = door.admit("::ffff:192.0.2.1".parse().unwrap()).unwrap();
        assert!(door.admit("192.0.2.1".parse().unwrap()).is_err());
        let _b = door.admit("2001:db8::1".parse().unwrap()).unwrap();
        assert!(door.admit("2001:db8::ffff:1".parse().unwrap()).is_err());
        assert!(door.admit("2001:db8:0:1::1".parse().unwrap()).is_ok());
    }

    #[test]
    fn a_refused_address_leaves_nothing_behind() {
        let door = door(10, 0);
        for n in 0..100u8 {
            assert!(door.admit(IpAddr::from([192, 0, 2, n])).is_err());
        }
        assert!(door.lock().by_address.is_empty());
    }

    #[test]
    fn the_throttle_counts_what_it_keeps_back() {
        let throttle = Throttle::new(2, Duration::from_secs(1));
        let start = Instant::now();
        assert_eq!(throttle.pass_at(start), Some(0));
        assert_eq!(throttle.pass_at(start), Some(0));
        for _ in 0..5 {
            assert_eq!(throttle.pass_at(start), None);
        }
        assert_eq!(throttle.pass_at(start + Duration::from_secs(2)), Some(5));
    }
}
