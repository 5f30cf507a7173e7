//! What a browser makes of the bytes that a node sends: an incremental decoder for each transport.
//!
//! The result does not depend on how TCP cut the stream. A decoder is strict, more so than a real browser: the lab
//! wants to see every byte that does not belong to its transport. It knows frames, not what the bodies mean.

mod buffer;
mod event_stream;
mod head;
mod iframe;
mod json;
mod xhr_stream;

use std::time::Duration;

use self::buffer::Buffer;
use self::event_stream::{Dialect, EventStream};
use super::Transport;

/// The longest frame: an event with the bytes that delimit it.
pub const FRAME_LENGTH_MAX: usize = 1 << 20;

/// One thing that a node said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// All that precedes the first event has come. Never reported for `raw` and `xhr`, which begin with nothing.
    Opened,
    /// An event.
    Event {
        /// Its body, without the framing.
        body: Vec<u8>,
        /// The `id:` that came with it (standard SSE only).
        id: Option<u64>,
    },
    /// A sign of life.
    Ping,
    /// The node asks the browser to move to a new connection (iframe only; other transports are closed instead).
    ReconnectAsked,
    /// How long to wait before a reconnect (standard SSE only).
    Retry(Duration),
    /// Bytes that are not of this transport, or a frame longer than [`FRAME_LENGTH_MAX`]. Nothing follows it.
    Garbage(String),
}

/// The decoder of one connection.
#[derive(Debug)]
pub struct Decoder {
    buffer: Buffer,
    stage: Stage,
    framing: Framing,
}

/// What the next bytes belong to.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// An HTTP response head of this media type.
    Head(&'static str),
    /// What the transport puts before its first event.
    Preamble,
    Frames,
    /// Something unknown: there is no way back into step.
    Broken,
}

#[derive(Debug)]
enum Framing {
    Iframe(iframe::Preamble),
    XhrStream,
    EventStream(EventStream),
    Raw,
    Xhr,
}

/// The outcome of looking for something at the start of the buffer: found and consumed, not there yet, or (`Err`) why
/// it will never be.
type Cut<T> = Result<Option<T>, String>;

impl Decoder {
    /// A decoder for a new connection.
    pub fn new(transport: Transport) -> Self {
        let (stage, framing) = match transport {
            Transport::Iframe => (Stage::Head("text/html"), Framing::Iframe(iframe::Preamble::default())),
            Transport::XhrStream => (Stage::Head("application/x-orbited-event-stream"), Framing::XhrStream),
            Transport::ServerSentEvents => (
                Stage::Head("application/x-dom-event-stream"),
                Framing::EventStream(EventStream::new(Dialect::Orbited)),
            ),
            Transport::Sse => {
                (Stage::Head("text/event-stream"), Framing::EventStream(EventStream::new(Dialect::Standard)))
            }
            Transport::Raw => (Stage::Frames, Framing::Raw),
            Transport::Xhr => (Stage::Frames, Framing::Xhr),
        };
        Self { buffer: Buffer::default(), stage, framing }
    }

    /// Takes the next bytes of the stream and returns what is complete with them.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Decoded> {
        let mut items = Vec::new();
        if !matches!(self.stage, Stage::Broken) {
            self.buffer.extend(bytes);
        }
        loop {
            match self.next() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => return items,
                Err(why) => items.push(self.give_up(why)),
            }
        }
    }

    /// Takes in that no more bytes will come. That completes the event of a long poll; in every other transport an
    /// event that is still incomplete is lost. So is a poll's body that was cut short.
    pub fn finish(&mut self) -> Option<Decoded> {
        let Framing::Xhr = self.framing else { return None };
        let item = json::take_last(&mut self.buffer).unwrap_or_else(|why| Some(self.give_up(why)));
        self.stage = Stage::Broken;
        item
    }

    fn next(&mut self) -> Cut<Decoded> {
        if let Stage::Head(media_type) = self.stage {
            let Some(()) = head::take(&mut self.buffer, media_type)? else { return Ok(None) };
            self.stage = Stage::Preamble;
        }
        match self.stage {
            Stage::Preamble => {
                let Some(()) = self.framing.take_preamble(&mut self.buffer)? else { return Ok(None) };
                self.stage = Stage::Frames;
                Ok(Some(Decoded::Opened))
            }
            Stage::Frames => self.framing.take(&mut self.buffer),
            Stage::Head(_) | Stage::Broken => Ok(None),
        }
    }

    fn give_up(&mut self, why: String) -> Decoded {
        self.stage = Stage::Broken;
        self.buffer = Buffer::default();
        Decoded::Garbage(why)
    }
}

impl Framing {
    fn take_preamble(&mut self, buffer: &mut Buffer) -> Cut<()> {
        match self {
            Framing::Iframe(preamble) => preamble.take(buffer),
            Framing::XhrStream => xhr_stream::take_preamble(buffer),
            Framing::EventStream(_) | Framing::Raw | Framing::Xhr => Ok(Some(())),
        }
    }

    fn take(&mut self, buffer: &mut Buffer) -> Cut<Decoded> {
        match self {
            Framing::Iframe(_) => iframe::take(buffer),
            Framing::XhrStream => xhr_stream::take(buffer),
            Framing::EventStream(stream) => stream.take(buffer),
            Framing::Raw => json::take_first(buffer),
            Framing::Xhr => buffer.need_more(),
        }
    }
}

#[cfg(test)]
mod tests;
