//! Single changes of the `steer` plane's rules, and how the rules say what connection tracking knows.

use std::net::SocketAddr;

use halod_core::ids::{NodeId, Side};
use halod_core::plane::steer::{Changes, IpVersion, Mark, Owner};

/// The packet is of no connection that was answered.
pub(crate) const NEW: u32 = 0x4845_0000;
/// The packet is of a connection.
pub(crate) const KNOWN: u32 = 0x4845_0001;
/// The packet contradicts its connection, or can be of none.
pub(crate) const INVALID: u32 = 0x4845_0002;

/// The mark of this number.
pub(crate) fn mark(number: u16) -> Mark {
    serde_json::from_value((Mark::PREFIX | u32::from(number)).into()).unwrap()
}

/// Connections to this service port go there, without a decision. Each port has an owner of its own.
pub(crate) fn port_leads_to(port: u16, address: SocketAddr) -> Changes {
    let mut changes = port_is_of(port, owner(port));
    changes.extend(holder_is_at(owner(port), address));
    changes
}

/// Connections to this service port are for `owner`, without a decision.
pub(crate) fn port_is_of(port: u16, owner: Owner) -> Changes {
    Changes { owners: [(port, Some(owner))].into(), ..Changes::default() }
}

/// The holder of an id has this address.
pub(crate) fn holder_is_at(owner: Owner, address: SocketAddr) -> Changes {
    Changes { holders: [((IpVersion::of(&address), owner), Some(address))].into(), ..Changes::default() }
}

/// Whom the connections to a service port are for: each has an id of its own here.
pub(crate) fn owner(port: u16) -> Owner {
    Owner { id: NodeId::new(port).unwrap(), side: if port < 9001 { Side::Browser } else { Side::App } }
}

/// The mark of this number means this address.
pub(crate) fn mark_means(number: u16, address: SocketAddr) -> Changes {
    Changes { marks: [((IpVersion::of(&address), mark(number)), Some(address))].into(), ..Changes::default() }
}

/// Whether this is an address of a node.
pub(crate) fn node(address: SocketAddr, is_there: bool) -> Changes {
    Changes { nodes: [(address, is_there)].into(), ..Changes::default() }
}

/// Whether all packets of connections to this service port are queued.
pub(crate) fn watched(port: u16, is_watched: bool) -> Changes {
    Changes { watched: [(port, is_watched)].into(), ..Changes::default() }
}
