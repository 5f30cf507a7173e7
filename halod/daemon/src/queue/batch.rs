//! Packets of a queue, each in a slot of its own, and their verdicts.

use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::RawFd;

use halod_core::wire::Checksum;
use netlink_packet_core::NLMSG_ALIGNTO;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};

use super::message::{self, Arrival, ArrivedPacket, VERDICT_LENGTH_MAX, Verdict};

pub(super) const SLOTS: usize = Batch::PACKETS_MAX;
/// Room in front of each message: with it the verdict fits in front of any payload.
const HEADROOM: usize = VERDICT_LENGTH_MAX;
/// What a message has besides the payload: some 150 bytes, with all that the kernel may tell of a packet.
const METADATA_MAX: usize = 1024;

/// Bytes that are taken at a time, as far as it can be known: what was received is still in the core's cache when it is
/// sent back, and the next batch does not wait long.
const BYTES_AIM: usize = 1024 * 1024;
/// Packets that are taken at a time however long they are.
const PACKETS_MIN: usize = 16;

/// Packets that were taken from the kernel together.
pub struct Batch {
    slots: Box<[Slot]>,
    headers: MultiHeaders<()>,
    /// Slots that are in use.
    filled: usize,
    /// Slots to be filled at the next time.
    wanted: usize,
}

/// A packet that waits for its verdict.
pub struct QueuedPacket<'a> {
    arrived: &'a ArrivedPacket,
    buffer: &'a mut [u8],
    queue: u16,
    verdict: &'a mut Option<Range<usize>>,
}

/// A message of the kernel, then the answer to it.
pub(super) struct Slot {
    buffer: Box<[u8]>,
    queue: u16,
    /// With the place of the payload in `buffer`.
    packet: Option<ArrivedPacket>,
    verdict: Option<Range<usize>>,
}

impl Batch {
    /// As many packets as are taken at a time; fewer if they are long.
    pub const PACKETS_MAX: usize = 64;

    pub(super) fn new(queue: u16, copy_range: u16) -> Self {
        let slots = (0..SLOTS).map(|_| Slot::new(queue, copy_range)).collect();
        Self { slots, headers: MultiHeaders::preallocate(SLOTS, None), filled: 0, wanted: SLOTS }
    }

    /// Its packets, in the order in which they were queued.
    pub fn packets(&mut self) -> impl Iterator<Item = QueuedPacket<'_>> {
        self.slots().iter_mut().filter_map(Slot::packet)
    }

    pub(super) fn receive(&mut self, socket: RawFd) -> io::Result<()> {
        self.clear();
        let mut lengths = [0; SLOTS];
        let mut slots = self.slots.iter_mut();
        let mut rooms: [_; SLOTS] =
            std::array::from_fn(|_| [IoSliceMut::new(slots.next().expect("there are as many slots").room())]);
        let rooms = &mut rooms[..self.wanted];
        match recvmmsg(socket, &mut self.headers, rooms, MsgFlags::MSG_WAITFORONE, None) {
            Ok(messages) => {
                for (length, message) in lengths.iter_mut().zip(messages) {
                    *length = message.bytes;
                    self.filled += 1;
                }
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let lengths = &lengths[..self.filled];
        // The next packets will be about as long.
        if let Some(wanted) = (BYTES_AIM * self.filled).checked_div(lengths.iter().sum()) {
            self.wanted = wanted.clamp(PACKETS_MIN, SLOTS);
        }
        for (slot, &length) in self.slots.iter_mut().zip(lengths) {
            if let Arrival::Answer(Err(error)) = slot.fill(length) {
                tracing::debug!(%error, "the kernel refused a verdict");
            }
        }
        Ok(())
    }

    /// What was received, if anything.
    pub(super) fn slots(&mut self) -> &mut [Slot] {
        &mut self.slots[..self.filled]
    }

    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }
}

impl Slot {
    pub(super) fn new(queue: u16, copy_range: u16) -> Self {
        let length = HEADROOM + METADATA_MAX + usize::from(copy_range);
        Self { buffer: vec![0; length].into(), queue, packet: None, verdict: None }
    }

    /// Where a message is to be received.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[HEADROOM..]
    }

    /// A message of this length was received.
    pub(super) fn fill(&mut self, length: usize) -> Arrival {
        let arrival = message::parse(&self.room()[..length]);
        (self.packet, self.verdict) = (None, None);
        if let Arrival::Packet(packet) = &arrival {
            let payload = packet.payload.start + HEADROOM..packet.payload.end + HEADROOM;
            self.packet = Some(ArrivedPacket { payload, ..packet.clone() });
        }
        arrival
    }

    fn packet(&mut self) -> Option<QueuedPacket<'_>> {
        let Self { buffer, queue, packet, verdict } = self;
        packet.as_ref().map(|arrived| QueuedPacket { arrived, buffer, queue: *queue, verdict })
    }

    /// The message with the verdict, up to where the next may begin; `None` if there is no packet.
    pub(super) fn verdict(&mut self) -> Option<&[u8]> {
        if self.verdict.is_none() {
            self.packet()?.drop();
        }
        self.buffer.get(self.verdict.clone()?)
    }
}

impl QueuedPacket<'_> {
    /// Its number in the queue.
    pub fn id(&self) -> u32 {
        self.arrived.id
    }

    /// The hook that it was queued at (`NF_INET_*` of `linux/netfilter.h`).
    pub fn hook(&self) -> u8 {
        self.arrived.hook
    }

    /// Its mark.
    pub fn mark(&self) -> u32 {
        self.arrived.mark
    }

    /// What its TCP checksum is.
    pub fn checksum(&self) -> Checksum {
        self.arrived.checksum
    }

    /// The packet from its IP header on, or as much of it as was asked for.
    pub fn payload(&mut self) -> &mut [u8] {
        &mut self.buffer[self.arrived.payload.clone()]
    }

    /// It passes as it came, even if the payload here is another.
    pub fn accept(self) {
        self.decide(Verdict::Accept { mark: None, payload: None });
    }

    /// It passes as it came, with another mark.
    pub fn accept_marked(self, mark: u32) {
        self.decide(Verdict::Accept { mark: Some(mark), payload: None });
    }

    /// It passes with the payload that is here now. The kernel takes its checksums for complete.
    pub fn accept_rewritten(self) {
        let payload = Some(self.arrived.payload.len());
        self.decide(Verdict::Accept { mark: None, payload });
    }

    /// It does not pass.
    pub fn drop(self) {
        self.decide(Verdict::Drop);
    }

    fn decide(self, verdict: Verdict) {
        let Range { start, .. } = self.arrived.payload;
        let (written, length) = message::write_verdict(&mut self.buffer[..start], self.queue, self.arrived.id, verdict);
        let start = start - written;
        *self.verdict = Some(start..start + length.next_multiple_of(NLMSG_ALIGNTO.into()));
    }
}
