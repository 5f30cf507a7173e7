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
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
const CTA_STATUS_MASK: u16 = 26;
/// In the status: its destination is translated.
const IPS_DST_NAT: u32 = 1 << 5;
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

/// Asks for all connections whose destination is translated. A kernel that knows no such filter tells all.
pub(super) fn dump(sequence: u32) -> Vec<u8> {
    let translated = Attributes::new().with_u32(CTA_STATUS, IPS_DST_NAT).with_u32(CTA_STATUS_MASK, IPS_DST_NAT);
    message(IPCTNL_MSG_CT_GET, NLM_F_DUMP, sequence, libc::AF_UNSPEC, &translated)
}

/// Asks for the connection that has packets between these.
pub(super) fn question(sequence: u32, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    about(IPCTNL_MSG_CT_GET, sequence, source, destination)
}

/// Deletes one connection.
pub(super) fn deletion(sequence: u32, flow: &FlowKey) -> Vec<u8> {
    about(IPCTNL_MSG_CT_DELETE, sequence, flow.client, flow.service)
}

/// A message about the connection of one tuple. The kernel finds it by the tuple of either direction.
fn about(kind: i32, sequence: u32, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
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
    message(kind, 0, sequence, family, &Attributes::new().with_nested(CTA_TUPLE_ORIG, &tuple))
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn message(kind: i32, flags: u16, sequence: u32, family: i32, attributes: &Attributes) -> Vec<u8> {
    let mut bytes = Vec::new();
    let message_type = (libc::NFNL_SUBSYS_CTNETLINK << 8) | kind;
    append_message(&mut bytes, message_type, NLM_F_REQUEST | flags, sequence, (family, 0), attributes);
    bytes
}

/// How long the kernel keeps a connection, in seconds (`/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_*`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// One that is established and silent.
    pub(super) established: u32,
    /// One whose data is not acknowledged, or sent again and again.
    pub(super) unacknowledged: u32,
    /// One that waits for the last ACK.
    pub(super) last_ack: u32,
    /// One that has ended.
    pub(super) time_wait: u32,
}

impl Timeouts {
    /// For how long a connection in this state is silent of which so many seconds are left. The kernel tells whole ones: what
    /// was silent for less than one may have spoken just now, and so may one that the kernel keeps for less long because
    /// data is under way.
    fn idle(self, state: u8, left: u32) -> Duration {
        let kept = match state {
            ESTABLISHED if left <= self.unacknowledged && self.unacknowledged < self.established => 0,
            ESTABLISHED => self.established,
            LAST_ACK => self.last_ack,
            TIME_WAIT => self.time_wait,
            // The others pass soon.
            _ => 0,
        };
        Duration::from_secs(u64::from(kept.saturating_sub(left + 1)))
    }
}

/// Reads a connection; `None` if it is none of TCP.
pub(super) fn entry(payload: &[u8], timeouts: Timeouts) -> Option<Entry> {
    let attributes = payload.get(NFGENMSG_LENGTH..)?;
    let (client, service) = tuple(find(attributes, CTA_TUPLE_ORIG)?)?;
    let (node, peer) = tuple(find(attributes, CTA_TUPLE_REPLY)?)?;
    let &state = find(find(find(attributes, CTA_PROTOINFO)?, CTA_PROTOINFO_TCP)?, CTA_PROTOINFO_TCP_STATE)?.first()?;
    let left = find(attributes, CTA_TIMEOUT)?;
    let left = u32::from_be_bytes(left.try_into().ok()?);
    let (progress, idle) = (progress(state), timeouts.idle(state, left));
    Some(Entry { flow: FlowKey { client, service }, node, peer, progress, idle })
}

const ESTABLISHED: u8 = 3;
const LAST_ACK: u8 = 6;
const TIME_WAIT: u8 = 7;

