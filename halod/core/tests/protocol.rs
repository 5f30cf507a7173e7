//! `docs/protocol.md` is true: its example is replayed, its table of users computed. And lines that are no messages.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use halod_core::cluster::{Cluster, ClusterConfig, ConnId, Output};
use halod_core::flow::{FlowView, Flows};
use halod_core::ids::{Epoch, NodeId, RouteId};
use halod_core::protocol::{
    Assigned, DecodeError, ErrorCode, ErrorMessage, FromNode, Heartbeat, LINE_LENGTH_MAX, LineBuffer, NodeState,
    PROTOCOL_VERSION, ToNode, Token, Welcome, decode_from_node, decode_to_node, encode,
};
use halod_core::route_table::RouteTable;
use halod_core::routing::SessionId;
use halod_core::time::Instant;
use halod_core::user::route_of;

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

struct NoFlows;

impl Flows for NoFlows {
    fn visit(&self, _: RouteId, _: SessionId, _: &mut dyn FnMut(FlowView)) {}

    fn visit_node(&self, _: SessionId, _: &mut dyn FnMut(FlowView)) {}
}

#[test]
fn the_example_is_what_halod_says() {
    let start = DOCUMENT.split("```exchange\n").nth(1).expect("the document has an exchange");
    let example = start.split("```").next().expect("the exchange ends");
    let config = ClusterConfig {
        routes: 4,
        reserve: 0,
        heartbeat: Duration::from_millis(100),
        misses: 3,
        drain: Duration::from_secs(30),
        pace: 1000,
        redial_timeout: Duration::from_millis(250),
        own_addresses: Vec::new(),
    };
    let mut now = Instant::ORIGIN;
    let mut cluster = Cluster::new(now, config);
    for number in [1, 2] {
        cluster.open(now, ConnId(number), IpAddr::V4(Ipv4Addr::LOCALHOST), Token(number));
    }
    let mut beats = 0;
    let mut heard = String::new();
    for line in example.lines() {
        if let Some((node, message)) = line.split_once("> ") {
            heard += &format!("{line}\n");
            let conn = ConnId(node[1..].parse().expect("nodes are n1, n2"));
            cluster.receive(now, conn, decode_from_node(message.as_bytes()));
            heard += &said(&mut cluster);
            for _ in 0..2 {
                now = now + Duration::from_millis(100);
                beats += 1;
                for node in [1, 2] {
                    beat(&mut cluster, now, node, beats);
                }
                cluster.timeout(now);
                cluster.begin_look(now);
                cluster.look(now, &NoFlows);
                heard += &said(&mut cluster);
            }
        }
    }
    assert_eq!(heard, example);
}

/// Both nodes are alive all the time.
fn beat(cluster: &mut Cluster, now: Instant, node: u64, seq: u64) {
    let message = FromNode::Heartbeat(Heartbeat { token: Token(node), seq, connections: None });
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);
    cluster.receive_datagram(now, from, &Ok(message));
}

fn said(cluster: &mut Cluster) -> String {
    let mut text = String::new();
    while let Some(output) = cluster.poll() {
        match output {
            Output::Send(ConnId(node), message) => {
                let line = String::from_utf8(encode(&message)).expect("JSON is UTF-8");
                text += &format!("n{node}< {line}");
            }
            Output::Close(ConnId(node)) => text += &format!("n{node} closed\n"),
            _ => {}
        }
    }
    text
}

#[test]
fn the_users_of_the_document_are_on_its_routes() {
    let rows: Vec<Vec<&str>> = DOCUMENT
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .filter(|cells: &Vec<&str>| cells.len() == 6)
        .collect();
    assert_eq!(rows.len(), 6, "the table of users");
    for row in rows {
        let route = |routes| route_of(row[1], routes).number().to_string();
        assert_eq!([route(24), route(1024)], [row[3], row[4]], "{}", row[1]);
    }
}

fn check(line: &str, expected: &str) {
    let text = match decode_from_node(line.as_bytes()) {
        Ok(message) => format!("{message:?}"),
        Err(error) => error.to_string(),
    };
    assert!(text.contains(expected), "{line}\n  gave: {text}\n  not: {expected}");
}

