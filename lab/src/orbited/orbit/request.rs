//! Requests: an event for recipients.

use std::fmt::Write;

use super::framing::{Framing, header};
use super::{BODY_LENGTH_MAX, OrbitError, Recipient, Reply};

const VERSION_LINE: &str = "Orbit 1.0\r\n";

/// An event for one or more recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What the reply will be matched by: any text without a line break.
    pub id: String,
    /// Whom it is for, in the order of the lines.
    pub recipients: Vec<Recipient>,
    /// What they get; by custom JSON.
    pub body: Vec<u8>,
}

impl Request {
    /// The request as an application sends it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("{VERSION_LINE}Event\r\nid: {}\r\n", self.id);
        for recipient in &self.recipients {
            write!(head, "recipient: {recipient}\r\n").expect("writing to a string does not fail");
        }
        write!(head, "length: {}\r\n\r\n", self.body.len()).expect("writing to a string does not fail");
        [head.as_bytes(), &self.body].concat()
    }
}

/// What a node has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// An event to deliver.
    Event(Request),
    /// A request that cannot be carried out, with the reply that says why. The released server answers nothing.
    Refused(Reply),
}

/// Reads the requests of one connection.
#[derive(Debug, Default)]
pub struct RequestReader {
    framing: Framing,
    head: Option<Head>,
}

impl RequestReader {
    /// Takes more bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.framing.push(bytes);
    }

    /// The next whole request.
    ///
    /// # Errors
    ///
    /// Any [`OrbitError`] but `MalformedReply`; the stream cannot be read on then.
    pub fn next_request(&mut self) -> Result<Option<Incoming>, OrbitError> {
        if self.head.is_none() {
            // Decided by the first wrong byte: what is not ORBIT may never send an empty line.
            if !self.framing.peek().iter().zip(VERSION_LINE.as_bytes()).all(|(is, expected)| is == expected) {
                return Err(OrbitError::UnknownStart);
            }
            let Some(text) = self.framing.take_head()? else { return Ok(None) };
            let head = Head::parse(&text);
            if head.length.is_some_and(|length| length > BODY_LENGTH_MAX) {
                return Err(OrbitError::BodyTooLong);
            }
            self.head = Some(head);
        }
        let length = self.head.as_ref().and_then(|head| head.length).unwrap_or(0);
        let Some(body) = self.framing.take(length) else { return Ok(None) };
        Ok(self.head.take().map(|head| head.with_body(body)))
    }
}

#[derive(Debug, Default)]
struct Head {
    id: Option<String>,
    recipients: Vec<Recipient>,
    length: Option<usize>,
    mistake: Option<&'static str>,
}

impl Head {
    fn parse(text: &str) -> Self {
        let mut head = Head::default();
        let mut lines = text.split("\r\n").skip(1);
        if lines.next() != Some("Event") {
            head.mistake = Some("The only kind of request is Event");
        }
        for line in lines {
            let Some((name, value)) = header(line) else {
                head.mistake = head.mistake.or(Some("A line is no header: name and value are separated by \": \""));
                continue;
            };
            match name.as_str() {
                "id" => head.id = Some(value.to_owned()),
                "length" => head.length = value.parse().ok(),
                "recipient" => match Recipient::parse(value) {
                    Some(recipient) => head.recipients.push(recipient),
                    None => head.mistake = head.mistake.or(Some("A recipient is user, session, location")),
                },
                _ => {}
            }
        }
        head
    }

