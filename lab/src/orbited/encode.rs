//! What a node writes to a browser, for each transport. It knows nothing of connections: when to write and when to
//! close is the node's business.
//!
//! The formats of Orbited 0.1 and 0.2 are those of the released servers, byte for byte where the protocol fixes
//! them. The standard event stream is that of the HTML Living Standard, section 9.2.

use super::Transport;

/// What ends a chunk of [`Transport::XhrStream`].
const DELIMITER: &str = "\r\n|O|\r\n";

/// How long a standard event source waits before it connects again, in milliseconds.
const SSE_RETRY_MS: u32 = 1000;

/// The first bytes of a connection; empty where the transport has none.
pub fn preamble(transport: Transport) -> Vec<u8> {
    let text = match transport {
        Transport::Iframe => format!(
            "{}<html><script src=\"/_/static/orbited.js\"></script>{}",
            head(&["Content-Length: 1000000", "Content-Type: text/html", "Cache-Control: no-cache"]),
            "<span></span>".repeat(100)
        ),
        Transport::XhrStream => {
            format!("{}{}\r\n\r\n", head(&["Content-Type: application/x-orbited-event-stream"]), ".".repeat(256))
        }
        Transport::ServerSentEvents => head(&["Content-Type: application/x-dom-event-stream"]),
        Transport::Raw | Transport::Xhr => String::new(),
        Transport::Sse => {
            let head = head(&["Content-Type: text/event-stream", "Cache-Control: no-cache", "Connection: close"]);
            format!("{head}retry: {SSE_RETRY_MS}\n\n")
        }
    };
    text.into_bytes()
}

/// One event. `id` is the ORBIT id, which only [`Transport::Sse`] carries. After an event of [`Transport::Xhr`] the
/// node closes the connection.
pub fn event(transport: Transport, id: &str, body: &[u8]) -> Vec<u8> {
    match transport {
        Transport::Iframe => [b"<script>e(", body, b");</script>"].concat(),
        Transport::XhrStream => [body, DELIMITER.as_bytes()].concat(),
        Transport::ServerSentEvents => data_lines(b"Event: orbited\n".to_vec(), body),
        Transport::Raw | Transport::Xhr => body.to_vec(),
        Transport::Sse => {
            // Such an id cannot be written in the format; the event goes without one.
            let writable = !id.contains(['\r', '\n', '\0']);
            let id_line = if writable { format!("id: {id}\n") } else { String::new() };
            data_lines(id_line.into_bytes(), body)
        }
    }
}

/// The sign of life on a quiet connection; empty where the transport has none.
pub fn ping(transport: Transport) -> Vec<u8> {
    let text = match transport {
        Transport::Iframe => "<script>p();</script>",
        Transport::XhrStream => "\r\n|O|\r\nping\r\n|O|\r\n",
        Transport::ServerSentEvents => "Event: ping\ndata: \\o/\n\n",
        Transport::Raw | Transport::Xhr => "",
        Transport::Sse => ": ping\n\n",
    };
    text.as_bytes().to_vec()
}

/// What asks a browser to connect again, where the transport has such an event; the others are asked by a close.
pub fn reconnect(transport: Transport) -> Option<Vec<u8>> {
    (transport == Transport::Iframe).then(|| b"<script>r();</script>".to_vec())
}

fn head(headers: &[&str]) -> String {
    format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", headers.join("\r\n"))
}

