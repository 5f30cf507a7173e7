//! Where the packets of each flow went, and whether its client was told when its node was lost.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use halod_core::plane::PlaneKind;
use halod_core::time::Instant;
use halod_core::wire::{Packet, TcpFlags};

/// Both ends of a flow as its client knows them.
type Ends = (SocketAddr, SocketAddr);
/// A client and a node, as a packet towards the node has them.
type Look = (SocketAddr, SocketAddr);

/// Every flow so far, by its last beginning.
#[derive(Debug)]
pub(super) struct Flows {
    /// The kernel's connection tracking takes every SYN for a new connection once the former one is over, also a copy that
    /// comes late.
    takes_late_copies: bool,
    by_ends: BTreeMap<Ends, Begun>,
    /// The last flow that looked like this.
    by_look: BTreeMap<Look, Ends>,
    /// Flows of lost nodes whose clients have to be told by this time.
    untold: BTreeMap<Ends, Instant>,
    begun: usize,
    moved: Option<String>,
    mixed: Option<String>,
}

#[derive(Debug)]
struct Begun {
    /// The sequence number of its SYN.
    sequence: u32,
    node: SocketAddr,
    /// The client has acknowledged an answer: only an end lets another node have its packets.
    established: bool,
    /// A FIN or RST has passed, or HaloD has ended it.
    ending: bool,
    /// HaloD has told the client of the end, or asked it where it is so that it can tell it.
    told: bool,
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

    fn ends(&self) -> bool {
        self.flags.contains(TcpFlags::FIN) || self.flags.contains(TcpFlags::RST)
    }
}

impl Flows {
    pub(super) fn new(plane: PlaneKind) -> Self {
        Self {
            takes_late_copies: plane == PlaneKind::Steer,
            by_ends: BTreeMap::new(),
            by_look: BTreeMap::new(),
            untold: BTreeMap::new(),
            begun: 0,
            moved: None,
            mixed: None,
        }
    }

    /// A client's packet goes to a node, and looks to it like this unless it is masqueraded.
    pub(super) fn see_forwarded(&mut self, packet: Head, look: Look) {
        let Head { source: client, destination: service, flags, sequence } = packet;
        let (ends, (_, node)) = ((client, service), look);
        self.see_look(ends, look);
        let is_syn = flags.is_initial_syn();
        match self.by_ends.get_mut(&ends) {
            Some(flow)
                if is_syn
                    && flow.sequence == sequence
                    && flow.established
                    && flow.node != node
                    && !(self.takes_late_copies && flow.ending) =>
            {
                self.moved.get_or_insert_with(|| {
                    format!("{client} to {service}: its SYN went to {}, which served it, then to {node}", flow.node)
                });
            }
            Some(flow) if is_syn => {
                let again = flow.sequence == sequence && flow.node == node;
                let (established, ending) = (flow.established && again, flow.ending && again);
                *flow = Begun { sequence, node, established, ending, told: flow.told && again };
                self.begun += usize::from(!again);
                self.untold.remove(&ends);
            }
            Some(flow) => {
                flow.established = true;
                flow.ending |= packet.ends();
                if packet.flags.contains(TcpFlags::RST) {
                    self.untold.remove(&ends);
                }
                if flow.node != node {
                    let begun_at = flow.node;
                    self.moved.get_or_insert_with(|| {
                        format!("{client} to {service}: a packet went to {node}, its flow began at {begun_at}")
                    });
                }
            }
            // A SYN that was held went out as a packet of the plane's own.
            None => {
                self.by_ends
                    .insert(ends, Begun { sequence, node, established: !is_syn, ending: packet.ends(), told: false });
                self.begun += 1;
            }
        }
    }

    /// A client's SYN is kept back for now: it begins a flow later.
    pub(super) fn see_held(&mut self, client: SocketAddr, service: SocketAddr) {
        self.by_ends.remove(&(client, service));
        self.untold.remove(&(client, service));
        self.begun += 1;
    }

    /// A packet leaves: it came in as `packet`, and goes on between these.
    pub(super) fn see_leaving(&mut self, packet: Head, (source, destination): (SocketAddr, SocketAddr)) {
        if let Some(flow) = self.by_ends.get_mut(&(destination, source)) {
            // A node's. A SYN that its first node did not answer may have gone to another one.
            if !flow.established {
                flow.node = packet.source;
            }
            flow.ending |= packet.ends();
            if packet.ends() {
                // The client hears it from there.
                self.untold.remove(&(destination, source));
            }
        } else if let Some(&ends) = self.by_look.get(&(packet.source, packet.destination)) {
            self.see_look(ends, (source, destination));
        }
    }

    /// HaloD says this in a node's name. Returns whether it ends a flow that went on until now.
    pub(super) fn see_said(&mut self, packet: Head) -> bool {
        let ends = (packet.destination, packet.source);
        self.untold.remove(&ends);
        if let Some(flow) = self.by_ends.get_mut(&ends) {
            flow.told = true;
        }
        if !packet.flags.contains(TcpFlags::RST) {
            return false;
        }
        let flow = self.by_ends.get_mut(&ends).filter(|flow| flow.established);
        flow.is_some_and(|flow| !std::mem::replace(&mut flow.ending, true))
    }

    /// Nodes at these addresses are lost: their clients have to be told by `due`.
    pub(super) fn see_lost(&mut self, nodes: &[SocketAddr], due: Instant) {
        let goes_on = |flow: &Begun| flow.established && !flow.ending && !flow.told && nodes.contains(&flow.node);
        let left = self.by_ends.iter().filter(|(_, flow)| goes_on(flow));
        self.untold.extend(left.map(|(&ends, _)| (ends, due)));
    }

    /// What a node sees of a flow: of no other that goes on.
    fn see_look(&mut self, ends: Ends, look: Look) {
        let Some(other) = self.by_look.insert(look, ends).filter(|other| *other != ends) else { return };
        let goes_on = |flow: &&Begun| flow.established && !flow.ending && flow.node == look.1;
        if self.by_ends.get(&other).filter(goes_on).is_some() {
            let ((client, service), (other, elsewhere), (seen, node)) = (ends, other, look);
            self.mixed.get_or_insert_with(|| {
                format!("{client} to {service} and {other} to {elsewhere} are both {seen} to {node}")
            });
        }
    }

    /// How many flows were begun so far.
    pub(super) fn begun(&self) -> usize {
        self.begun
    }

    /// A flow whose packets reached two nodes.
    pub(super) fn take_moved(&mut self) -> Option<String> {
        self.moved.take()
    }

    /// Two flows that a node cannot tell apart.
    pub(super) fn take_mixed(&mut self) -> Option<String> {
        self.mixed.take()
    }

    /// A client that should have been told before `now` that its node is lost.
    pub(super) fn untold(&self, now: Instant) -> Option<String> {
        let (&(client, service), _) = self.untold.iter().find(|&(_, &due)| due < now)?;
        Some(format!("{client} to {service}: its node is lost, and nobody says so"))
    }
}
