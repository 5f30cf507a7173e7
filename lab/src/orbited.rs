//! The wire protocols of Orbited, for both ends, without I/O.

pub mod decode;
pub mod encode;
pub mod orbit;
pub mod request;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a browser holds its connection open and how events are framed on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Orbited 0.2: script elements in an endless page. Moves by a reconnect event, every other transport by a close.
    Iframe,
    /// Orbited 0.2: chunks between `|O|` delimiters.
    XhrStream,
    /// Orbited 0.2: the event-stream format of 2006.
    ServerSentEvents,
    /// Orbited 0.2: bodies and nothing else.
    Raw,
    /// Orbited 0.1: long polling, a connection an event.
    Xhr,
    /// Today's standard event stream, with `id:`, `retry:` and `Last-Event-ID`.
    Sse,
}

impl Transport {
    /// All of them, in a fixed order.
    pub const ALL: [Transport; 6] = [
        Transport::Iframe,
        Transport::XhrStream,
        Transport::ServerSentEvents,
        Transport::Raw,
        Transport::Xhr,
        Transport::Sse,
    ];
}

/// The name in a request and in scenarios: those of the released servers, and `sse` for today's standard.
impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Iframe => "iframe",
            Transport::XhrStream => "xhr_stream",
            Transport::ServerSentEvents => "server_sent_events",
            Transport::Raw => "raw",
            Transport::Xhr => "xhr",
            Transport::Sse => "sse",
        })
    }
}
