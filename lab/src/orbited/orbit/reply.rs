//! Replies: whether an event reached its recipients.

use std::fmt::Write;

use super::framing::{Framing, header};
use super::{OrbitError, Recipient};

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Everyone was reached.
    Success {
        /// The id of the request.
        id: String,
    },
    /// Somebody was not reached, or the request was wrong.
    Failure {
        /// The id of the request, empty if it had none.
        id: String,
        /// Why, for a person.
        msg: String,
        /// Who was not reached; the others were.
        recipients: Vec<Recipient>,
    },
}

impl Reply {
    /// The id of the request.
    pub fn id(&self) -> &str {
        match self {
            Reply::Success { id } | Reply::Failure { id, .. } => id,
        }
    }

    /// The reply as a node sends it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = match self {
            Reply::Success { id } => format!("Success\r\nid: {id}\r\n\r\n"),
            Reply::Failure { id, msg, recipients } => {
                let mut text = format!("Failure\r\nid: {id}\r\nmsg: {msg}\r\n");
                for recipient in recipients {
                    write!(text, "recipient: ({recipient})\r\n").expect("writing to a string does not fail");
                }
                text + "\r\n"
            }
        };
        text.into_bytes()
    }

    fn parse(head: &str) -> Result<Self, OrbitError> {
        let mut lines = head.split("\r\n");
        let kind = lines.next();
        let (mut id, mut msg, mut recipients) = (None, String::new(), Vec::new());
        for line in lines {
            let (name, value) = header(line).ok_or(OrbitError::MalformedReply)?;
            match name.as_str() {
                "id" => id = Some(value.to_owned()),
                "msg" => msg = value.to_owned(),
                "recipient" => {
                    let key = value.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
                    recipients.push(key.and_then(Recipient::parse).ok_or(OrbitError::MalformedReply)?);
                }
                _ => {}
            }
        }
        let id = id.ok_or(OrbitError::MalformedReply)?;
        match kind {
            Some("Success") => Ok(Reply::Success { id }),
            Some("Failure") => Ok(Reply::Failure { id, msg, recipients }),
            _ => Err(OrbitError::UnknownStart),
        }
    }
}

/// Reads the replies of one connection.
#[derive(Debug, Default)]
pub struct ReplyReader {
    framing: Framing,
}

impl ReplyReader {
    /// Takes more bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.framing.push(bytes);
    }

    /// The next whole reply.
    ///
    /// # Errors
    ///
    /// Any [`OrbitError`] but `BodyTooLong`; the stream cannot be read on then.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, OrbitError> {
        let starts_like = |word: &[u8]| self.framing.peek().iter().zip(word).all(|(is, expected)| is == expected);
        if !starts_like(b"Success\r\n") && !starts_like(b"Failure\r\n") {
            return Err(OrbitError::UnknownStart);
        }
        self.framing.take_head()?.map(|head| Reply::parse(&head)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HEAD_LENGTH_MAX, NOT_REACHED, recipient};
    use super::*;

    const EXAMPLE: &str = "Success\r\nid: 1\r\n\r\nFailure\r\nid: 1\r\nmsg: Failed to reach one or more recipients\r\n\
                           recipient: (bob, 0, /demo)\r\n\r\n";

    fn read(parts: &[&[u8]]) -> Vec<Result<Reply, OrbitError>> {
        let mut reader = ReplyReader::default();
        let mut all = Vec::new();
        for part in parts {
            reader.push(part);
            while let Some(next) = reader.next_reply().transpose() {
                let failed = next.is_err();
                all.push(next);
                if failed {
                    return all;
                }
            }
        }
        all
    }

    fn example() -> [Reply; 2] {
        let failure = Reply::Failure { id: "1".into(), msg: NOT_REACHED.into(), recipients: vec![recipient("bob")] };
        [Reply::Success { id: "1".into() }, failure]
    }

    #[test]
    fn the_examples_of_the_protocol_are_written_and_read_in_every_segmentation() {
        let written: Vec<u8> = example().iter().flat_map(Reply::to_bytes).collect();
        assert_eq!(String::from_utf8(written).unwrap(), EXAMPLE);
        let stream = EXAMPLE.as_bytes();
        for split in 0..=stream.len() {
            assert_eq!(read(&[&stream[..split], &stream[split..]]), example().map(Ok), "split at {split}");
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        let check = |bytes: &[u8], error| assert_eq!(read(&[bytes]), [Err(error)]);
        check(b"H", OrbitError::UnknownStart);
        check(b"Success\r\n\r\n", OrbitError::MalformedReply);
        check(b"Success\r\nid:1\r\n\r\n", OrbitError::MalformedReply);
        check(b"Failure\r\nid: 1\r\nrecipient: bob, 0, /demo\r\n\r\n", OrbitError::MalformedReply);
        check(&[b"Success\r\n".as_slice(), &vec![b'x'; HEAD_LENGTH_MAX]].concat(), OrbitError::HeadTooLong);
    }
}
