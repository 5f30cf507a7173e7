//! `server_sent_events` of Orbited 0.2 and today's standard SSE: events as lines of fields, ended by an empty line.
//!
//! The standard: <https://html.spec.whatwg.org/multipage/server-sent-events.html>. Lines end with LF or CRLF; the lone
//! CR and the byte order mark that it also allows are not understood, and unknown fields are errors.

use std::time::Duration;

use super::buffer::Buffer;
use super::{Cut, Decoded, FRAME_LENGTH_MAX};

/// Which of the two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `Event: orbited` or `Event: ping`, then `data:`.
    Orbited,
    /// `id:`, `data:`, `retry:`; comments as pings.
    Standard,
}

/// The event that is being read.
#[derive(Debug)]
pub(super) struct EventStream {
    dialect: Dialect,
    /// The value of the field `Event`.
    kind: Option<Vec<u8>>,
    /// The `data:` lines, joined by LF.
    data: Option<Vec<u8>>,
    id: Option<u64>,
}

impl EventStream {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, kind: None, data: None, id: None }
    }

    /// Takes lines up to the first one that says something.
    pub(super) fn take(&mut self, buffer: &mut Buffer) -> Cut<Decoded> {
        while let Some(line) = buffer.take_until(b"\n")? {
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            let item = if line.is_empty() { self.dispatch()? } else { self.field(line)? };
            if item.is_some() {
                return Ok(item);
            }
        }
        Ok(None)
    }

    fn field(&mut self, line: &[u8]) -> Cut<Decoded> {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match (self.dialect, &line[..colon]) {
            (_, b"data") => self.add_data(value)?,
            (Dialect::Orbited, b"Event") => self.kind = Some(value.to_vec()),
            (Dialect::Standard, b"id") => self.id = Some(number(value)?),
            (Dialect::Standard, b"retry") => return Ok(Some(Decoded::Retry(Duration::from_millis(number(value)?)))),
            (Dialect::Standard, b"") => return Ok(Some(Decoded::Ping)),
            _ => return Err("a line that is not a field of this event stream".into()),
        }
        Ok(None)
    }

    fn add_data(&mut self, value: &[u8]) -> Result<(), String> {
        match &mut self.data {
            None => self.data = Some(value.to_vec()),
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
                if data.len() > FRAME_LENGTH_MAX {
                    return Err(format!("an event is longer than {FRAME_LENGTH_MAX} bytes"));
                }
            }
        }
        Ok(())
    }

    /// What the fields since the last empty line amount to.
    fn dispatch(&mut self) -> Cut<Decoded> {
        let (kind, data, id) = (self.kind.take(), self.data.take(), self.id.take());
        match (self.dialect, kind.as_deref(), data) {
            (_, None, None) => Ok(None),
            (Dialect::Standard, _, Some(body)) | (Dialect::Orbited, Some(b"orbited"), Some(body)) => {
                Ok(Some(Decoded::Event { body, id }))
            }
            (Dialect::Orbited, Some(b"ping"), _) => Ok(Some(Decoded::Ping)),
            _ => Err("an event that is neither `orbited` nor `ping`".into()),
        }
    }
}

fn number(value: &[u8]) -> Result<u64, String> {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| "an id or retry time that is not a number".into())
}
