//! Messages to and from connection tracking.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use halod_core::flow::{FlowKey, Progress};
use halod_core::plane::steer::Entry;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use nix::libc;

use crate::netlink::{Attributes, NFGENMSG_LENGTH, append_message, find};

const IPCTNL_MSG_CT_GET: i32 = 1;
const IPCTNL_MSG_CT_DELETE: i32 = 2;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
/// Within a tuple.
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
/// Within its addresses.
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
/// Within its ports.
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
/// Within the protocol's state.
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;

/// Asks for all connections.
pub(super) fn dump() -> Vec<u8> {
    message(IPCTNL_MSG_CT_GET, NLM_F_DUMP, libc::AF_UNSPEC, &Attributes::new())
}

/// Asks for the connection that has packets between these.
pub(super) fn question(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    about(IPCTNL_MSG_CT_GET, source, destination)
}

/// Deletes one connection.
pub(super) fn deletion(flow: &FlowKey) -> Vec<u8> {
    about(IPCTNL_MSG_CT_DELETE, flow.client, flow.service)
}

/// A message about the connection of one tuple. The kernel finds it by the tuple of either direction.
fn about(kind: i32, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (family, ip) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => (
            libc::AF_INET,
            Attributes::new()
                .with_bytes(CTA_IP_V4_SRC, &source.octets())
                .with_bytes(CTA_IP_V4_DST, &destination.octets()),
        ),
        (source, destination) => (
            libc::AF_INET6,
            Attributes::new().with_bytes(CTA_IP_V6_SRC, &v6(source)).with_bytes(CTA_IP_V6_DST, &v6(destination)),
        ),
    };
    let ports = Attributes::new()
        .with_bytes(CTA_PROTO_NUM, &[libc::IPPROTO_TCP as u8])
        .with_u16(CTA_PROTO_SRC_PORT, source.port())
        .with_u16(CTA_PROTO_DST_PORT, destination.port());
    let tuple = Attributes::new().with_nested(CTA_TUPLE_IP, &ip).with_nested(CTA_TUPLE_PROTO, &ports);
    message(kind, 0, family, &Attributes::new().with_nested(CTA_TUPLE_ORIG, &tuple))
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn message(kind: i32, flags: u16, family: i32, attributes: &Attributes) -> Vec<u8> {
    let mut bytes = Vec::new();
    let message_type = (libc::NFNL_SUBSYS_CTNETLINK << 8) | kind;
    append_message(&mut bytes, message_type, NLM_F_REQUEST | flags, 0, (family, 0), attributes);
    bytes
}

/// Reads a connection; `None` if it is none of TCP.
pub(super) fn entry(payload: &[u8], established_timeout: Duration) -> Option<Entry> {
    let attributes = payload.get(NFGENMSG_LENGTH..)?;
    let (client, service) = tuple(find(attributes, CTA_TUPLE_ORIG)?)?;
    let (node, peer) = tuple(find(attributes, CTA_TUPLE_REPLY)?)?;
    let state = find(find(find(attributes, CTA_PROTOINFO)?, CTA_PROTOINFO_TCP)?, CTA_PROTOINFO_TCP_STATE)?;
    let progress = progress(*state.first()?);
    let left = find(attributes, CTA_TIMEOUT).and_then(|left| left.try_into().ok()).map_or(0, u32::from_be_bytes);
    // The kernel tells whole seconds that are left. What was silent for less than one may have spoken just now.
    let silent = established_timeout.saturating_sub(Duration::from_secs(u64::from(left) + 1));
    let idle = if progress == Progress::Established { silent } else { Duration::ZERO };
    Some(Entry { flow: FlowKey { client, service }, node, peer, progress, idle })
}

/// The states of `linux/netfilter/nf_conntrack_tcp.h`.
fn progress(state: u8) -> Progress {
    match state {
        // SYN_SENT, and SYN_SENT2 of a simultaneous open.
        0 | 1 | 9 => Progress::SynSent,
        2 => Progress::SynReceived,
        // ESTABLISHED, FIN_WAIT, CLOSE_WAIT
        3..=5 => Progress::Established,
        // LAST_ACK, TIME_WAIT
        6 | 7 => Progress::Closed,
        // CLOSE
        _ => Progress::Reset,
    }
}

/// Source and destination, if it is TCP.
fn tuple(attributes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (ip, ports) = (find(attributes, CTA_TUPLE_IP)?, find(attributes, CTA_TUPLE_PROTO)?);
    if find(ports, CTA_PROTO_NUM)? != [libc::IPPROTO_TCP as u8] {
        return None;
    }
    let address = |v4, v6| -> Option<IpAddr> {
        match find(ip, v4) {
            Some(bytes) => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
            None => Some(Ipv6Addr::from(<[u8; 16]>::try_from(find(ip, v6)?).ok()?).into()),
        }
    };
    let port = |kind| Some(u16::from_be_bytes(find(ports, kind)?.try_into().ok()?));
    Some((
        SocketAddr::new(address(CTA_IP_V4_SRC, CTA_IP_V6_SRC)?, port(CTA_PROTO_SRC_PORT)?),
        SocketAddr::new(address(CTA_IP_V4_DST, CTA_IP_V6_DST)?, port(CTA_PROTO_DST_PORT)?),
    ))
}
