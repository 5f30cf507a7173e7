//! The sets and maps of the `steer` plane, and how their elements are written.
//!
//! ```text
//! owners      port of a service -> owner: a node id and a side     the last table
//! holders4    owner -> address of who holds the id
//! marks4      mark of a verdict -> address of a node
//! nodes4      addresses whose stray packets are queued
//! watched     ports whose connections are queued
//! ```
//!
//! Those with a 4 are there for IPv6 too.

use std::collections::BTreeMap;

use halod_core::ids::{NodeId, Side};
use halod_core::plane::steer::{Changes, IpVersion, Known, Mark, Owner};

use super::expression::Family;
use super::rewrite;
use super::table::{DataType, Element, Set, address_bytes};
use super::transaction::Transaction;

/// Whom the connections to a service port are for. A node that takes over an id changes nothing here.
pub(super) const OWNERS: Set = Set { name: "owners", key: DataType::Port, value: Some(DataType::Mark) };

/// Connections to these service ports are watched.
pub(super) const WATCHED: Set = Set { name: "watched", key: DataType::Port, value: None };

/// The address of an owner.
pub(super) fn holders(family: Family) -> Set {
    let name = match family {
        Family::V4 => "holders4",
        Family::V6 => "holders6",
    };
    Set { name, key: DataType::Mark, value: Some(DataType::Address(family)) }
}

/// Which address a verdict's mark means.
pub(super) fn marks(family: Family) -> Set {
    let name = match family {
        Family::V4 => "marks4",
        Family::V6 => "marks6",
    };
    Set { name, key: DataType::Mark, value: Some(DataType::Address(family)) }
}

pub(super) fn family(version: IpVersion) -> Family {
    match version {
        IpVersion::V4 => Family::V4,
        IpVersion::V6 => Family::V6,
    }
}

/// An owner as a mark: these bits, ASCII "HF", and twice the id, with one more for the side of apps. There is room for it: an id owns
/// a route at least, a route has two ports, and so no id is above 32,767. The marks of verdicts are "HD" ([`Mark`]).
const OWNER: u32 = 0x4846_0000;

/// Writes what has changed beyond what is `known`.
pub(super) fn change(transaction: &mut Transaction, table: &str, known: &Known, changes: &Changes) {
    let owners = changes.owners.iter();
    change_map(transaction, table, OWNERS, owners, &known.owners, |&port| port_bytes(port), owner_bytes);
    for version in IpVersion::ALL {
        let map = holders(family(version));
        let holders = changes.holders.iter().filter(|((of, _), _)| *of == version);
        change_map(transaction, table, map, holders, &known.holders, |(_, owner)| owner_bytes(owner), address_bytes);
        let map = marks(family(version));
        let marks = changes.marks.iter().filter(|((of, _), _)| *of == version);
        let mark_bytes = |(_, mark): &(IpVersion, Mark)| mark.number().to_ne_bytes().to_vec();
        change_map(transaction, table, map, marks, &known.marks, mark_bytes, address_bytes);
    }
    let (added, removed) = split(&changes.nodes);
    rewrite::delete_nodes(transaction, table, &removed);
    rewrite::add_nodes(transaction, table, &added);
    let ports = |ports: Vec<u16>| ports.into_iter().map(|port| Element::key(port_bytes(port))).collect::<Vec<_>>();
    let (added, removed) = split(&changes.watched);
    WATCHED.delete_elements(transaction, table, &ports(removed));
    WATCHED.add_elements(transaction, table, &ports(added));
}

/// An element that is there already has to go before it can have another value.
fn change_map<'a, K: Ord + 'a, V: 'a>(
    transaction: &mut Transaction,
    table: &str,
    map: Set,
    changes: impl Iterator<Item = (&'a K, &'a Option<V>)>,
    known: &BTreeMap<K, V>,
    key_bytes: impl Fn(&K) -> Vec<u8>,
    value_bytes: impl Fn(&V) -> Vec<u8>,
) {
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    for (key, value) in changes {
        removed.extend(known.contains_key(key).then(|| Element::key(key_bytes(key))));
        added.extend(value.as_ref().map(|value| Element { key: key_bytes(key), value: Some(value_bytes(value)) }));
    }
    map.delete_elements(transaction, table, &removed);
    map.add_elements(transaction, table, &added);
}

/// What is new, and what is gone.
fn split<K: Ord + Copy>(changes: &BTreeMap<K, bool>) -> (Vec<K>, Vec<K>) {
    let (added, removed): (Vec<_>, Vec<_>) = changes.iter().partition(|&(_, &is_there)| is_there);
    let keys = |changes: Vec<(&K, &bool)>| changes.into_iter().map(|(&key, _)| key).collect();
    (keys(added), keys(removed))
}

fn port_bytes(port: u16) -> Vec<u8> {
    port.to_be_bytes().to_vec()
}

fn owner_bytes(owner: &Owner) -> Vec<u8> {
    let number = u32::from(owner.id.number()) << 1 | u32::from(owner.side == Side::App);
    (OWNER | number).to_ne_bytes().to_vec()
}

/// A service port, of an element's key.
pub(super) fn port(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// An owner, of an element's key or value.
pub(super) fn owner(bytes: &[u8]) -> Option<Owner> {
    let number = u16::try_from(u32::from_ne_bytes(bytes.try_into().ok()?).checked_sub(OWNER)?).ok()?;
    let side = if number & 1 == 0 { Side::Browser } else { Side::App };
    Some(Owner { id: NodeId::new(number >> 1)?, side })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_as_it_was_written() {
        for id in [1, 2, 4711, 32_767] {
            for side in Side::ALL {
                let written = Owner { id: NodeId::new(id).unwrap(), side };
                assert_eq!(owner(&owner_bytes(&written)), Some(written));
            }
        }
        for number in [0, OWNER - 1, OWNER, OWNER + 1, OWNER + 0x1_0000] {
            assert_eq!(owner(&number.to_ne_bytes()), None, "{number:#x}");
        }
        assert_eq!(owner(&[0; 3]), None);
    }
}
