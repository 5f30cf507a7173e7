//! Lines and datagrams to messages and back.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::message::{ErrorCode, ErrorMessage, FromNode, PROTOCOL_VERSION, ToNode};

/// The longest line, its newline not counted, in bytes.
pub const LINE_LENGTH_MAX: usize = 64 * 1024;
/// The longest text of an `error`, in bytes: it may quote what the peer sent, which is no shorter than a line.
const MESSAGE_LENGTH_MAX: usize = 200;

/// Why bytes were not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecodeError {
    /// More than [`LINE_LENGTH_MAX`] bytes came without a newline.
    #[error("a line is longer than {LINE_LENGTH_MAX} bytes; split the message or check the framing")]
    LineTooLong,
    /// Not JSON, no object, no `type`, or a field is missing or of the wrong type.
    #[error("not a message: {0}")]
    Malformed(String),
    /// A message of a kind that is not known.
    #[error("unknown message type {0:?}; it is ignored")]
    UnknownType(String),
    /// A `hello` of another version, whose other fields nobody here can judge.
    #[error("version {0} is not spoken here, only {PROTOCOL_VERSION}")]
    WrongVersion(u64),
}

impl From<&DecodeError> for ErrorMessage {
    fn from(error: &DecodeError) -> Self {
        let code = match error {
            DecodeError::LineTooLong => ErrorCode::LineTooLong,
            DecodeError::Malformed(_) => ErrorCode::Malformed,
            DecodeError::UnknownType(_) => ErrorCode::UnknownType,
            DecodeError::WrongVersion(_) => ErrorCode::WrongVersion,
        };
        let mut message = error.to_string();
        if message.len() > MESSAGE_LENGTH_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_LENGTH_MAX - 3));
            message.push_str("...");
        }
        ErrorMessage { code, message }
    }
}

/// One message as a line, its newline included. A datagram may carry the newline too.
pub fn encode<M: Serialize>(message: &M) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("messages have string keys only");
    line.push(b'\n');
    line
}

/// A line or datagram from a node.
///
/// # Errors
///
/// [`DecodeError::Malformed`], [`DecodeError::UnknownType`] or [`DecodeError::WrongVersion`].
pub fn decode_from_node(line: &[u8]) -> Result<FromNode, DecodeError> {
    decode(line, &["hello", "heartbeat", "drained", "leave"])
}

/// A line or datagram from HaloD.
///
/// # Errors
///
/// [`DecodeError::Malformed`] or [`DecodeError::UnknownType`].
pub fn decode_to_node(line: &[u8]) -> Result<ToNode, DecodeError> {
    decode(line, &["welcome", "heartbeat", "assigned", "route_moved", "reconnect", "route_returned", "error"])
}

fn decode<M: DeserializeOwned>(line: &[u8], known: &[&str]) -> Result<M, DecodeError> {
    let value: Value = serde_json::from_slice(line).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    let kind = value.get("type").and_then(Value::as_str);
    let kind = kind.ok_or_else(|| DecodeError::Malformed("a JSON object with a string \"type\" is expected".into()))?;
    if !known.contains(&kind) {
        return Err(DecodeError::UnknownType(kind.chars().take(64).collect()));
    }
    if let ("hello", Some(version)) = (kind, value.get("version").and_then(Value::as_u64))
        && version != u64::from(PROTOCOL_VERSION)
    {
        return Err(DecodeError::WrongVersion(version));
    }
    let kind = kind.to_owned();
    serde_json::from_value(value).map_err(|error| DecodeError::Malformed(format!("{kind}: {error}")))
}

/// Bytes of a stream, cut into lines. Holds at most one line of [`LINE_LENGTH_MAX`] bytes plus what was pushed last.
/// Costs the bytes that pass through, however they are cut.
#[derive(Debug, Default)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Where the next line begins; the bytes before it have been read.
    start: usize,
    /// Where to look on for its end; there is no newline between `start` and here.
    searched: usize,
}

impl LineBuffer {
    /// Takes more bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line without its newline; empty lines are passed over.
    ///
    /// # Errors
    ///
    /// [`DecodeError::LineTooLong`]; the stream cannot be read on then.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, DecodeError> {
        loop {
            let newline = self.bytes[self.searched..].iter().position(|&byte| byte == b'\n');
            let end = newline.map_or(self.bytes.len(), |offset| self.searched + offset);
            self.searched = end;
            if end - self.start > LINE_LENGTH_MAX {
                return Err(DecodeError::LineTooLong);
            }
            if newline.is_none() {
                return Ok(None);
            }
            let line = &self.bytes[self.start..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.start = end + 1;
            self.searched = self.start;
            if !line.is_empty() {
                return Ok(Some(line.to_vec()));
            }
        }
    }
}
