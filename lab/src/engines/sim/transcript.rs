//! What happened in a run, as one number: two runs that differ in one bit of one packet differ here.

use std::hash::{DefaultHasher, Hasher};

use halod_core::time::Instant;
use halod_core::wire::{Packet, TcpFlags};

/// A TCP segment in words; `None` for any other packet.
pub(super) fn describe(packet: &[u8]) -> Option<String> {
    let mut packet = packet.to_vec();
    let Ok(Packet::Tcp(tcp)) = Packet::parse(&mut packet) else { return None };
    let names = [
        ("SYN", TcpFlags::SYN),
        ("ACK", TcpFlags::ACK),
        ("PSH", TcpFlags::PSH),
        ("FIN", TcpFlags::FIN),
        ("RST", TcpFlags::RST),
    ];
    let flags: Vec<&str> =
        names.into_iter().filter(|(_, flag)| tcp.flags().contains(*flag)).map(|(name, _)| name).collect();
    let (sequence, acknowledgement) = (tcp.sequence(), tcp.acknowledgement());
    let flags = flags.join(" ");
    Some(format!("{} > {}  {flags}  seq {sequence} ack {acknowledgement}", tcp.source(), tcp.destination()))
}

/// All that happened so far.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    // Its keys are constants: the same in every process.
    hasher: DefaultHasher,
    events: u64,
}

impl Transcript {
    /// Something happened.
    pub(super) fn note(&mut self, at: Instant, what: &[u8]) {
        self.events += 1;
        self.hasher.write_u64(at.as_nanos());
        self.hasher.write(what);
    }

    /// How much.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// All of it.
    pub(super) fn value(&self) -> u64 {
        self.hasher.finish()
    }
}
