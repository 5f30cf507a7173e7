use super::*;

/// Asserts that `stream`, as a whole, cut in two at every place and byte by byte, is decoded into `expected`.
fn check(transport: Transport, stream: &str, expected: &[Decoded]) {
    check_bytes(transport, stream.as_bytes(), expected);
}

fn check_bytes(transport: Transport, stream: &[u8], expected: &[Decoded]) {
    let decoded = |segments: &[&[u8]]| {
        let mut decoder = Decoder::new(transport);
        let mut items: Vec<_> = segments.iter().flat_map(|segment| decoder.push(segment)).collect();
        items.extend(decoder.finish());
        items
    };
    for split in 0..=stream.len() {
        assert_eq!(decoded(&[&stream[..split], &stream[split..]]), expected, "{transport:?} split at {split}");
    }
    assert_eq!(decoded(&stream.chunks(1).collect::<Vec<_>>()), expected, "{transport:?} byte by byte");
}

fn event(body: &str) -> Decoded {
    Decoded::Event { body: body.into(), id: None }
}

fn numbered(body: &str, id: u64) -> Decoded {
    Decoded::Event { body: body.into(), id: Some(id) }
}

fn garbage(why: &str) -> Decoded {
    Decoded::Garbage(why.into())
}

/// What precedes the first event of an iframe.
fn page() -> String {
    "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nContent-Type: text/html\r\nCache-Control: no-cache\r\n\r\n\
     <html><head><script src=\"/_/iframe.js\"></script></head><body>"
        .to_owned()
        + &"<span></span>".repeat(100)
}

/// What precedes the first event of an XHR stream.
fn dots() -> String {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-orbited-event-stream\r\n\r\n".to_owned();
    head + &".".repeat(256) + "\r\n\r\n"
}

const ORBITED_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/x-dom-event-stream\r\n\r\n";
const STANDARD_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\r\n";

#[test]
fn iframe() {
    let scripts = "<script>e({\"event\":1,\"user\":\"b-(1);\"});</script><script>p();</script>\n\
                   <script>e([2]);</script><script>r();</script><script>e(";
    let expected = [
        Decoded::Opened,
        event("{\"event\":1,\"user\":\"b-(1);\"}"),
        Decoded::Ping,
        event("[2]"),
        Decoded::ReconnectAsked,
    ];
    check(Transport::Iframe, &(page() + scripts), &expected);
}

#[test]
fn iframe_without_its_frames() {
    let why = garbage("bytes outside of a script element");
    check(Transport::Iframe, &(page() + "<script>p();</script>{}"), &[Decoded::Opened, Decoded::Ping, why]);
    let why = garbage("a script that is neither e(BODY), p() nor r()");
    check(Transport::Iframe, &(page() + "<script>x();</script><script>p();</script>"), &[Decoded::Opened, why]);
    let why = garbage("the page does not begin with <html>");
    check(Transport::Iframe, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<!-- 0.1 -->", &[why]);
}

#[test]
fn xhr_stream() {
    let chunks = "{\"event\":1}\r\n|O|\r\n\r\n|O|\r\nping\r\n|O|\r\n{\"a\":\"|O|\"}\r\n|O|\r\n{\"cut\":";
    let expected = [Decoded::Opened, event("{\"event\":1}"), Decoded::Ping, event("{\"a\":\"|O|\"}")];
    check(Transport::XhrStream, &(dots() + chunks), &expected);
    let short = dots().replacen("..", ".", 1);
    let why = garbage("the stream does not begin with 256 dots and an empty line");
    check(Transport::XhrStream, &short, &[why]);
}

#[test]
fn server_sent_events() {
    let events = "Event: orbited\ndata: {\"event\":1}\n\nEvent: ping\ndata: \\o/\n\n\
                  Event: orbited\ndata: L1\ndata:  L2\n\nEvent: orbited\ndata: cut\n";
    let expected = [Decoded::Opened, event("{\"event\":1}"), Decoded::Ping, event("L1\n L2")];
    check(Transport::ServerSentEvents, &(ORBITED_HEAD.to_owned() + events), &expected);

    let of_the_standard = ORBITED_HEAD.to_owned() + "id: 1\ndata: x\n\n";
    let why = garbage("a line that is not a field of this event stream");
    check(Transport::ServerSentEvents, &of_the_standard, &[Decoded::Opened, why]);
    let unnamed = ORBITED_HEAD.to_owned() + "data: x\n\n";
    let why = garbage("an event that is neither `orbited` nor `ping`");
    check(Transport::ServerSentEvents, &unnamed, &[Decoded::Opened, why]);
}

#[test]
fn sse() {
    let events =
        "retry: 250\n\n:\n\nid: 7\ndata: {\"event\":7}\n\n: ping\n\ndata:a\r\ndata:b\r\n\r\nid: 8\ndata: cut\n";
    let expected = [
        Decoded::Opened,
        Decoded::Retry(Duration::from_millis(250)),
        Decoded::Ping,
        numbered("{\"event\":7}", 7),
        Decoded::Ping,
        event("a\nb"),
    ];
    check(Transport::Sse, &(STANDARD_HEAD.to_owned() + events), &expected);
    let why = garbage("an id or retry time that is not a number");
    check(Transport::Sse, &(STANDARD_HEAD.to_owned() + "id: x\n\n"), &[Decoded::Opened, why]);
}

#[test]
fn raw() {
    let bodies = "{\"event\":1}{\"a\":{\"b\":\"}\\\"\"}}\r\n{\"event\":3}{\"cut\":";
    check(
        Transport::Raw,
        bodies,
        &[event("{\"event\":1}"), event("{\"a\":{\"b\":\"}\\\"\"}}"), event("{\"event\":3}")],
    );
    check(Transport::Raw, "{}ping", &[event("{}"), garbage("a body that is not a JSON object")]);
}

#[test]
fn xhr() {
    check(Transport::Xhr, "{\"event\":1}", &[event("{\"event\":1}")]);
    check(Transport::Xhr, "", &[]);
    check(Transport::Xhr, "{\"event\":", &[]);
    check(Transport::Xhr, "{}{}", &[garbage("bytes after the body of a poll")]);
    check(Transport::Xhr, "HTTP/1.1 200 OK\r\n\r\n", &[garbage("a body that is not a JSON object")]);
}

#[test]
fn a_response_of_another_kind_is_garbage() {
    check(Transport::Sse, "HTTP/1.1 503 Busy\r\n\r\n", &[garbage("HTTP status 503")]);
    let why = garbage("Content-Type is \"application/x-dom-event-stream\", not text/event-stream");
    check(Transport::Sse, ORBITED_HEAD, &[why]);
    check(Transport::Iframe, "{\"event\":1}", &[garbage("not an HTTP response: invalid HTTP version")]);
    let mut decoder = Decoder::new(Transport::Iframe);
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(8 * 1024));
    assert_eq!(decoder.push(endless.as_bytes()), [garbage("a response head is longer than 8192 bytes")]);
    assert_eq!(decoder.push(b"\r\n\r\n"), []);
}

