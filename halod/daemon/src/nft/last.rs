//! What a former daemon's table on the `steer` plane holds, read before another takes its place.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};

use halod_core::plane::steer::{Changes, IpVersion, Owner};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};
use netlink_sys::Socket;
use nix::libc;

use super::maps::{OWNERS, family, holders, owner, port};
use super::table::{Element, Set, table_name};
use super::{RulesError, open, rewrite};
use crate::netlink::{Attributes, NFGENMSG_LENGTH, append_message, attributes_of, error_of, find, messages};
use crate::queue::Queues;

/// What the next table begins with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastRules {
    /// Whom the connections to each service port are for.
    pub owners: BTreeMap<u16, Owner>,
    /// Where they go.
    pub holders: BTreeMap<(IpVersion, Owner), SocketAddr>,
    /// The addresses of nodes.
    pub nodes: BTreeSet<SocketAddr>,
}

impl LastRules {
    /// Reads the table of the daemon that served `queue` last, in the network namespace of the calling thread. Nothing if
    /// there is none, or one of the `rewrite` plane.
    ///
    /// # Errors
    ///
    /// [`RulesError`]: the kernel does not answer, or refuses.
    pub fn read(queues: Queues) -> Result<Self, RulesError> {
        let socket = open()?;
        let table = table_name(queues);
        let elements = |set| elements(&socket, &table, set).map_err(RulesError::Socket);
        let Some(owners) = elements(OWNERS)? else { return Ok(Self::default()) };
        let of_port = |element: Element| Some((port(&element.key)?, owner(&element.value?)?));
        let mut last = Self { owners: owners.into_iter().filter_map(of_port).collect(), ..Self::default() };
        for version in IpVersion::ALL {
            let holder = |element: Element| Some(((version, owner(&element.key)?), address(version, &element.value?)?));
            let holders = elements(holders(family(version)))?;
            last.holders.extend(holders.unwrap_or_default().into_iter().filter_map(holder));
            let nodes = elements(rewrite::nodes(family(version)))?;
            last.nodes.extend(nodes.unwrap_or_default().iter().filter_map(|element| address(version, &element.key)));
        }
        Ok(last)
    }

    /// What rules have to hear that know nothing.
    pub(super) fn into_changes(self) -> Changes {
        Changes {
            owners: self.owners.into_iter().map(|(port, owner)| (port, Some(owner))).collect(),
            holders: self.holders.into_iter().map(|(owner, address)| (owner, Some(address))).collect(),
            nodes: self.nodes.into_iter().map(|node| (node, true)).collect(),
            ..Changes::default()
        }
    }
}

/// All elements of a set or map; `None` if there is no such table, or no such set in it.
fn elements(socket: &Socket, table: &str, set: Set) -> io::Result<Option<Vec<Element>>> {
    const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
    const NFTA_SET_ELEM_LIST_SET: u16 = 2;
    let attributes =
        Attributes::new().with_text(NFTA_SET_ELEM_LIST_TABLE, table).with_text(NFTA_SET_ELEM_LIST_SET, set.name);
    let mut question = Vec::new();
    let message_type = (libc::NFNL_SUBSYS_NFTABLES << 8) | libc::NFT_MSG_GETSETELEM;
    let meant = (libc::NFPROTO_INET, 0);
    append_message(&mut question, message_type, NLM_F_REQUEST | NLM_F_DUMP, 0, meant, &attributes);
    socket.send(&question, 0)?;

    let mut elements = Vec::new();
    let mut replies = Vec::with_capacity(64 * 1024);
    loop {
        replies.clear();
        socket.recv(&mut replies, 0)?;
        for reply in messages(&replies) {
            match reply.message_type() {
                NLMSG_DONE => return Ok(Some(elements)),
                NLMSG_ERROR => match error_of(&reply) {
                    error if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
                    error => return Err(error),
                },
                _ => elements.extend(read(reply.payload())),
            }
        }
    }
}

/// The elements that one message lists.
fn read(payload: &[u8]) -> Vec<Element> {
    const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
    const NFTA_SET_ELEM_KEY: u16 = 1;
    const NFTA_SET_ELEM_DATA: u16 = 2;
    const NFTA_DATA_VALUE: u16 = 1;
    let attributes = payload.get(NFGENMSG_LENGTH..).unwrap_or_default();
    let list = find(attributes, NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or_default();
    let element = |(_, element)| {
        let data = |kind| Some(find(find(element, kind)?, NFTA_DATA_VALUE)?.to_vec());
        Some(Element { key: data(NFTA_SET_ELEM_KEY)?, value: data(NFTA_SET_ELEM_DATA) })
    };
    attributes_of(list).filter_map(element).collect()
}

/// An address and a port, each padded to four bytes.
fn address(version: IpVersion, bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, rest): (IpAddr, &[u8]) = match version {
        IpVersion::V4 => bytes.split_first_chunk::<4>().map(|(ip, rest)| ((*ip).into(), rest))?,
        IpVersion::V6 => bytes.split_first_chunk::<16>().map(|(ip, rest)| ((*ip).into(), rest))?,
    };
    Some(SocketAddr::new(ip, port(rest.get(..2)?)?))
}

#[cfg(test)]
mod tests {
    use super::super::table::address_bytes;
    use super::*;

    #[test]
    fn an_address_is_read_as_it_was_written() {
        for (version, text) in [(IpVersion::V4, "10.1.0.2:8080"), (IpVersion::V6, "[fd00::2]:8080")] {
            let written: SocketAddr = text.parse().unwrap();
            assert_eq!(address(version, &address_bytes(&written)), Some(written));
            assert_eq!(address(version, &address_bytes(&written)[..5]), None);
        }
    }
}
