//! The HTTP request by which a browser asks its node for events, in the forms of Orbited 0.1 and 0.2.
//!
//! Formatted for browsers and parsed for nodes. A request has no body: what a browser sends after it is not read.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::Transport;

/// The longest request that is parsed, from its first byte to the empty line, in bytes.
pub const REQUEST_LENGTH_MAX: usize = 8 * 1024;

/// More headers than a real browser sends.
const HEADER_COUNT_MAX: usize = 64;

/// What must not stand bare in the path of either form: the delimiters of both and what HTTP forbids.
const PATH_RESERVED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b',').add(b'?').add(b'|');

/// What a browser asks for. `user`, `session` and `location` together are the key by which an app addresses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The path, with its leading slash.
    pub location: String,
    /// The user.
    pub user: String,
    /// Tells several browsers of one user apart; `0` where the request names none.
    pub session: String,
    /// How events are to be framed.
    pub transport: Transport,
    /// The last event that the browser had, by its header `Last-Event-ID` (standard SSE). `None` also for an id that
    /// no lab node gives: then it is as if nothing had been received.
    pub last_event_id: Option<u64>,
}

/// Why bytes are not a request for events. A node answers by closing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No empty line within the first [`REQUEST_LENGTH_MAX`] bytes.
    #[error("the request is longer than {REQUEST_LENGTH_MAX} bytes")]
    TooLong,
    /// Not the head of an HTTP request.
    #[error("not an HTTP request: {0}")]
    Malformed(httparse::Error),
    /// Another method than GET.
    #[error("method {0:?} is not GET")]
    Method(String),
    /// The target names no user, in neither form.
    #[error("no user: expected /LOCATION?user=U&transport=T or /LOCATION|U,SESSION,TRANSPORT")]
    NoUser,
    /// A transport that the lab does not speak.
    #[error("unknown transport {0:?}")]
    UnknownTransport(String),
}

impl Request {
    /// The request as a browser sends it: long polling in the form of 0.1, every other transport in the form of 0.2.
    pub fn to_bytes(&self) -> Vec<u8> {
        let last_event_id = self.last_event_id.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        format!("GET {} HTTP/1.1\r\nHost: orbited\r\n{last_event_id}\r\n", self.target()).into_bytes()
    }

    /// Parses the beginning of a connection. Returns the request and its length in bytes, or `None` if `head` does not
    /// hold all of it yet.
    ///
    /// # Errors
    ///
    /// [`RequestError`], as soon as it is certain.
    pub fn parse(head: &[u8]) -> Result<Option<(Request, usize)>, RequestError> {
        let head = &head[..head.len().min(REQUEST_LENGTH_MAX)];
        let mut headers = [httparse::EMPTY_HEADER; HEADER_COUNT_MAX];
        let mut http = httparse::Request::new(&mut headers);
        let length = match http.parse(head).map_err(RequestError::Malformed)? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial if head.len() == REQUEST_LENGTH_MAX => return Err(RequestError::TooLong),
            httparse::Status::Partial => return Ok(None),
        };
        match http.method {
            Some("GET") => {}
            other => return Err(RequestError::Method(other.unwrap_or_default().to_owned())),
        }
        let request = Request {
            last_event_id: last_event_id(http.headers),
            ..Self::from_target(http.path.expect("a complete request has a path"))?
        };
        Ok(Some((request, length)))
    }

    fn target(&self) -> String {
        let path = |text| utf8_percent_encode(text, PATH_RESERVED);
        let (location, transport) = (path(&self.location), self.transport);
        if self.transport == Transport::Xhr {
            return format!("{location}|{},{},{transport}", path(&self.user), path(&self.session));
        }
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("user", &self.user)
            .append_pair("session", &self.session)
            .append_pair("transport", &transport.to_string())
            .finish();
        format!("{location}?{query}")
    }

    fn from_target(target: &str) -> Result<Self, RequestError> {
        let at = target.find(['?', '|']).ok_or(RequestError::NoUser)?;
        let (location, rest) = (percent_decoded(&target[..at]), &target[at + 1..]);
        if target.as_bytes()[at] == b'?' { Self::from_query(location, rest) } else { Self::from_key(location, rest) }
    }

    /// The form of 0.2: `user=U&session=S&transport=T`.
    fn from_query(location: Cow<'_, str>, query: &str) -> Result<Self, RequestError> {
        let field =
            |name| form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value);
        Self::from_parts(
            location,
            field("user").unwrap_or_default(),
            field("session").unwrap_or("0".into()),
            &field("transport").unwrap_or("stream".into()),
        )
    }

    /// The form of 0.1: `user[,session[,transport]]`.
    fn from_key(location: Cow<'_, str>, key: &str) -> Result<Self, RequestError> {
        let mut fields = key.split(',').map(percent_decoded);
        Self::from_parts(
            location,
            fields.next().unwrap_or_default(),
            fields.next().unwrap_or("0".into()),
            &fields.next().unwrap_or("iframe".into()),
        )
    }

    fn from_parts(
        location: Cow<'_, str>,
        user: Cow<'_, str>,
        session: Cow<'_, str>,
        transport: &str,
    ) -> Result<Self, RequestError> {
        if user.is_empty() {
            return Err(RequestError::NoUser);
        }
        let known = Transport::ALL.into_iter().find(|&known| known.to_string() == *transport);
        Ok(Request {
            location: location.into_owned(),
            user: user.into_owned(),
            session: session.into_owned(),
            transport: known.ok_or_else(|| RequestError::UnknownTransport(transport.to_owned()))?,
            last_event_id: None,
        })
    }
}

