//! Where the packets of each flow went.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use halod_core::wire::{Packet, TcpFlags};

/// Both ends of a flow as its client knows them.
type Ends = (SocketAddr, SocketAddr);

/// Every flow so far, by its last beginning.
#[derive(Debug, Default)]
pub(super) struct Flows {
    by_ends: BTreeMap<Ends, Begun>,
    begun: usize,
    wrong: Option<String>,
}

#[derive(Debug)]
struct Begun {
    /// The sequence number of its SYN.
    sequence: u32,
    node: SocketAddr,
    /// The client has acknowledged an answer: only an end lets another node have its packets.
    established: bool,
}

/// What tells a segment of its flow, as it was before the plane had it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) flags: TcpFlags,
    pub(super) sequence: u32,
}

impl Head {
    /// `None` if `packet` is no TCP segment.
    pub(crate) fn of(packet: &mut [u8]) -> Option<Self> {
        let Ok(Packet::Tcp(tcp)) = Packet::parse(packet) else { return None };
        let (source, destination) = (tcp.source(), tcp.destination());
        Some(Self { source, destination, flags: tcp.flags(), sequence: tcp.sequence() })
    }
}

impl Flows {
    /// A client's packet goes to a node.
    pub(super) fn see_forwarded(&mut self, packet: Head, node: SocketAddr) {
        let Head { source: client, destination: service, flags, sequence } = packet;
        let ends = (client, service);
        let is_syn = flags.is_initial_syn();
        match self.by_ends.get_mut(&ends) {
            Some(flow) if is_syn && flow.sequence == sequence && flow.established && flow.node != node => {
                self.wrong.get_or_insert_with(|| {
                    format!("{client} to {service}: its SYN went to {}, which served it, then to {node}", flow.node)
                });
            }
            Some(flow) if is_syn => {
                let again = flow.sequence == sequence && flow.node == node;
                *flow = Begun { sequence, node, established: flow.established && again };
                self.begun += usize::from(!again);
            }
            Some(flow) => {
                flow.established = true;
                if flow.node != node {
                    let begun_at = flow.node;
                    self.wrong.get_or_insert_with(|| {
                        format!("{client} to {service}: a packet went to {node}, its flow began at {begun_at}")
                    });
                }
            }
            // A SYN that was held went out as a packet of the plane's own.
            None => {
                self.by_ends.insert(ends, Begun { sequence, node, established: !is_syn });
                self.begun += 1;
            }
        }
    }

    /// A client's SYN is kept back for now: it begins a flow later.
    pub(super) fn see_held(&mut self, client: SocketAddr, service: SocketAddr) {
        self.by_ends.remove(&(client, service));
        self.begun += 1;
    }

    /// A node's packet goes to a client. A SYN that its first node did not answer may have gone to another one.
    pub(super) fn see_answered(&mut self, client: SocketAddr, service: SocketAddr, node: SocketAddr) {
        if let Some(flow) = self.by_ends.get_mut(&(client, service)).filter(|flow| !flow.established) {
            flow.node = node;
        }
    }

    /// How many flows were begun so far.
    pub(super) fn begun(&self) -> usize {
        self.begun
    }

    pub(super) fn take_wrong(&mut self) -> Option<String> {
        self.wrong.take()
    }
}
