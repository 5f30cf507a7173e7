//! Accepts every packet of a queue: the limit of what a data plane on NFQUEUE can reach that sees all of each packet.
//!
//! `cargo run --release --example accept -- QUEUE` takes packets and gives verdicts as the `rewrite` plane does, in the same
//! batches and with every payload sent back, but decides and changes nothing. Partial checksums are completed, as they
//! have to be: the kernel takes those of a payload that is sent back for complete. Rules that fill the queue are for the
//! caller to make.

use std::io;

use halod::queue::{Queue, QueueConfig, QueuedPacket};
use halod_core::wire::Packet;

fn main() -> io::Result<()> {
    let number = std::env::args().nth(1).and_then(|number| number.parse().ok());
    let number = number.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "usage: accept QUEUE"))?;
    let config = QueueConfig { copy_range: QueueConfig::COPY_RANGE_MAX, length: 4096, fail_open: false, gso: true };
    let queue = Queue::open(number, config)?;
    let mut batch = queue.batch();
    loop {
        queue.recv(&mut batch)?;
        batch.packets().for_each(accept);
        queue.send(&mut batch)?;
    }
}

fn accept(mut packet: QueuedPacket<'_>) {
    let checksum = packet.checksum();
    if let Ok(Packet::Tcp(tcp)) = Packet::parse(packet.payload()) {
        tcp.with(checksum).finish();
    }
    packet.accept_rewritten();
}
