//! A stream cut into heads and bodies, without regard to what they say.

use super::{HEAD_LENGTH_MAX, OrbitError};

const HEAD_END: &[u8] = b"\r\n\r\n";

/// Bytes of a stream that are not consumed yet. Holds one message at most, plus what was pushed last.
#[derive(Debug, Default)]
pub(super) struct Framing {
    bytes: Vec<u8>,
    /// No head ends before this position: a head that trickles in is searched once.
    searched: usize,
}

impl Framing {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What has come of the next message.
    pub(super) fn peek(&self) -> &[u8] {
        &self.bytes
    }

    /// The lines of the next head without its empty line, once they are all there.
    pub(super) fn take_head(&mut self) -> Result<Option<String>, OrbitError> {
        let found = self.bytes[self.searched..].windows(HEAD_END.len()).position(|window| window == HEAD_END);
        let Some(end) = found.map(|position| self.searched + position + HEAD_END.len()) else {
            self.searched = self.bytes.len().saturating_sub(HEAD_END.len() - 1);
            return if self.bytes.len() > HEAD_LENGTH_MAX { Err(OrbitError::HeadTooLong) } else { Ok(None) };
        };
        if end > HEAD_LENGTH_MAX {
            return Err(OrbitError::HeadTooLong);
        }
        let mut head = self.take(end).expect("the end was found in the bytes");
        head.truncate(end - HEAD_END.len());
        String::from_utf8(head).map(Some).map_err(|_| OrbitError::NotText)
    }

    /// The next `length` bytes, once they are all there.
    pub(super) fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        if self.bytes.len() < length {
            return None;
        }
        self.searched = 0;
        let rest = self.bytes.split_off(length);
        Some(std::mem::replace(&mut self.bytes, rest))
    }
}

/// A header line as its name in lower case and its value; `None` if it is no header.
pub(super) fn header(line: &str) -> Option<(String, &str)> {
    line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value))
}