fn percent_decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

fn last_event_id(headers: &[httparse::Header<'_>]) -> Option<u64> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case("Last-Event-ID"))?;
    std::str::from_utf8(header.value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice(transport: Transport) -> Request {
        Request { location: "/demo".into(), user: "alice".into(), session: "0".into(), transport, last_event_id: None }
    }

    fn parsed(text: &str) -> Result<Request, RequestError> {
        let (request, length) = Request::parse(text.as_bytes())?.expect("the request is complete");
        assert_eq!(length, text.find("\r\n\r\n").expect("an empty line") + 4);
        Ok(request)
    }

    #[test]
    fn a_browser_asks_in_the_form_of_its_version() {
        let bytes = |request: Request| String::from_utf8(request.to_bytes()).unwrap();
        assert_eq!(
            bytes(alice(Transport::XhrStream)),
            "GET /demo?user=alice&session=0&transport=xhr_stream HTTP/1.1\r\nHost: orbited\r\n\r\n"
        );
        assert_eq!(bytes(alice(Transport::Xhr)), "GET /demo|alice,0,xhr HTTP/1.1\r\nHost: orbited\r\n\r\n");
        assert_eq!(
            bytes(Request { last_event_id: Some(17), ..alice(Transport::Sse) }),
            "GET /demo?user=alice&session=0&transport=sse HTTP/1.1\r\nHost: orbited\r\nLast-Event-ID: 17\r\n\r\n"
        );
    }

    #[test]
    fn a_node_reads_what_a_browser_sends() {
        for transport in Transport::ALL {
            for user in ["b-3", "a b", "50%", "x|y,z?&=+#", "jürgen"] {
                let request = Request { user: user.into(), last_event_id: Some(u64::MAX), ..alice(transport) };
                let bytes = request.to_bytes();
                assert_eq!(Request::parse(&bytes), Ok(Some((request, bytes.len()))));
            }
        }
    }

    #[test]
    fn a_node_reads_what_others_send() {
        let curl = "GET /demo?user=alice&transport=raw HTTP/1.1\r\n\
                    Host: 10.0.0.1:8001\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\nwhatever";
        assert_eq!(parsed(curl), Ok(alice(Transport::Raw)));
        assert_eq!(parsed("GET /demo|alice HTTP/1.0\r\n\r\n"), Ok(alice(Transport::Iframe)));
        assert_eq!(
            parsed("GET /a%20b|al%69ce,7 HTTP/1.1\r\n\r\n"),
            Ok(Request { location: "/a b".into(), session: "7".into(), ..alice(Transport::Iframe) })
        );
        let header = "GET /demo?transport=sse&user=al%69ce HTTP/1.1\r\nlast-event-id: 9\r\n\r\n";
        assert_eq!(parsed(header), Ok(Request { last_event_id: Some(9), ..alice(Transport::Sse) }));
        let foreign = "GET /demo?transport=sse&user=alice HTTP/1.1\r\nLast-Event-ID: abc\r\n\r\n";
        assert_eq!(parsed(foreign), Ok(alice(Transport::Sse)));
    }

    #[test]
    fn what_is_not_a_request_says_why() {
        assert_eq!(parsed("GET / HTTP/1.1\r\n\r\n"), Err(RequestError::NoUser));
        assert_eq!(parsed("GET /demo?user= HTTP/1.1\r\n\r\n"), Err(RequestError::NoUser));
        assert_eq!(parsed("GET /demo| HTTP/1.1\r\n\r\n"), Err(RequestError::NoUser));
        assert_eq!(parsed("POST /demo|alice HTTP/1.1\r\n\r\n"), Err(RequestError::Method("POST".into())));
        // The default of 0.2 is the transport `stream`, which the lab does not speak.
        assert_eq!(
            parsed("GET /demo?user=alice HTTP/1.1\r\n\r\n"),
            Err(RequestError::UnknownTransport("stream".into()))
        );
        assert!(matches!(parsed("Orbit 1.0\r\nEvent\r\n\r\n"), Err(RequestError::Malformed(_))));
    }

    #[test]
    fn a_request_may_come_in_pieces_but_not_without_end() {
        let bytes = alice(Transport::Iframe).to_bytes();
        for length in 0..bytes.len() {
            assert_eq!(Request::parse(&bytes[..length]), Ok(None));
        }
        let endless = format!("GET /demo|{}", "a".repeat(REQUEST_LENGTH_MAX));
        assert_eq!(Request::parse(&endless.as_bytes()[..REQUEST_LENGTH_MAX - 1]), Ok(None));
        assert_eq!(Request::parse(endless.as_bytes()), Err(RequestError::TooLong));
    }
}