    fn with_body(self, body: Vec<u8>) -> Incoming {
        let missing = || match &self {
            Head { id: None, .. } => Some("The id is missing"),
            Head { length: None, .. } => Some("The length is missing or no number"),
            Head { recipients, .. } if recipients.is_empty() => Some("There is no recipient"),
            Head { .. } => None,
        };
        let mistake = self.mistake.or_else(missing);
        let id = self.id.unwrap_or_default();
        match mistake {
            None => Incoming::Event(Request { id, recipients: self.recipients, body }),
            Some(msg) => Incoming::Refused(Reply::Failure { id, msg: msg.into(), recipients: Vec::new() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HEAD_LENGTH_MAX, recipient};
    use super::*;

    fn read(parts: &[&[u8]]) -> Vec<Result<Incoming, OrbitError>> {
        let mut reader = RequestReader::default();
        let mut all = Vec::new();
        for part in parts {
            reader.push(part);
            while let Some(next) = reader.next_request().transpose() {
                let failed = next.is_err();
                all.push(next);
                if failed {
                    return all;
                }
            }
        }
        all
    }

    fn request(id: &str, users: &[&str], body: &str) -> Request {
        Request {
            id: id.into(),
            recipients: users.iter().map(|user| recipient(user)).collect(),
            body: body.as_bytes().to_vec(),
        }
    }

    /// One request goes in; the reply with which it is refused comes out, and the next request is read.
    fn check_refused(text: &str, id: &str, msg: &str) {
        let next = request("next", &["alice"], "x");
        let stream = [text.as_bytes(), &next.to_bytes()].concat();
        let refused = Reply::Failure { id: id.into(), msg: msg.into(), recipients: Vec::new() };
        assert_eq!(read(&[&stream]), [Ok(Incoming::Refused(refused)), Ok(Incoming::Event(next))]);
    }

    const EXAMPLE: &str = "Orbit 1.0\r\nEvent\r\nid: 1\r\nrecipient: alice, 0, /demo\r\nrecipient: bob, 0, /demo\r\n\
                           length: 7\r\n\r\n\"hello\"";

    #[test]
    fn the_example_of_the_protocol_is_written_and_read() {
        let example = request("1", &["alice", "bob"], "\"hello\"");
        assert_eq!(String::from_utf8(example.to_bytes()).unwrap(), EXAMPLE);
        assert_eq!(read(&[EXAMPLE.as_bytes()]), [Ok(Incoming::Event(example))]);
    }

    #[test]
    fn every_segmentation_gives_the_same_requests() {
        let (one, two) = (request("1", &["alice"], "a\r\n\r\nb"), request("2", &["bob", "carol"], ""));
        let stream = [one.to_bytes(), two.to_bytes()].concat();
        let expected = [Ok(Incoming::Event(one)), Ok(Incoming::Event(two))];
        for split in 0..=stream.len() {
            assert_eq!(read(&[&stream[..split], &stream[split..]]), expected, "split at {split}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read(&bytes), expected);
    }

    #[test]
    fn header_names_have_no_case_and_no_order_and_unknown_ones_are_passed_over() {
        let text = "Orbit 1.0\r\nEvent\r\nLENGTH: 2\r\nx-more: y\r\nRecipient: alice, 0, /demo\r\nID: a: b\r\n\r\nhi";
        assert_eq!(read(&[text.as_bytes()]), [Ok(Incoming::Event(request("a: b", &["alice"], "hi")))]);
    }

    #[test]
    fn what_the_released_server_never_answers_is_refused() {
        check_refused("Orbit 1.0\r\nEvent\r\nid: 1\r\nlength: 2\r\n\r\nhi", "1", "There is no recipient");
        check_refused(
            "Orbit 1.0\r\nEvent\r\nid: 1\r\nrecipient: alice, 0\r\nlength: 2\r\n\r\nhi",
            "1",
            "A recipient is user, session, location",
        );
        check_refused(
            "Orbit 1.0\r\nEvent\r\nid: 1\r\nrecipient: alice, 0, /demo\r\n\r\n",
            "1",
            "The length is missing or no number",
        );
        check_refused("Orbit 1.0\r\nEvent\r\nrecipient: alice, 0, /demo\r\nlength: 0\r\n\r\n", "", "The id is missing");
        check_refused("Orbit 1.0\r\nPing\r\nid: 1\r\nlength: 0\r\n\r\n", "1", "The only kind of request is Event");
        check_refused(
            "Orbit 1.0\r\nEvent\r\nid: 1\r\nrecipient:alice, 0, /demo\r\nlength: 0\r\n\r\n",
            "1",
            "A line is no header: name and value are separated by \": \"",
        );
    }

    #[test]
    fn what_cannot_be_read_on_is_an_error() {
        let check = |bytes: &[u8], error| assert_eq!(read(&[bytes]), [Err(error)]);
        check(b"G", OrbitError::UnknownStart);
        check(b"Orbit 2.0", OrbitError::UnknownStart);
        check(b"Orbit 1.0\r\n\xff\r\n\r\n", OrbitError::NotText);
        let endless = [VERSION_LINE.as_bytes(), &vec![b'x'; HEAD_LENGTH_MAX]].concat();
        check(&endless, OrbitError::HeadTooLong);
        let long = format!("{VERSION_LINE}Event\r\nid: 1\r\nlength: {}\r\n\r\n", BODY_LENGTH_MAX + 1);
        check(long.as_bytes(), OrbitError::BodyTooLong);
    }
}
