//! What a packet is about, as far as a host has to know to find the socket that it is for.
//!
//! Checks no checksum: smoltcp does.

use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::{self, IpProtocol, IpVersion, Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket};

/// Names a TCP socket of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tuple {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
}

/// What an incoming packet is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// A segment; whether it wants to open a connection.
    Tcp(Tuple, bool),
    /// A datagram for a port.
    Udp(u16),
    /// Neither, or cut off.
    Other,
}

impl About {
    pub(super) fn read(packet: &[u8]) -> Self {
        Self::try_read(packet).unwrap_or(Self::Other)
    }

    fn try_read(packet: &[u8]) -> wire::Result<Self> {
        let (from, to, protocol, payload) = match IpVersion::of_packet(packet)? {
            IpVersion::Ipv4 => {
                let ip = Ipv4Packet::new_checked(packet)?;
                (IpAddr::from(ip.src_addr()), IpAddr::from(ip.dst_addr()), ip.next_header(), ip.payload())
            }
            IpVersion::Ipv6 => {
                let ip = Ipv6Packet::new_checked(packet)?;
                (IpAddr::from(ip.src_addr()), IpAddr::from(ip.dst_addr()), ip.next_header(), ip.payload())
            }
        };
        Ok(match protocol {
            IpProtocol::Tcp => {
                let tcp = TcpPacket::new_checked(payload)?;
                let local = SocketAddr::new(to, tcp.dst_port());
                let peer = SocketAddr::new(from, tcp.src_port());
                Self::Tcp(Tuple { local, peer }, tcp.syn() && !tcp.ack() && !tcp.rst())
            }
            IpProtocol::Udp => Self::Udp(UdpPacket::new_checked(payload)?.dst_port()),
            _ => Self::Other,
        })
    }
}
