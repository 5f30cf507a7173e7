//! Bytes of a connection that its TCP has not taken yet.

use std::collections::VecDeque;

/// What a connection may have waiting, in bytes. An actor that is further behind has a peer that does not read.
pub(crate) const OUTBOX_LENGTH_MAX: usize = 16 << 20;

/// The queue before a socket's send buffer, with the FIN at its end.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: VecDeque<u8>,
    finishing: bool,
}

/// The queue would exceed [`OUTBOX_LENGTH_MAX`]: the connection is to be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overflow;

impl Outbox {
    /// Queues bytes; after [`Outbox::finish`] they are dropped, as by a socket that is shut down.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        if self.finishing {
            return Ok(());
        }
        if self.bytes.len() + bytes.len() > OUTBOX_LENGTH_MAX {
            return Err(Overflow);
        }
        self.bytes.extend(bytes);
        Ok(())
    }

    /// Queues FIN.
    pub(crate) fn finish(&mut self) {
        self.finishing = true;
    }

    /// The bytes at the head, empty when there are none.
    pub(crate) fn head(&self) -> &[u8] {
        let (first, second) = self.bytes.as_slices();
        if first.is_empty() { second } else { first }
    }

    /// The first `length` bytes were taken.
    pub(crate) fn advance(&mut self, length: usize) {
        self.bytes.drain(..length);
    }

    /// Whether no bytes wait.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether it is FIN's turn.
    pub(crate) fn is_finished(&self) -> bool {
        self.finishing && self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fin_comes_after_the_last_byte() {
        let mut outbox = Outbox::default();
        outbox.push(b"abc").unwrap();
        outbox.finish();
        outbox.push(b"too late").unwrap();
        outbox.advance(2);
        assert_eq!((outbox.head(), outbox.is_finished()), (b"c".as_slice(), false));
        outbox.advance(1);
        assert!(outbox.is_finished());
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut outbox = Outbox::default();
        outbox.push(&vec![0; OUTBOX_LENGTH_MAX]).unwrap();
        assert_eq!(outbox.push(b"x"), Err(Overflow));
    }
}
