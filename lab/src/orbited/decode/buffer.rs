//! The bytes that are not decoded yet.

use bytes::{Buf, BytesMut};

use super::{Cut, FRAME_LENGTH_MAX};

/// A queue of bytes that is searched and cut at its front. No search looks further than [`FRAME_LENGTH_MAX`], so that a
/// frame is too long or not, however it came.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: BytesMut,
    /// Where [`Buffer::take_until`] goes on when more bytes have come.
    searched: usize,
}

impl Buffer {
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What there is, up to the length of the longest frame.
    pub(super) fn window(&self) -> &[u8] {
        &self.bytes[..self.bytes.len().min(FRAME_LENGTH_MAX)]
    }

    /// "Not there yet", unless a frame may not be any longer.
    pub(super) fn need_more<T>(&self) -> Cut<T> {
        if self.bytes.len() > FRAME_LENGTH_MAX {
            return Err(format!("a frame is longer than {FRAME_LENGTH_MAX} bytes"));
        }
        Ok(None)
    }

    /// Drops the first `length` bytes.
    pub(super) fn skip(&mut self, length: usize) {
        self.bytes.advance(length);
        self.searched = 0;
    }

    /// Drops the white space at the front.
    pub(super) fn skip_whitespace(&mut self) {
        let length = self.bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if length > 0 {
            self.skip(length);
        }
    }

    /// Whether the bytes begin with `prefix`; not known yet if they end within it.
    pub(super) fn begins_with(&self, prefix: &[u8]) -> Option<bool> {
        let length = self.bytes.len().min(prefix.len());
        let equal = self.bytes[..length] == prefix[..length];
        (!equal || length == prefix.len()).then_some(equal)
    }

    /// Cuts off everything up to the first `delimiter` and returns it without the delimiter.
    ///
    /// Between two cuts all calls have to ask for the same delimiter: what was searched is not searched again.
    pub(super) fn take_until(&mut self, delimiter: &[u8]) -> Cut<Vec<u8>> {
        let window = self.window();
        let found = window[self.searched..].windows(delimiter.len()).position(|bytes| bytes == delimiter);
        let Some(at) = found.map(|at| self.searched + at) else {
            self.searched = (window.len() + 1).saturating_sub(delimiter.len());
            return self.need_more();
        };
        let taken = window[..at].to_vec();
        self.skip(at + delimiter.len());
        Ok(Some(taken))
    }
}
