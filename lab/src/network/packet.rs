//! Reads what the network needs of an IP packet: who it is for, and whether it may be cut.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const ICMPV4: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const IPV6_HEADER_LENGTH: usize = 40;

/// An IP packet whose fixed header is complete.
#[derive(Debug, Clone, Copy)]
pub(super) enum Packet<'a> {
    V4(&'a [u8]),
    V6(&'a [u8]),
}

impl<'a> Packet<'a> {
    /// `None` if it is neither IPv4 nor IPv6, or cut short.
    pub(super) fn new_checked(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 if bytes.len() >= 20 => {
                let header_length = usize::from(bytes[0] & 0x0f) * 4;
                (header_length >= 20 && bytes.len() >= header_length).then_some(Packet::V4(bytes))
            }
            6 if bytes.len() >= IPV6_HEADER_LENGTH => Some(Packet::V6(bytes)),
            _ => None,
        }
    }

    pub(super) fn source(self) -> IpAddr {
        match self {
            Packet::V4(bytes) => v4(&bytes[12..16]),
            Packet::V6(bytes) => v6(&bytes[8..24]),
        }
    }

    pub(super) fn destination(self) -> IpAddr {
        match self {
            Packet::V4(bytes) => v4(&bytes[16..20]),
            Packet::V6(bytes) => v6(&bytes[24..40]),
        }
    }

    /// Whether it is a UDP datagram, or a fragment of one.
    pub(super) fn is_datagram(self) -> bool {
        self.payload().0 == UDP
    }

    /// Whether a router may cut it into fragments: IPv4 without DF.
    pub(super) fn may_be_fragmented(self) -> bool {
        matches!(self, Packet::V4(bytes) if bytes[6] & 0x40 == 0)
    }

    /// Whether an ICMP error may be sent about it (RFC 1122 §3.2.2, RFC 4443 §2.4): not about another error, nor a
    /// later fragment.
    pub(super) fn deserves_an_error(self) -> bool {
        let (protocol, payload) = self.payload();
        let later_fragment = matches!(self, Packet::V4(bytes) if bytes[6] & 0x1f != 0 || bytes[7] != 0);
        let kind = payload.first().copied();
        let icmp_error = match protocol {
            ICMPV4 => matches!(kind, Some(3 | 4 | 5 | 11 | 12)),
            ICMPV6 => matches!(kind, Some(0..=127)),
            _ => false,
        };
        !later_fragment && !icmp_error
    }

    /// The protocol number and what follows the IP header. Extension headers of IPv6 are not looked behind.
    fn payload(self) -> (u8, &'a [u8]) {
        match self {
            Packet::V4(bytes) => (bytes[9], &bytes[usize::from(bytes[0] & 0x0f) * 4..]),
            Packet::V6(bytes) => (bytes[6], &bytes[IPV6_HEADER_LENGTH..]),
        }
    }
}

/// Where an IP packet goes; `None` if it is none.
pub fn destination(bytes: &[u8]) -> Option<IpAddr> {
    Packet::new_checked(bytes).map(Packet::destination)
}

/// Whether it is a UDP datagram, or a fragment of one, such as a heartbeat.
pub fn is_datagram(bytes: &[u8]) -> bool {
    Packet::new_checked(bytes).is_some_and(Packet::is_datagram)
}

/// Source and destination of a TCP segment; `None` for anything else.
pub fn tcp_endpoints(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let packet = Packet::new_checked(bytes)?;
    let (TCP, segment) = packet.payload() else { return None };
    let port = |at: usize| Some(u16::from_be_bytes([*segment.get(at)?, *segment.get(at + 1)?]));
    Some((SocketAddr::new(packet.source(), port(0)?), SocketAddr::new(packet.destination(), port(2)?)))
}

/// Who sent a TCP segment that has FIN or RST set; `None` for anything else.
pub fn closing_source(bytes: &[u8]) -> Option<IpAddr> {
    const FIN_OR_RST: u8 = 0x01 | 0x04;
    let packet = Packet::new_checked(bytes)?;
    let (TCP, segment) = packet.payload() else { return None };
    (segment.get(13)? & FIN_OR_RST != 0).then(|| packet.source())
}

fn v4(bytes: &[u8]) -> IpAddr {
    let octets: [u8; 4] = bytes.try_into().expect("an IPv4 address has 4 bytes");
    Ipv4Addr::from(octets).into()
}

fn v6(bytes: &[u8]) -> IpAddr {
    let octets: [u8; 16] = bytes.try_into().expect("an IPv6 address has 16 bytes");
    Ipv6Addr::from(octets).into()
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, PacketBuilderStep, TcpHeader};

    use super::*;

    fn tcp(builder: PacketBuilderStep<etherparse::IpHeaders>) -> Vec<u8> {
        let mut bytes = Vec::new();
        builder.tcp(1111, 2222, 0, 0).write(&mut bytes, b"x").unwrap();
        bytes
    }

    #[test]
    fn endpoints_of_both_versions() {
        let v4 = tcp(PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64));
        let v6 = tcp(PacketBuilder::ipv6(Ipv6Addr::LOCALHOST.octets(), Ipv6Addr::LOCALHOST.octets(), 64));
        assert_eq!(tcp_endpoints(&v4), Some(("10.0.0.1:1111".parse().unwrap(), "10.0.0.2:2222".parse().unwrap())));
        assert_eq!(tcp_endpoints(&v6), Some(("[::1]:1111".parse().unwrap(), "[::1]:2222".parse().unwrap())));
    }

    #[test]
    fn fin_and_rst_close() {
        let segment = |flags: fn(PacketBuilderStep<TcpHeader>) -> PacketBuilderStep<TcpHeader>| {
            let mut bytes = Vec::new();
            let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(1111, 2222, 0, 0);
            flags(builder).write(&mut bytes, b"").unwrap();
            closing_source(&bytes)
        };
        let source = Some(IpAddr::from([10, 0, 0, 1]));
        assert_eq!(segment(|builder| builder.fin().ack(1)), source);
        assert_eq!(segment(|builder| builder.rst()), source);
        assert_eq!(segment(|builder| builder.syn().ack(1)), None);
    }

    #[test]
    fn packets_cut_short_are_nothing() {
        let whole = tcp(PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64));
        for length in 0..24 {
            assert_eq!(tcp_endpoints(&whole[..length]), None);
        }
        assert!(Packet::new_checked(&[0x4f; 20]).is_none(), "options longer than the packet");
    }
}
