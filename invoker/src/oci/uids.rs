//! The user ids of containers: two that are alive at once have different ones, also where several hubs share a machine.
//!
//! Each hub claims a block of ids by a name in the abstract socket namespace (unix(7)), which the kernel gives back when
//! the hub ends, however it ends.

use std::collections::HashSet;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Arc;

use parking_lot::Mutex;

/// The first id: above all that a system gives to people and services.
const FIRST: u32 = 1_000_000;
/// Blocks there are, and the ids of one: more hubs than a machine has, and more containers than a hub's memory holds.
const BLOCKS: u32 = 256;
const BLOCK_IDS: u32 = 4096;

/// A hub's block of ids.
pub(super) struct Uids {
    first: u32,
    state: Mutex<State>,
    _claim: UnixListener,
}

#[derive(Default)]
struct State {
    taken: HashSet<u32>,
    next: u32,
}

/// One id, a container's own until this is dropped.
pub(super) struct Lease {
    uids: Arc<Uids>,
    number: u32,
}

impl Uids {
    /// Claims a block: the one that `wish` points at, or the next free one.
    pub(super) fn claim(wish: u64) -> io::Result<Arc<Self>> {
        for step in 0..u64::from(BLOCKS) {
            let block =
                u32::try_from((wish % u64::from(BLOCKS) + step) % u64::from(BLOCKS)).unwrap_or_default();
            let name = SocketAddr::from_abstract_name(format!("triggerfish-uids-{block}"))?;
            match UnixListener::bind_addr(&name) {
                Ok(claim) => {
                    let first = FIRST + block * BLOCK_IDS;
                    return Ok(Arc::new(Self { first, state: Mutex::default(), _claim: claim }));
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(format!(
            "{BLOCKS} hubs on this machine have claimed all user ids of containers"
        )))
    }

    /// An id that no other container has; `None` where all are taken. The longest unused ones come first.
    pub(super) fn lease(self: &Arc<Self>) -> Option<Lease> {
        let mut state = self.state.lock();
        let next = state.next;
        let number =
            (0..BLOCK_IDS).map(|step| (next + step) % BLOCK_IDS).find(|id| !state.taken.contains(id))?;
        state.taken.insert(number);
        state.next = number + 1;
        Some(Lease { uids: self.clone(), number })
    }
}

impl Lease {
    pub(super) fn uid(&self) -> u32 {
        self.uids.first + self.number
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.uids.state.lock().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_what_is_alive_differ_within_a_hub_and_between_hubs() {
        let (one, other) = (Uids::claim(7).unwrap(), Uids::claim(7).unwrap());
        let mut leases: Vec<_> = (0..BLOCK_IDS).map(|_| one.lease().unwrap()).collect();
        leases.push(other.lease().unwrap());
        let ids: HashSet<_> = leases.iter().map(Lease::uid).collect();
        assert_eq!(ids.len(), leases.len());
        assert!(one.lease().is_none());
        let freed = leases.swap_remove(5).uid();
        assert_eq!(one.lease().map(|lease| lease.uid()), Some(freed));
    }
}
