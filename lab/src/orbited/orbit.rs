//! ORBIT 1.0, by which an application gives events to a node: requests and replies to bytes and back.
//!
//! A request is CRLF lines, an empty line, then a body of `length` bytes; a reply is the same without a body. A
//! connection carries many of both, and replies may overtake each other. Readers take a stream in any segmentation
//! and hold at most one message.

mod framing;
mod reply;
mod request;

use std::fmt;

pub use reply::{Reply, ReplyReader};
pub use request::{Incoming, Request, RequestReader};

/// The longest head of a message, its empty line included, in bytes.
pub const HEAD_LENGTH_MAX: usize = 64 * 1024;

/// The longest body of a request, in bytes.
pub const BODY_LENGTH_MAX: usize = 1024 * 1024;

/// The `msg` of a [`Reply::Failure`] that the released server gives when somebody could not be reached.
pub const NOT_REACHED: &str = "Failed to reach one or more recipients";

/// Whom an event is for: the key that a browser gave in its request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient {
    /// The user.
    pub user: String,
    /// Tells several windows of a user apart.
    pub session: String,
    /// The location of the application, with its leading slash.
    pub location: String,
}

impl Recipient {
    /// A key written `user, session, location`; `None` if it has fewer fields or an empty one.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.splitn(3, ", ").filter(|field| !field.is_empty()).map(str::to_owned);
        Some(Self { user: fields.next()?, session: fields.next()?, location: fields.next()? })
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.user, self.session, self.location)
    }
}

/// Why a stream is not ORBIT 1.0, or not any more; it cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OrbitError {
    /// A request does not begin with `Orbit 1.0`, or a reply with `Success` or `Failure`.
    #[error("Not ORBIT 1.0")]
    UnknownStart,
    /// A head is longer than [`HEAD_LENGTH_MAX`].
    #[error("The head is longer than {HEAD_LENGTH_MAX} bytes")]
    HeadTooLong,
    /// A body is announced that is longer than [`BODY_LENGTH_MAX`].
    #[error("The body is longer than {BODY_LENGTH_MAX} bytes")]
    BodyTooLong,
    /// A head is not UTF-8.
    #[error("The head is not UTF-8")]
    NotText,
    /// A reply has no id, or a line that is no header.
    #[error("The reply has no id or a line that is no header")]
    MalformedReply,
}

#[cfg(test)]
fn recipient(user: &str) -> Recipient {
    Recipient { user: user.into(), session: "0".into(), location: "/demo".into() }
}
