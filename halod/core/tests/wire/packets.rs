//! Packets for the other modules, built by etherparse.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpHeaders, Ipv4Header, Ipv6Header, Ipv6RawExtHeader, Ipv6RoutingExtensions, PacketBuilder, TcpHeader, ip_number,
};
use halod_core::wire::{Packet, TcpPacket};
use proptest::collection::vec;
use proptest::prelude::*;

/// A TCP packet in parts.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    ip: IpHeaders,
    pub(crate) tcp: TcpHeader,
    pub(crate) payload: Vec<u8>,
}

impl Parts {
    /// The packet with lengths and checksums as etherparse computes them.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ip(self.ip.clone()).tcp_header(self.tcp.clone());
        builder.write(&mut bytes, &self.payload).expect("a packet that can be built");
        bytes
    }

    /// Where the TCP header begins.
    pub(crate) fn tcp_offset(&self) -> usize {
        self.ip.header_len()
    }

    pub(crate) fn source(&self) -> SocketAddr {
        let ip: IpAddr = match &self.ip {
            IpHeaders::Ipv4(header, _) => header.source.into(),
            IpHeaders::Ipv6(header, _) => header.source.into(),
        };
        SocketAddr::new(ip, self.tcp.source_port)
    }

    pub(crate) fn destination(&self) -> SocketAddr {
        let ip: IpAddr = match &self.ip {
            IpHeaders::Ipv4(header, _) => header.destination.into(),
            IpHeaders::Ipv6(header, _) => header.destination.into(),
        };
        SocketAddr::new(ip, self.tcp.destination_port)
    }

    /// The same packet between other ends.
    pub(crate) fn between(&self, ends: Ends) -> Parts {
        let mut parts = self.clone();
        match (&mut parts.ip, ends.source.ip(), ends.destination.ip()) {
            (IpHeaders::Ipv4(header, _), IpAddr::V4(source), IpAddr::V4(destination)) => {
                (header.source, header.destination) = (source.octets(), destination.octets());
            }
            (IpHeaders::Ipv6(header, _), IpAddr::V6(source), IpAddr::V6(destination)) => {
                (header.source, header.destination) = (source.octets(), destination.octets());
            }
            _ => panic!("ends of the packet's IP version"),
        }
        (parts.tcp.source_port, parts.tcp.destination_port) = (ends.source.port(), ends.destination.port());
        parts
    }

    pub(crate) fn ends(&self) -> Ends {
        Ends { source: self.source(), destination: self.destination() }
    }
}

/// Where a packet comes from and goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

/// The packet, which has to be a TCP packet.
pub(crate) fn tcp(bytes: &mut [u8]) -> TcpPacket<'_> {
    match Packet::parse(bytes) {
        Ok(Packet::Tcp(packet)) => packet,
        other => panic!("not a TCP packet: {other:?}"),
    }
}

/// A random packet with options, and other ends of its IP version.
pub(crate) fn packet_and_ends() -> impl Strategy<Value = (Parts, Ends)> {
    any::<bool>().prop_flat_map(|is_v4| (packet(is_v4), ends(is_v4)))
}

pub(crate) fn packet(is_v4: bool) -> impl Strategy<Value = Parts> {
    let payload = prop_oneof![vec(any::<u8>(), 0..80), vec(any::<u8>(), 1_400..1_502)];
    (ip_headers(is_v4), tcp_header(), payload).prop_map(|(ip, tcp, payload)| Parts { ip, tcp, payload })
}

pub(crate) fn ends(is_v4: bool) -> impl Strategy<Value = Ends> {
    (address(is_v4), address(is_v4), any::<u16>(), any::<u16>()).prop_map(|(source, destination, port, other_port)| {
        Ends { source: SocketAddr::new(source, port), destination: SocketAddr::new(destination, other_port) }
    })
}

pub(crate) fn address(is_v4: bool) -> BoxedStrategy<IpAddr> {
    if is_v4 {
        any::<[u8; 4]>().prop_map(IpAddr::from).boxed()
    } else {
        any::<[u8; 16]>().prop_map(IpAddr::from).boxed()
    }
}

fn ip_headers(is_v4: bool) -> BoxedStrategy<IpHeaders> {
    if is_v4 {
        let fields = (any::<[u8; 4]>(), any::<[u8; 4]>(), any::<u8>(), any::<u16>(), words(10));
        fields
            .prop_map(|(source, destination, ttl, identification, options)| {
                let mut header = Ipv4Header::new(0, ttl, ip_number::TCP, source, destination).expect("a short payload");
                header.identification = identification;
                header.options = options[..].try_into().expect("at most 40 bytes");
                IpHeaders::Ipv4(header, Default::default())
            })
            .boxed()
    } else {
        let extension = || proptest::option::of(vec(any::<u8>(), 0..3));
        let extensions = (extension(), extension(), extension(), extension());
        (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u8>(), extensions)
            .prop_map(|(source, destination, hop_limit, (hop_by_hop, first_options, routing, last_options))| {
                let header = Ipv6Header { source, destination, hop_limit, ..Default::default() };
                let routing = routing.map(|words| Ipv6RoutingExtensions {
                    routing: raw_extension(&words),
                    final_destination_options: last_options.as_deref().map(raw_extension),
                });
                let extensions = etherparse::Ipv6Extensions {
                    hop_by_hop_options: hop_by_hop.as_deref().map(raw_extension),
                    destination_options: first_options.as_deref().map(raw_extension),
                    routing,
                    ..Default::default()
                };
                IpHeaders::Ipv6(header, extensions)
            })
            .boxed()
    }
}

/// An extension of 8 bytes for each of `words` and 8 more. Its fourth byte is 0: a routing header's segments left.
fn raw_extension(words: &[u8]) -> Ipv6RawExtHeader {
    let content = [vec![words.len() as u8, 0, 1, 2, 3, 4], words.repeat(8)].concat();
    Ipv6RawExtHeader::new_raw(ip_number::TCP, &content).expect("6 bytes and a multiple of 8")
}

fn tcp_header() -> impl Strategy<Value = TcpHeader> {
    let numbers = (any::<u16>(), any::<u16>(), any::<u32>(), any::<u32>(), any::<u16>());
    (numbers, any::<[bool; 8]>(), words(10)).prop_map(
        |((source, destination, sequence, ack, window), bits, options)| {
            let mut header = TcpHeader::new(source, destination, sequence, window);
            header.acknowledgment_number = ack;
            [header.fin, header.syn, header.rst, header.psh, header.ack, header.urg, header.ece, header.cwr] = bits;
            header.set_options_raw(&options).expect("at most 40 bytes");
            header
        },
    )
}

/// Up to `max` 32-bit words, as bytes.
fn words(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<[u8; 4]>(), 0..=max).prop_map(|words| words.concat())
}
