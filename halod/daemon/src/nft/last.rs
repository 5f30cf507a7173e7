//! What a former daemon's table on the `steer` plane holds, read before another takes its place.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};

use halod_core::plane::steer::IpVersion;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};
use netlink_sys::Socket;
use nix::libc;

use super::steer::{family, ports};
use super::table::{Element, Set, table_name};
use super::{RulesError, open, rewrite};
use crate::netlink::{Attributes, NFGENMSG_LENGTH, append_message, attributes_of, error_of, find, messages};
use crate::queue::Queues;

/// What the next table begins with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastRules {
    /// Where the connections to each service port go.
    pub ports: BTreeMap<(IpVersion, u16), SocketAddr>,
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
        let mut last = Self::default();
        for version in IpVersion::ALL {
            let family = family(version);
            let Some(by_port) = elements(&socket, &table, ports(family)).map_err(RulesError::Socket)? else {
                return Ok(Self::default());
            };
            let place = |element: Element| Some(((version, port(&element.key)?), address(version, &element.value?)?));
            last.ports.extend(by_port.into_iter().filter_map(place));
            let nodes = elements(&socket, &table, rewrite::nodes(family)).map_err(RulesError::Socket)?;
            last.nodes.extend(nodes.unwrap_or_default().iter().filter_map(|element| address(version, &element.key)));
        }
        Ok(last)
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

fn port(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
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
