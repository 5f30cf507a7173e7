//! One connection of a stack: compares its socket with what the actor was told, and tells it the difference.

use smoltcp::socket::tcp::{Socket, State};

use super::segment::Tuple;
use crate::actors::End;
use crate::outbox::Outbox;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) tuple: Tuple,
    outbox: Outbox,
    /// Bytes handed to the socket.
    sent: u64,
    /// Bytes that the actor knows as acknowledged.
    acked: u64,
    established: bool,
    peer_finished: bool,
    overflowed: bool,
    /// The last state of the socket that was not CLOSED.
    former: State,
}

/// What to tell the actor next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Connected,
    Received(Vec<u8>),
    Acked(u64),
    PeerFinished,
    Ended(End),
}

impl Connection {
    pub(super) fn dialled(tuple: Tuple) -> Self {
        Self {
            tuple,
            outbox: Outbox::default(),
            sent: 0,
            acked: 0,
            established: false,
            peer_finished: false,
            overflowed: false,
            former: State::SynSent,
        }
    }

    pub(super) fn accepted(tuple: Tuple) -> Self {
        Self { established: true, former: State::Established, ..Self::dialled(tuple) }
    }

    pub(super) fn queue(&mut self, bytes: &[u8]) {
        self.overflowed |= self.outbox.push(bytes).is_err();
    }

    /// Whether more was queued than may wait: [`Connection::write`] gives it up.
    pub(super) fn is_overflowed(&self) -> bool {
        self.overflowed
    }

    pub(super) fn finish(&mut self) {
        self.outbox.finish();
    }

    /// Hands over what the socket takes now.
    pub(super) fn write(&mut self, socket: &mut Socket<'_>) {
        while socket.can_send() && !self.outbox.is_empty() {
            let length = socket.send_slice(self.outbox.head()).expect("can_send said so");
            self.outbox.advance(length);
            self.sent += length as u64;
        }
        // Not before the socket is established: close() in SYN-SENT gives the dial up.
        if self.established && self.outbox.is_finished() {
            socket.close();
        }
        if self.overflowed {
            socket.abort();
        }
        if socket.state() != State::Closed {
            self.former = socket.state();
        }
    }

    /// The next thing that the actor does not know yet. Everything that arrived comes before an end.
    pub(super) fn news(&mut self, socket: &mut Socket<'_>) -> Option<News> {
        let state = socket.state();
        if !self.established {
            match state {
                State::SynSent | State::SynReceived => return None,
                State::Closed => return Some(News::Ended(End::Refused)),
                _ => {
                    self.established = true;
                    self.former = State::Established;
                    return Some(News::Connected);
                }
            }
        }
        let acked = self.sent - socket.send_queue() as u64;
        if acked > self.acked {
            self.acked = acked;
            return Some(News::Acked(acked));
        }
        if socket.can_recv() {
            let read = |bytes: &mut [u8]| (bytes.len(), bytes.to_vec());
            return Some(News::Received(socket.recv(read).expect("can_recv said so")));
        }
        let fin = matches!(state, State::CloseWait | State::LastAck | State::Closing | State::TimeWait);
        if fin && !self.peer_finished {
            self.peer_finished = true;
            return Some(News::PeerFinished);
        }
        match state {
            State::TimeWait => Some(News::Ended(End::Closed)),
            // The acknowledgement of our FIN ends LAST-ACK; so does RST, which leaves bytes behind.
            State::Closed if self.former == State::LastAck && socket.send_queue() == 0 => {
                Some(News::Ended(End::Closed))
            }
            State::Closed => Some(News::Ended(End::Reset)),
            _ => None,
        }
    }
}