/// The states of `linux/netfilter/nf_conntrack_tcp.h`.
fn progress(state: u8) -> Progress {
    match state {
        // SYN_SENT, and SYN_SENT2 of a simultaneous open.
        0 | 1 | 9 => Progress::SynSent,
        2 => Progress::SynReceived,
        // ESTABLISHED, FIN_WAIT, CLOSE_WAIT
        3..=5 => Progress::Established,
        LAST_ACK | TIME_WAIT => Progress::Closed,
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

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: Timeouts = Timeouts { established: 432_000, unacknowledged: 300, last_ack: 30, time_wait: 120 };

    /// A message as the kernel sends it, of a connection in `state` that it keeps for another `left` seconds.
    fn told(state: u8, left: u32) -> Vec<u8> {
        let tuple = |source: [u8; 4], source_port, destination: [u8; 4], destination_port| {
            let ip = Attributes::new().with_bytes(CTA_IP_V4_SRC, &source).with_bytes(CTA_IP_V4_DST, &destination);
            let ports = Attributes::new()
                .with_bytes(CTA_PROTO_NUM, &[6])
                .with_u16(CTA_PROTO_SRC_PORT, source_port)
                .with_u16(CTA_PROTO_DST_PORT, destination_port);
            Attributes::new().with_nested(CTA_TUPLE_IP, &ip).with_nested(CTA_TUPLE_PROTO, &ports)
        };
        let tcp = Attributes::new().with_bytes(CTA_PROTOINFO_TCP_STATE, &[state]);
        let attributes = Attributes::new()
            .with_nested(CTA_TUPLE_ORIG, &tuple([203, 0, 113, 1], 5000, [192, 0, 2, 1], 8001))
            .with_nested(CTA_TUPLE_REPLY, &tuple([10, 0, 0, 2], 80, [203, 0, 113, 1], 5001))
            .with_nested(CTA_PROTOINFO, &Attributes::new().with_nested(CTA_PROTOINFO_TCP, &tcp))
            .with_u32(CTA_TIMEOUT, left);
        let whole = message(IPCTNL_MSG_CT_GET, 0, 1, libc::AF_INET, &attributes);
        whole[16..].to_vec()
    }

    #[test]
    fn a_connection_is_read_with_the_port_that_its_node_sees() {
        let entry = entry(&told(ESTABLISHED, 431_989), TIMEOUTS).unwrap();
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let expected = Entry {
            flow: FlowKey { client: at("203.0.113.1:5000"), service: at("192.0.2.1:8001") },
            node: at("10.0.0.2:80"),
            peer: at("203.0.113.1:5001"),
            progress: Progress::Established,
            idle: Duration::from_secs(10),
        };
        assert_eq!(entry, expected);
    }

    #[test]
    fn what_is_cut_short_is_no_connection() {
        let told = told(ESTABLISHED, 431_989);
        for length in 0..told.len() {
            assert_eq!(entry(&told[..length], TIMEOUTS), None, "{length} of {} bytes", told.len());
        }
    }

    #[test]
    fn nothing_counts_as_silent_that_the_kernel_keeps_for_less_long_for_another_reason() {
        let idle = |state, left| entry(&told(state, left), TIMEOUTS).unwrap().idle.as_secs();
        assert_eq!(idle(ESTABLISHED, 431_999), 0, "it spoke within this second");
        assert_eq!(idle(ESTABLISHED, 301), 431_698);
        assert_eq!(idle(ESTABLISHED, 299), 0, "data that is not acknowledged");
        assert_eq!([idle(4, 119), idle(5, 59)], [0, 0], "half closed");
        assert_eq!([idle(LAST_ACK, 24), idle(TIME_WAIT, 119), idle(TIME_WAIT, 60)], [5, 0, 59]);
        let short = Timeouts { established: 120, ..TIMEOUTS };
        assert_eq!(entry(&told(ESTABLISHED, 99), short).unwrap().idle.as_secs(), 20);
    }

    #[test]
    fn states_that_say_how_a_connection_ended_differ() {
        let progress = |state| entry(&told(state, 10), TIMEOUTS).unwrap().progress;
        let expected = [
            (1, Progress::SynSent),
            (2, Progress::SynReceived),
            (3, Progress::Established),
            (5, Progress::Established),
            (7, Progress::Closed),
            (8, Progress::Reset),
            (9, Progress::SynSent),
        ];
        assert_eq!(expected.map(|(state, _)| (state, progress(state))), expected);
    }
}
