//! The ICMP message that path MTU discovery lives on (RFC 1191, RFC 8201).

use std::net::IpAddr;

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder};

use super::packet::Packet;
use super::switch::IcmpSource;

/// An IPv4 error is at most this long (RFC 1812 §4.3.2.3).
const IPV4_ERROR_LENGTH_MAX: usize = 576;
/// An IPv6 error is at most this long: the least MTU of IPv6 (RFC 4443 §2.4).
const IPV6_ERROR_LENGTH_MAX: usize = 1280;
const HOP_LIMIT: u8 = 64;

/// Tells the source of `bytes` that the packet is larger than `mtu` bytes: "fragmentation needed" or "packet too big".
/// `None` if nobody is to be told, or if the network has no address to say it from.
pub(super) fn too_big(bytes: &[u8], mtu: u16, from: IcmpSource) -> Option<Vec<u8>> {
    let packet = Packet::new_checked(bytes)?;
    if packet.may_be_fragmented() || !packet.deserves_an_error() {
        return None;
    }
    let mut answer = Vec::new();
    let written = match packet.source() {
        IpAddr::V4(to) => {
            let kind = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
            let quoted = &bytes[..bytes.len().min(IPV4_ERROR_LENGTH_MAX - 20 - 8)];
            PacketBuilder::ipv4(from.v4?.octets(), to.octets(), HOP_LIMIT)
                .icmpv4(Icmpv4Type::DestinationUnreachable(kind))
                .write(&mut answer, quoted)
        }
        IpAddr::V6(to) => {
            let quoted = &bytes[..bytes.len().min(IPV6_ERROR_LENGTH_MAX - 40 - 8)];
            PacketBuilder::ipv6(from.v6?.octets(), to.octets(), HOP_LIMIT)
                .icmpv6(Icmpv6Type::PacketTooBig { mtu: mtu.into() })
                .write(&mut answer, quoted)
        }
    };
    written.expect("an ICMP error fits an IP packet");
    Some(answer)
}

#[cfg(test)]
mod tests {
    use etherparse::{IpHeaders, Ipv4Header, NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    const FROM: IcmpSource = IcmpSource {
        v4: Some(std::net::Ipv4Addr::new(10, 9, 255, 254)),
        v6: Some(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xfffe)),
    };

    fn v4_packet(dont_fragment: bool) -> Vec<u8> {
        let mut header = Ipv4Header::new(0, 64, etherparse::IpNumber::TCP, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
        header.dont_fragment = dont_fragment;
        let mut bytes = Vec::new();
        PacketBuilder::ip(IpHeaders::Ipv4(header, Default::default()))
            .tcp(1, 2, 3, 4)
            .write(&mut bytes, &[0; 1_460])
            .unwrap();
        bytes
    }

    #[test]
    fn ipv4_with_df_is_answered_with_the_mtu() {
        let offending = v4_packet(true);
        let answer = too_big(&offending, 1_400, FROM).unwrap();
        assert_eq!(answer.len(), IPV4_ERROR_LENGTH_MAX);
        let sliced = SlicedPacket::from_ip(&answer).unwrap();
        let Some(NetSlice::Ipv4(ip)) = sliced.net else { panic!("not IPv4") };
        assert_eq!((ip.header().source(), ip.header().destination()), ([10, 9, 255, 254], [10, 0, 0, 1]));
        let Some(TransportSlice::Icmpv4(icmp)) = sliced.transport else { panic!("not ICMP") };
        assert_eq!(
            icmp.icmp_type(),
            Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1_400 })
        );
        assert_eq!(icmp.payload(), &offending[..548]);
    }

    #[test]
    fn ipv4_without_df_is_not_answered() {
        assert_eq!(too_big(&v4_packet(false), 1_400, FROM), None);
    }

    #[test]
    fn an_error_is_not_answered_with_an_error() {
        let answer = too_big(&v4_packet(true), 1_400, FROM).unwrap();
        let mut with_df = answer;
        with_df[6] |= 0x40;
        assert_eq!(too_big(&with_df, 100, FROM), None);
    }

    #[test]
    fn ipv6_is_answered_with_the_mtu() {
        let (a, b) = ([0xfd; 16], [0xfc; 16]);
        let mut offending = Vec::new();
        PacketBuilder::ipv6(a, b, 64).tcp(1, 2, 3, 4).write(&mut offending, &[0; 1_440]).unwrap();
        let answer = too_big(&offending, 1_400, FROM).unwrap();
        assert_eq!(answer.len(), IPV6_ERROR_LENGTH_MAX);
        let sliced = SlicedPacket::from_ip(&answer).unwrap();
        let Some(NetSlice::Ipv6(ip)) = sliced.net else { panic!("not IPv6") };
        assert_eq!(ip.header().destination(), a);
        let Some(TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!("not ICMPv6") };
        assert_eq!(icmp.icmp_type(), Icmpv6Type::PacketTooBig { mtu: 1_400 });
        assert_eq!(icmp.payload(), &offending[..1_232]);
    }
}
