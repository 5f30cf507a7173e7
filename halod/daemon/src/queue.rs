//! An NFQUEUE of the kernel: packets wait in it until they are decided about.
//!
//! Packets are taken many at a time and their verdicts given many at a time: one system call each, whatever the number.
//! Each packet has a slot of a [`Batch`], which is allocated once. Its verdict is written into the slot in front of the
//! payload, where the message was that brought it, so that a verdict with a payload is sent from where it was received.
//!
//! The socket is the module's own. The `nfq` crate can neither receive several messages by one call nor send several
//! verdicts, and keeps its descriptor to itself; to find that among the open ones is more work than the one message
//! that binds and configures a queue. The crate also forgets packets that arrive before that message is answered, as they
//! do if the rules of a former daemon are in force. It does well for what it is used for: `halod check`, and the tests of
//! the rules.
//!
//! Not here: what a packet is, and what to decide; nor the rules that send packets to the queue.

mod batch;
mod message;
mod numbers;
mod status;

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, getsockopt, recv, sendmsg, setsockopt, sockopt};

pub use self::batch::{Batch, QueuedPacket};
use self::batch::{SLOTS, Slot};
use self::message::Arrival;
pub use self::numbers::Queues;
pub use self::status::QueueStatus;

/// Bytes of packets that may wait in the socket, as the kernel counts them: with what each costs it in memory.
const RECEIVE_BUFFER: usize = 32 * 1024 * 1024;
/// Bytes of verdicts that leave together, at most. More are no faster: the kernel copies them to a buffer of that size.
const SEND_MAX: usize = 1024 * 1024;
/// What the kernel wants of a send buffer besides the message (`netlink_sendmsg`).
const SEND_OVERHEAD: usize = 32;

/// How a queue is to behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    /// How many bytes of each packet are wanted. No packet that is to be rewritten may be longer. The kernel gives
    /// [`COPY_RANGE_MAX`](Self::COPY_RANGE_MAX) at most.
    pub copy_range: u16,
    /// Packets that may wait for a verdict.
    pub length: u32,
    /// Packets that find no room pass. Otherwise they are dropped.
    pub fail_open: bool,
    /// Packets that the kernel has joined come as one, up to 64 KiB, and checksums may be partial. Otherwise the kernel
    /// cuts the ones into pieces, and completes the others.
    pub gso: bool,
}

impl QueueConfig {
    /// The longest payload of a netlink attribute.
    pub const COPY_RANGE_MAX: u16 = 65_531;
}

/// The one listener of an NFQUEUE. When it is dropped, the kernel drops what waits.
pub struct Queue {
    socket: Socket,
    number: u16,
    copy_range: u16,
    send_max: usize,
}

impl Queue {
    /// Binds and configures queue `number`.
    ///
    /// # Errors
    ///
    /// EPERM if it has another listener, or without CAP_NET_ADMIN in this network namespace; whatever else the kernel has
    /// against it.
    pub fn open(number: u16, config: QueueConfig) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        // Where this is not permitted, in a user namespace, the sizes are those that the system allows to everybody.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        if setsockopt(&socket, sockopt::SndBufForce, &SEND_MAX).is_err() {
            setsockopt(&socket, sockopt::SndBuf, &SEND_MAX)?;
        }
        // After an overrun the kernel would queue nothing until all is read. What is lost is in `QueueStatus`.
        socket.set_no_enobufs(true)?;
        let send_max = getsockopt(&socket, sockopt::SndBuf)?.saturating_sub(SEND_OVERHEAD).min(SEND_MAX);
        let queue = Self { socket, number, copy_range: config.copy_range, send_max };
        queue.configure(config)?;
        Ok(queue)
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Room for the packets of this queue. It stays with the thread that made it.
    pub fn batch(&self) -> Batch {
        Batch::new(self.number, self.copy_range)
    }

    /// Waits for a packet, then takes that and those that wait already, [`Batch::PACKETS_MAX`] at most. What was in the
    /// batch is gone. There may be none: what the kernel has to say of a verdict, or a signal, wakes it too.
    ///
    /// # Errors
    ///
    /// The socket failed.
    pub fn recv(&self, batch: &mut Batch) -> io::Result<()> {
        batch.receive(self.socket.as_raw_fd())
    }

    /// Gives the verdicts of `batch`, and empties it. What nobody has decided about is dropped. A verdict on a packet that
    /// the kernel no longer has, because its interface is gone, is ignored.
    ///
    /// # Errors
    ///
    /// The socket failed.
    pub fn send(&self, batch: &mut Batch) -> io::Result<()> {
        let sent = self.send_slots(batch.slots());
        batch.clear();
        sent
    }

    fn send_slots(&self, slots: &mut [Slot]) -> io::Result<()> {
        let mut verdicts = [IoSlice::new(&[]); SLOTS];
        let (mut count, mut length) = (0, 0);
        for verdict in slots.iter_mut().filter_map(Slot::verdict) {
            if length + verdict.len() > self.send_max {
                self.send_verdicts(&verdicts[..count])?;
                (count, length) = (0, 0);
            }
            verdicts[count] = IoSlice::new(verdict);
            count += 1;
            length += verdict.len();
        }
        self.send_verdicts(&verdicts[..count])
    }

    /// The kernel takes or refuses each verdict for itself; together they can only be too many for its memory.
    fn send_verdicts(&self, verdicts: &[IoSlice<'_>]) -> io::Result<()> {
        if verdicts.is_empty() {
            return Ok(());
        }
        match sendmsg::<()>(self.socket.as_raw_fd(), verdicts, &[], MsgFlags::empty(), None) {
            Ok(_) => Ok(()),
            Err(Errno::EINTR) => self.send_verdicts(verdicts),
            Err(Errno::EMSGSIZE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EAGAIN) if verdicts.len() > 1 => {
                let (first, second) = verdicts.split_at(verdicts.len() / 2);
                self.send_verdicts(first)?;
                self.send_verdicts(second)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn configure(&self, config: QueueConfig) -> io::Result<()> {
        self.socket.send(&message::configure(self.number, config), 0)?;
        let mut slot = Slot::new(self.number, self.copy_range);
        loop {
            let length = recv(self.socket.as_raw_fd(), slot.room(), MsgFlags::empty())?;
            match slot.fill(length) {
                Arrival::Answer(answer) => return Ok(answer?),
                // The rules of a former daemon are in force. Their senders will send them again.
                Arrival::Packet(_) => self.send_slots(std::slice::from_mut(&mut slot))?,
                Arrival::Other => {}
            }
        }
    }
}
