//! Lines and datagrams to messages and back.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::message::{ErrorCode, ErrorMessage, FromNode, ToNode};

/// The longest line, its newline not counted, in bytes.
pub const LINE_LENGTH_MAX: usize = 64 * 1024;

/// Why bytes were not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
}

impl From<&DecodeError> for ErrorMessage {
    fn from(error: &DecodeError) -> Self {
        let code = match error {
            DecodeError::LineTooLong => ErrorCode::LineTooLong,
            DecodeError::Malformed(_) => ErrorCode::Malformed,
            DecodeError::UnknownType(_) => ErrorCode::UnknownType,
        };
        ErrorMessage { code, message: error.to_string() }
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
/// [`DecodeError::Malformed`] or [`DecodeError::UnknownType`].
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
    let kind = kind.to_owned();
    serde_json::from_value(value).map_err(|error| DecodeError::Malformed(format!("{kind}: {error}")))
}

/// Bytes of a stream, cut into lines. Holds at most one line of [`LINE_LENGTH_MAX`] bytes plus what was pushed last.
#[derive(Debug, Default)]
pub struct LineBuffer {
    bytes: Vec<u8>,
}

impl LineBuffer {
    /// Takes more bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line without its newline; empty lines are passed over.
    ///
    /// # Errors
    ///
    /// [`DecodeError::LineTooLong`]; the stream cannot be read on then.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, DecodeError> {
        loop {
            let Some(end) = self.bytes.iter().position(|&byte| byte == b'\n') else {
                let too_long = self.bytes.len() > LINE_LENGTH_MAX;
                return if too_long { Err(DecodeError::LineTooLong) } else { Ok(None) };
            };
            if end > LINE_LENGTH_MAX {
                return Err(DecodeError::LineTooLong);
            }
            let rest = self.bytes.split_off(end + 1);
            let mut line = std::mem::replace(&mut self.bytes, rest);
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }
}