/// A frame of `FRAME_LENGTH_MAX` bytes is an event, one byte more is garbage, in one segment or in many.
#[test]
fn a_frame_has_a_longest_length() {
    let decoded = |transport, preamble: &str, stream: &str, segment: usize| {
        let mut decoder = Decoder::new(transport);
        decoder.push(preamble.as_bytes());
        let mut items: Vec<_> = stream.as_bytes().chunks(segment).flat_map(|bytes| decoder.push(bytes)).collect();
        items.extend(decoder.finish());
        items.into_iter().map(|item| matches!(item, Decoded::Event { .. })).collect::<Vec<_>>()
    };
    let cases = [
        (Transport::Iframe, page(), "<script>e({\"pad\":\"", "\"});</script>"),
        (Transport::XhrStream, dots(), "{\"pad\":\"", "\"}\r\n|O|\r\n"),
        (Transport::Raw, String::new(), "{\"pad\":\"", "\"}"),
        (Transport::Sse, STANDARD_HEAD.to_owned(), "data: {\"pad\":\"", "\"}\n"),
    ];
    for (transport, preamble, before, after) in cases {
        let frame = |length: usize| {
            let end = if transport == Transport::Sse { "\n" } else { "" };
            format!("{before}{}{after}{end}", "x".repeat(length - before.len() - after.len()))
        };
        for segment in [100_000, usize::MAX] {
            assert_eq!(decoded(transport, &preamble, &frame(FRAME_LENGTH_MAX), segment), [true], "{transport:?}");
            assert_eq!(decoded(transport, &preamble, &frame(FRAME_LENGTH_MAX + 1), segment), [false], "{transport:?}");
        }
    }
    let lines = "data: 0123456789\n".repeat(FRAME_LENGTH_MAX / 10);
    assert_eq!(decoded(Transport::Sse, STANDARD_HEAD, &lines, 100_000), [false]);
}

#[test]
fn bytes_of_no_transport_are_garbage_once() {
    let streams: [&[u8]; 4] = [b"\0\xff\xfe", b"<script>", b"\r\n|O|\r\n", "data: \u{fffd}\n\n".as_bytes()];
    for transport in Transport::ALL {
        for stream in streams {
            let mut decoder = Decoder::new(transport);
            let mut items: Vec<_> = (0..3).flat_map(|_| decoder.push(stream)).collect();
            items.extend(decoder.finish());
            assert!(matches!(items.as_slice(), [Decoded::Garbage(_)]), "{transport:?}: {items:?}");
        }
    }
}
