//! The UDP socket of a host.

use std::net::SocketAddr;

use halod_core::time::Instant;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::udp::{PacketBuffer, PacketMetadata, Socket};
use smoltcp::wire::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, IpEndpoint, UDP_HEADER_LEN};

use super::link::{Link, socket_addr};

/// Datagrams that may wait to be read: as many small ones as Linux's default buffer of 208 KiB holds, about.
const RECEIVE_DATAGRAMS_MAX: usize = 256;
const RECEIVE_BUFFER_LENGTH: usize = 64 << 10;
/// Each datagram is sent at once; none is longer than a packet.
const SEND_BUFFER_LENGTH: usize = 64 << 10;

pub(super) struct Udp {
    set: SocketSet<'static>,
    handle: SocketHandle,
    pub(super) port: u16,
    /// Whether the process is yet to be told of datagrams.
    pub(super) ready: bool,
}

impl Udp {
    /// Binds to `port`, which is not zero, on all addresses.
    pub(super) fn bind(port: u16) -> Self {
        let buffer = |count, length| PacketBuffer::new(vec![PacketMetadata::EMPTY; count], vec![0; length]);
        let mut socket =
            Socket::new(buffer(RECEIVE_DATAGRAMS_MAX, RECEIVE_BUFFER_LENGTH), buffer(1, SEND_BUFFER_LENGTH));
        socket.bind(port).expect("a UDP port is not zero");
        let mut set = SocketSet::new(Vec::new());
        let handle = set.add(socket);
        Self { set, handle, port, ready: false }
    }

    /// Takes in the next packet; more than the buffer holds are lost.
    pub(super) fn receive(&mut self, now: Instant, link: &mut Link) {
        link.receive(now, &mut self.set);
    }

    /// The next datagram, and from whom.
    pub(super) fn read(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let (bytes, metadata) = self.set.get_mut::<Socket<'_>>(self.handle).recv().ok()?;
        Some((socket_addr(metadata.endpoint), bytes.to_vec()))
    }

    /// Sends at once. What no packet can hold is lost: nothing is cut into fragments.
    pub(super) fn send(&mut self, now: Instant, link: &mut Link, to: SocketAddr, bytes: &[u8]) {
        let ip_header_length = if to.is_ipv4() { IPV4_HEADER_LEN } else { IPV6_HEADER_LEN };
        let fits = ip_header_length + UDP_HEADER_LEN + bytes.len() <= link.queues.mtu();
        let socket = self.set.get_mut::<Socket<'_>>(self.handle);
        if fits && socket.send_slice(bytes, IpEndpoint::from(to)).is_ok() {
            link.send(now, &mut self.set);
        }
    }
}