#[test]
fn mistakes_are_named() {
    check("", "EOF");
    check("nonsense", "expected");
    check("[]", "string \"type\" is expected");
    check(r#"{"type":5}"#, "string \"type\" is expected");
    check(r#"{"type":"dance"}"#, "unknown message type \"dance\"");
    check(r#"{"type":"drained","route":3}"#, "drained: missing field `epoch`");
    check(r#"{"type":"drained","route":0,"epoch":1}"#, "drained: invalid value");
    check(r#"{"type":"drained","route":70000,"epoch":1}"#, "drained: invalid value");
    check(r#"{"type":"heartbeat","token":"12","seq":1}"#, "16 hexadecimal digits");
    check(r#"{"type":"heartbeat","token":"+00000000000000f","seq":1}"#, "16 hexadecimal digits");
    let hello = |browser: &str| {
        format!(
            r#"{{"type":"hello","version":1,"name":"n","incarnation":"0000000000000001","browser":{browser},"app":["10.0.0.1:1"],"admin":"10.0.0.1:2"}}"#
        )
    };
    check(&hello(r#"["10.0.0.1:8000"]"#), "Hello(");
    check(&hello("[]"), "at least one address");
    check(&hello(r#"["10.0.0.1:8000","10.0.0.2:8000"]"#), "at most one IPv4 and one IPv6");
    check(&hello(r#"["0.0.0.0:8000"]"#), "that others can reach");
    check(&hello(r#"["10.0.0.1"]"#), "invalid socket address");
}

#[test]
fn unknown_fields_are_ignored() {
    check(r#"{"type":"leave","in":"2030"}"#, "Leave");
    check(r#"{"type":"drained","route":3,"epoch":1,"more":[1,{"a":null}]}"#, "Drained");
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    check(&format!(r#"{{"type":{}"#, "[".repeat(60_000)), "recursion limit");
}

#[test]
fn a_stream_is_cut_into_lines_wherever_it_was_split() {
    let stream = b"one\n\r\ntwo\r\n\nthree\nrest";
    for split in 0..stream.len() {
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        for part in [&stream[..split], &stream[split..]] {
            buffer.push(part);
            while let Some(line) = buffer.next_line().expect("no line is too long") {
                lines.push(String::from_utf8(line).expect("ASCII"));
            }
        }
        assert_eq!(lines, ["one", "two", "three"], "split at {split}");
    }
}

#[test]
fn the_longest_line_passes_and_one_byte_more_does_not() {
    let mut buffer = LineBuffer::default();
    buffer.push(&[b'x'; LINE_LENGTH_MAX]);
    assert_eq!(buffer.next_line(), Ok(None));
    buffer.push(b"\n");
    assert_eq!(buffer.next_line().map(|line| line.map(|line| line.len())), Ok(Some(LINE_LENGTH_MAX)));
    buffer.push(&[b'x'; LINE_LENGTH_MAX + 1]);
    assert_eq!(buffer.next_line(), Err(DecodeError::LineTooLong));
}

/// Neither costs anything to speak of: with a cost that grows by the square of the bytes, this test takes minutes.
#[test]
fn a_stream_of_tiny_lines_or_tiny_chunks_is_read_at_once() {
    let mut buffer = LineBuffer::default();
    buffer.push(&b"x\n".repeat(1_000_000));
    let lines = std::iter::from_fn(|| buffer.next_line().expect("no line is too long"));
    assert_eq!(lines.count(), 1_000_000);
    for _ in 0..LINE_LENGTH_MAX {
        buffer.push(b"x");
        assert_eq!(buffer.next_line(), Ok(None));
    }
}

#[test]
fn another_version_is_named_whatever_its_fields_are() {
    check(r#"{"type":"hello","version":2,"names":["n"]}"#, "version 2 is not spoken here, only 1");
    check(r#"{"type":"hello","version":18446744073709551615}"#, "version 18446744073709551615 is not spoken");
    check(r#"{"type":"hello","version":1}"#, "hello: missing field");
    check(r#"{"type":"hello","version":"2"}"#, "hello: invalid type");
    check(r#"{"type":"leave","version":2}"#, "Leave");
    assert_eq!(ErrorMessage::from(&DecodeError::WrongVersion(2)).code, ErrorCode::WrongVersion);
}

#[test]
fn an_error_quotes_little_of_what_was_sent() {
    for quoted in ["x", "é", "日"] {
        let line = format!(r#"{{"type":"heartbeat","token":"1","seq":"{}"}}"#, quoted.repeat(10_000));
        let error = decode_from_node(line.as_bytes()).expect_err("a number is no text");
        let message = ErrorMessage::from(&error).message;
        assert!(message.starts_with("not a message: heartbeat: invalid type: string") && message.ends_with("..."));
        assert!((196..=200).contains(&message.len()), "{} bytes: {message}", message.len());
    }
}

fn assigned(routes: &[u16]) -> ToNode {
    let routes = routes.iter().map(|&number| RouteId::new(number).expect("no route is 0")).collect();
    ToNode::Assigned(Assigned { id: NodeId::from_index(0), routes, epoch: Epoch(1) })
}

#[test]
fn neighbouring_routes_are_written_as_runs() {
    for (routes, written) in [
        (&[][..], "[]"),
        (&[7], "[7]"),
        (&[1, 2], "[1,2]"),
        (&[1, 2, 3], "[[1,3]]"),
        (&[1, 2, 5, 6, 7, 8, 9, 11, 13, 14, 15], "[1,2,[5,9],11,[13,15]]"),
        (&[1, 65_534, 65_535], "[1,65534,65535]"),
    ] {
        let line = encode(&assigned(routes));
        let expected = format!("{{\"type\":\"assigned\",\"id\":1,\"routes\":{written},\"epoch\":1}}\n");
        assert_eq!(String::from_utf8(line.clone()), Ok(expected));
        assert_eq!(decode_to_node(&line), Ok(assigned(routes)));
    }
}

#[test]
fn a_list_of_routes_ascends() {
    let read = |routes: &str| {
        let line = format!(r#"{{"type":"assigned","id":1,"routes":{routes},"epoch":1}}"#);
        decode_to_node(line.as_bytes()).map_err(|error| error.to_string())
    };
    assert_eq!(read("[[1,2],[3,3],4]"), Ok(assigned(&[1, 2, 3, 4])));
    let everything: Vec<u16> = (1..=u16::MAX).collect();
    assert_eq!(read("[[1,65535]]"), Ok(assigned(&everything)));
    for (routes, reason) in [
        ("[2,1]", "routes must ascend, but 1 comes too late"),
        ("[1,1]", "routes must ascend, but 1 comes too late"),
        ("[[3,2]]", "routes must ascend, but 3 comes too late"),
        ("[[1,65535],[1,65535]]", "routes must ascend, but 1 comes too late"),
        ("[[1,3],3]", "routes must ascend, but 3 comes too late"),
        ("[0]", "numbers and pairs [first,last]"),
        ("[[1,65536]]", "numbers and pairs [first,last]"),
        ("[[1]]", "numbers and pairs [first,last]"),
        ("[[1,2,3]]", "numbers and pairs [first,last]"),
        ("[\"1\"]", "numbers and pairs [first,last]"),
    ] {
        let error = read(routes).expect_err(routes);
        assert!(error.contains(reason), "{routes}: {error}");
    }
}

/// From four nodes on, even a list without neighbours would fit: nobody then has more than 8,192 of the 32,767 routes
/// that can be configured, and a route takes six bytes at most. The same is true of three nodes and fewer routes.
#[test]
fn every_table_fits_into_lines() {
    const ROUTES_MAX: u16 = 32_767;
    const BYTES_PER_ROUTE: usize = "32767,".len();
    let (mut longest, mut table) = (0, RouteTable::new(ROUTES_MAX));
    while table.node_count() < 300 {
        table.add_node();
        for index in 0..table.node_count() {
            let id = NodeId::from_index(index);
            let welcome = ToNode::Welcome(Welcome {
                version: PROTOCOL_VERSION,
                token: Token(u64::MAX),
                state: NodeState::Active,
                id: Some(id),
                routes: table.routes_of(id).to_vec(),
                epoch: Epoch(u64::MAX),
                heartbeat_ms: u64::MAX,
                misses: u32::MAX,
            });
            longest = longest.max(encode(&welcome).len());
        }
    }
    assert!(longest <= LINE_LENGTH_MAX / 8, "{longest} bytes");
    assert!(usize::from(ROUTES_MAX).div_ceil(4) * BYTES_PER_ROUTE <= LINE_LENGTH_MAX * 3 / 4);
}
