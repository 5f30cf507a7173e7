//! The interface of a stack: two queues of packets.

use std::collections::VecDeque;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// Packets that may wait to be read by a stack.
const QUEUE_LENGTH_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Queues {
    mtu: u16,
    received: VecDeque<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
}

impl Queues {
    pub(super) fn new(mtu: u16) -> Self {
        Self { mtu, received: VecDeque::new(), sent: VecDeque::new() }
    }

    /// The length of the largest packet that it takes, in bytes.
    pub(super) fn mtu(&self) -> usize {
        self.mtu.into()
    }

    /// Queues a packet for the stack, or drops it if the queue is full.
    pub(super) fn deliver(&mut self, packet: Vec<u8>) {
        if self.received.len() < QUEUE_LENGTH_MAX {
            self.received.push_back(packet);
        }
    }

    /// The packet that is read next.
    pub(super) fn next(&self) -> Option<&[u8]> {
        self.received.front().map(Vec::as_slice)
    }

    /// Drops the packet that would be read next.
    pub(super) fn drop_next(&mut self) {
        self.received.pop_front();
    }

    /// Drops all packets.
    pub(super) fn clear(&mut self) {
        self.received.clear();
        self.sent.clear();
    }

    /// The packets that the stack sent.
    pub(super) fn sent(&mut self) -> impl Iterator<Item = Vec<u8>> {
        self.sent.drain(..)
    }
}

impl Device for Queues {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sender<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sender<'_>)> {
        let packet = self.received.pop_front()?;
        Some((Received(packet), Sender(&mut self.sent)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sender<'_>> {
        Some(Sender(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu.into();
        capabilities
    }
}

pub(super) struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

pub(super) struct Sender<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Sender<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut packet = vec![0; length];
        let result = write(&mut packet);
        self.0.push_back(packet);
        result
    }
}
