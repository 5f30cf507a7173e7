//! The body of an event of the lab: opaque to nodes, written by apps and read by browsers.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::observation::EventId;

/// The location of every browser of the lab. With [`SESSION`] and the user it is the key that an app addresses.
pub const LOCATION: &str = "/lab";

/// The session of every browser of the lab.
pub const SESSION: &str = "0";

/// Which event a body is, and whose.
///
/// User names consist of `[A-Za-z0-9._-]` (scenarios allow no other), so a body holds nothing that ends a frame of any
/// transport early: no `<`, no `|`, no line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBody {
    /// The event.
    pub event: EventId,
    /// The user that it is for.
    pub user: String,
}

/// The body as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    event: EventId,
    #[serde(borrow)]
    user: Cow<'a, str>,
    /// Filler, so that events of a given size can be sent.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pad: Option<Cow<'a, str>>,
}

impl EventBody {
    /// A JSON object of `size_min` bytes, or of the few more that it cannot do without.
    pub fn to_bytes(&self, size_min: usize) -> Vec<u8> {
        const PAD: &str = r#","pad":"""#;
        let mut wire = Wire { event: self.event, user: Cow::Borrowed(&self.user), pad: None };
        let bare = json(&wire);
        if bare.len() >= size_min {
            return bare;
        }
        let filler = "x".repeat(size_min.saturating_sub(bare.len() + PAD.len()));
        wire.pad = Some(Cow::Owned(filler));
        json(&wire)
    }

    /// The event in `body`; `None` if no app of the lab wrote it.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let wire: Wire<'_> = serde_json::from_slice(body).ok()?;
        Some(Self { event: wire.event, user: wire.user.into_owned() })
    }
}

fn json(wire: &Wire<'_>) -> Vec<u8> {
    serde_json::to_vec(wire).expect("the object has string keys only")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(size_min: usize) -> String {
        let body = EventBody { event: 17, user: "b-3".into() };
        String::from_utf8(body.to_bytes(size_min)).unwrap()
    }

    #[test]
    fn a_body_is_json_of_the_asked_size() {
        assert_eq!(body(0), r#"{"event":17,"user":"b-3"}"#);
        assert_eq!(body(25), body(0));
        assert_eq!(body(26), r#"{"event":17,"user":"b-3","pad":""}"#);
        assert_eq!(body(34), body(26));
        assert_eq!(body(38), r#"{"event":17,"user":"b-3","pad":"xxxx"}"#);
        assert_eq!(body(1_400).len(), 1_400);
    }

    #[test]
    fn a_body_is_read_back_and_nothing_else_is() {
        let event = EventBody { event: u64::MAX, user: "b-3".into() };
        for size in [0, 60, 5_000] {
            assert_eq!(EventBody::parse(&event.to_bytes(size)), Some(event.clone()));
        }
        for other in ["", "hello", r#"{"event":17}"#, r#"{"event":-1,"user":"b"}"#, r#"{"event":1,"user":"b","x":1}"#] {
            assert_eq!(EventBody::parse(other.as_bytes()), None, "{other}");
        }
    }
}
