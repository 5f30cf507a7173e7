//! Whether a node sends its replies to clients through this host: a SYN in the name of a client that does not exist,
//! and a look at what comes back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

use super::Finding;
use crate::config::Config;
use crate::nft::OWN_MARK;

/// Addresses of the documentation's ranges (RFC 5737, RFC 3849): nobody has them.
const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);
/// What is not back after this does not come by this way.
const PATIENCE: Duration = Duration::from_secs(1);

/// Probes `node` in the name of `client`, if that is an address of the same IP version.
pub(super) fn node(config: &Config, node: SocketAddr, client: Option<IpAddr>) -> Finding {
    if config.masquerade {
        return Finding::ok(format!("{node} is not probed: with masquerade it replies to this host"));
    }
    let nobody = if node.is_ipv4() { IpAddr::from(CLIENT_V4) } else { IpAddr::from(CLIENT_V6) };
    let client = client.filter(|client| client.is_ipv4() == node.is_ipv4()).unwrap_or(nobody);
    let probe = Probe { client: SocketAddr::new(client, rand::random_range(49_152..=u16::MAX)), node };
    match probe.run() {
        Ok(Some(Answer::Accepted { .. })) => Finding::ok(format!("{node} replies to {client} through this host")),
        Ok(Some(Answer::Refused)) => Finding::warn(
            format!("{node} replies to {client} through this host, but nothing listens there"),
            "start the node, or probe a port that it serves",
        ),
        Ok(None) => Finding::fail(
            format!("no reply of {node} to {client} came through this host"),
            "make this host the node's route to its clients, or set router.masquerade = true",
        ),
        Err(Errno::EPERM) => {
            Finding::fail(format!("{node} cannot be probed"), "CAP_NET_RAW and CAP_NET_ADMIN are needed")
        }
        Err(error) => Finding::fail(
            format!("{node} cannot be probed: {}", error.desc()),
            format!("give this host a route to {}", node.ip()),
        ),
    }
}

/// What a node says to a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// SYN-ACK; the number that it acknowledges is the next one of the client.
    Accepted { client_next: u32 },
    /// RST.
    Refused,
}

/// One connection that is never made.
#[derive(Debug, Clone, Copy)]
struct Probe {
    client: SocketAddr,
    node: SocketAddr,
}

impl Probe {
    /// `None` if no answer was seen in time.
    fn run(self) -> nix::Result<Option<Answer>> {
        // Listens first: the answer may be faster than the next system call.
        let tap = socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
        let family = if self.node.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let raw = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
        setsockopt(&raw, sockopt::Mark, &OWN_MARK)?;

        self.send(&raw, Segment::Syn { seq: rand::random() })?;
        let answer = self.wait(&tap)?;
        if let Some(Answer::Accepted { client_next }) = answer {
            self.send(&raw, Segment::Rst { seq: client_next })?;
        }
        Ok(answer)
    }

    fn send(self, raw: &OwnedFd, segment: Segment) -> nix::Result<()> {
        // The port of a raw socket's address means a protocol; the header has it.
        let address = SockaddrStorage::from(SocketAddr::new(self.node.ip(), 0));
        sendto(raw.as_raw_fd(), &self.packet(segment), &address, MsgFlags::empty()).map(drop)
    }

    fn packet(self, segment: Segment) -> Vec<u8> {
        const HOP_LIMIT: u8 = 64;
        const WINDOW: u16 = 1024;
        let ip = match (self.client.ip(), self.node.ip()) {
            (IpAddr::V4(client), IpAddr::V4(node)) => PacketBuilder::ipv4(client.octets(), node.octets(), HOP_LIMIT),
            (IpAddr::V6(client), IpAddr::V6(node)) => PacketBuilder::ipv6(client.octets(), node.octets(), HOP_LIMIT),
            _ => unreachable!("client and node have the same IP version"),
        };
        let (Segment::Syn { seq } | Segment::Rst { seq }) = segment;
        let tcp = ip.tcp(self.client.port(), self.node.port(), seq, WINDOW);
        let tcp = match segment {
            Segment::Syn { .. } => tcp.syn(),
            Segment::Rst { .. } => tcp.rst(),
        };
        let mut packet = Vec::with_capacity(tcp.size(0));
        tcp.write(&mut packet, &[]).expect("a segment without data fits a packet");
        packet
    }

    fn wait(self, tap: &OwnedFd) -> nix::Result<Option<Answer>> {
        let deadline = Instant::now() + PATIENCE;
        let mut packet = [0; 256];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            // A timeout of 0 would mean none.
            let timeout = TimeVal::new(0, left.subsec_micros().max(1).into());
            let timeout = if left >= PATIENCE { TimeVal::new(1, 0) } else { timeout };
            setsockopt(tap, sockopt::ReceiveTimeout, &timeout)?;
            match recv(tap.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                Ok(length) => {
                    let answer = self.answer(&packet[..length]);
                    if answer.is_some() {
                        return Ok(answer);
                    }
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What `packet` answers; `None` if it is no answer to this probe.
    fn answer(self, packet: &[u8]) -> Option<Answer> {
        let sliced = SlicedPacket::from_ip(packet).ok()?;
        let (from, to): (IpAddr, IpAddr) = match sliced.net? {
            NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Arp(_) => return None,
        };
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { return None };
        let from = SocketAddr::new(from, tcp.source_port());
        let to = SocketAddr::new(to, tcp.destination_port());
        match (from == self.node && to == self.client, tcp.rst(), tcp.syn() && tcp.ack()) {
            (true, true, _) => Some(Answer::Refused),
            (true, false, true) => Some(Answer::Accepted { client_next: tcp.acknowledgment_number() }),
            _ => None,
        }
    }
}

/// What a probe sends.
#[derive(Debug, Clone, Copy)]
enum Segment {
    Syn { seq: u32 },
    Rst { seq: u32 },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(client: &str, node: &str) {
        let probe = Probe { client: client.parse().unwrap(), node: node.parse().unwrap() };
        let reply = Probe { client: probe.node, node: probe.client };
        let refused = reply.packet(Segment::Rst { seq: 7 });
        assert_eq!(probe.answer(&refused), Some(Answer::Refused));
        assert_eq!(probe.answer(&reply.packet(Segment::Syn { seq: 7 })), None, "a SYN answers nothing");
        assert_eq!(reply.answer(&refused), None, "a probe is not its own answer");
        assert_eq!(probe.answer(&refused[..30]), None, "half a packet says nothing");
    }

    #[test]
    fn only_the_nodes_own_segment_is_an_answer() {
        check("198.51.100.1:50000", "10.0.0.2:8000");
        check("[2001:db8:ffff::1]:50000", "[2001:db8::2]:8000");
    }
}