/// `data:` lines for each line of `body`, then the empty line that ends the event. CR, LF and CRLF all end a line of
/// an event stream.
fn data_lines(mut event: Vec<u8>, body: &[u8]) -> Vec<u8> {
    let mut rest = Some(body);
    while let Some(text) = rest {
        let end = text.iter().position(|&byte| byte == b'\r' || byte == b'\n');
        let (line, after) = text.split_at(end.unwrap_or(text.len()));
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line);
        event.push(b'\n');
        rest = end.map(|_| after.strip_prefix(b"\r\n").unwrap_or(&after[1..]));
    }
    event.push(b'\n');
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        assert_eq!(String::from_utf8_lossy(bytes), expected);
    }

    #[test]
    fn preambles() {
        check(
            &preamble(Transport::Iframe),
            &format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nContent-Type: text/html\r\nCache-Control: no-cache\r\n\r\n\
                 <html><script src=\"/_/static/orbited.js\"></script>{}",
                "<span></span>".repeat(100)
            ),
        );
        check(
            &preamble(Transport::XhrStream),
            &format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-orbited-event-stream\r\n\r\n{}\r\n\r\n",
                ".".repeat(256)
            ),
        );
        check(
            &preamble(Transport::ServerSentEvents),
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-dom-event-stream\r\n\r\n",
        );
        check(&preamble(Transport::Raw), "");
        check(&preamble(Transport::Xhr), "");
        check(
            &preamble(Transport::Sse),
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n\
             retry: 1000\n\n",
        );
    }

    #[test]
    fn events() {
        let expected = [
            (Transport::Iframe, "<script>e(\"hello\");</script>"),
            (Transport::XhrStream, "\"hello\"\r\n|O|\r\n"),
            (Transport::ServerSentEvents, "Event: orbited\ndata: \"hello\"\n\n"),
            (Transport::Raw, "\"hello\""),
            (Transport::Xhr, "\"hello\""),
            (Transport::Sse, "id: 7\ndata: \"hello\"\n\n"),
        ];
        for (transport, text) in expected {
            check(&event(transport, "7", b"\"hello\""), text);
        }
    }

    #[test]
    fn every_line_of_a_body_gets_its_field() {
        check(
            &event(Transport::ServerSentEvents, "1", b"a\nb\r\nc\rd"),
            "Event: orbited\ndata: a\ndata: b\ndata: c\ndata: d\n\n",
        );
        check(&event(Transport::Sse, "1", b"a\n"), "id: 1\ndata: a\ndata: \n\n");
        check(&event(Transport::Sse, "1", b""), "id: 1\ndata: \n\n");
    }

    #[test]
    fn an_id_cannot_smuggle_fields_into_the_stream() {
        check(&event(Transport::Sse, "1\ndata: x", b"a"), "data: a\n\n");
    }

    #[test]
    fn pings_and_reconnects() {
        let expected = [
            (Transport::Iframe, "<script>p();</script>"),
            (Transport::XhrStream, "\r\n|O|\r\nping\r\n|O|\r\n"),
            (Transport::ServerSentEvents, "Event: ping\ndata: \\o/\n\n"),
            (Transport::Raw, ""),
            (Transport::Xhr, ""),
            (Transport::Sse, ": ping\n\n"),
        ];
        for (transport, text) in expected {
            check(&ping(transport), text);
            let asks = (transport == Transport::Iframe).then(|| b"<script>r();</script>".to_vec());
            assert_eq!(reconnect(transport), asks);
        }
    }

    #[test]
    fn a_browser_reads_what_a_node_writes() {
        use std::time::Duration;

        use crate::orbited::decode::{Decoded, Decoder};

        for transport in Transport::ALL {
            let retry = Decoded::Retry(Duration::from_millis(SSE_RETRY_MS.into()));
            let event = |body: &[u8]| {
                let id = (transport == Transport::Sse).then_some(7);
                Decoded::Event { body: body.to_vec(), id }
            };
            let mut expected = match transport {
                Transport::Raw | Transport::Xhr => vec![],
                Transport::Sse => vec![Decoded::Opened, retry],
                _ => vec![Decoded::Opened],
            };
            let mut decoder = Decoder::new(transport);
            let mut decoded = decoder.push(&preamble(transport));
            decoded.extend(decoder.push(&super::event(transport, "7", b"{\"event\":7}")));
            expected.push(event(b"{\"event\":7}"));
            if !ping(transport).is_empty() {
                decoded.extend(decoder.push(&ping(transport)));
                expected.push(Decoded::Ping);
            }
            if let Some(asked) = reconnect(transport) {
                decoded.extend(decoder.push(&asked));
                expected.push(Decoded::ReconnectAsked);
            }
            decoded.extend(decoder.finish());
            assert_eq!(decoded, expected, "{transport:?}");
        }
    }
}
