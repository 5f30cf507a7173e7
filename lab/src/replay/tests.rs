//! Records made by a small driver of the core, and what a replay says about them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use halod_core::cluster::{Cluster, ClusterConfig, ConnId, Input as ClusterInput, Output};
use halod_core::flow::SourcePorts;
use halod_core::plane::{PlaneConfig, PlaneKind, Rewrite, Seen, Stage};
use halod_core::protocol::{Endpoints, FromNode, Hello, Incarnation, PROTOCOL_VERSION, Token};
use halod_core::record::{End, Head, Input, Line, write_cluster_input, write_packet};
use halod_core::service::ServicePorts;
use halod_core::time::Instant;
use halod_core::wire::{Checksum, TcpFlags, TcpSegment};

use super::{Lines, RecordError, Replay};
use crate::monitor::Rule;

const CLIENT: &str = "198.51.100.7:40000";
/// The browser port of route 24, the first that moves to a second node.
const SERVICE: &str = "192.0.2.1:8024";

/// What the daemon is to the core, with a record.
struct Driver {
    cluster: Cluster,
    plane: Rewrite,
    now: Instant,
    record: Vec<u8>,
}

impl Driver {
    fn new() -> Self {
        let cluster = ClusterConfig {
            routes: 24,
            reserve: 0,
            heartbeat: Duration::from_millis(100),
            misses: 3,
            drain: Duration::from_secs(30),
            pace: 1000,
            redial_timeout: Duration::from_millis(250),
            own_addresses: Vec::new(),
        };
        let plane = PlaneConfig {
            ports: ServicePorts::new(24, 8001..=8024, 9001..=9024).unwrap(),
            addresses: vec!["192.0.2.1".parse().unwrap()],
            source_ports: SourcePorts::new(&(1024..=32_767)).unwrap(),
            seed: 7,
        };
        let mut record = Vec::new();
        Head::new(Instant::ORIGIN, cluster.clone(), PlaneKind::Rewrite, plane.clone()).write(&mut record);
        let (cluster, plane) = (Cluster::new(Instant::ORIGIN, cluster), Rewrite::new(plane));
        Self { cluster, plane, now: Instant::ORIGIN, record }
    }

    fn join(&mut self, host: u8) {
        let (conn, peer) = (ConnId(host.into()), format!("10.2.1.{host}"));
        self.tell(ClusterInput::Opened { conn, peer: peer.parse().unwrap(), token: Token(host.into()) });
        let at = |port| format!("{peer}:{port}").parse::<SocketAddr>().unwrap();
        let endpoints = |port| Endpoints::try_from(vec![at(port)]).unwrap();
        let hello = Hello {
            version: PROTOCOL_VERSION,
            name: format!("n{host}"),
            incarnation: Incarnation(1),
            browser: endpoints(8000),
            app: endpoints(9000),
            admin: at(9001),
        };
        self.tell(ClusterInput::Received { conn, message: Ok(FromNode::Hello(hello)) });
    }

    fn tell(&mut self, input: ClusterInput) {
        self.now = self.now + Duration::from_millis(1);
        write_cluster_input(self.now, &input, &mut self.record);
        input.tell(self.now, &mut self.cluster);
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.cluster.poll() {
            if let Output::Publish(routing) = output {
                let input = Input::Publish { epoch: routing.epoch, masquerades: BTreeMap::new() };
                input.write(self.now, &mut self.record);
                self.plane.publish(self.now, routing, BTreeMap::new());
            }
        }
    }

    fn client_sends(&mut self, flags: TcpFlags, sequence: u32) {
        self.packet(Stage::Ingress, [CLIENT, SERVICE], flags, sequence);
    }

    fn packet(&mut self, stage: Stage, [source, destination]: [&str; 2], flags: TcpFlags, sequence: u32) {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let segment =
            TcpSegment { source, destination, sequence, acknowledgement: 0, flags, window: 0, payload: b"secret" };
        self.now = self.now + Duration::from_millis(1);
        let mut packet = segment.to_bytes();
        write_packet(self.now, Seen::Stage(stage), Checksum::Ready, &mut packet, &mut self.record);
        self.plane.handle(self.now, stage, Checksum::Ready, &mut packet);
    }

    fn text(self) -> String {
        String::from_utf8(self.record).unwrap()
    }
}

/// A connection to n1 that its client resets; its route moves to n2; another connection between the same ends.
fn record() -> String {
    let mut driver = Driver::new();
    driver.join(1);
    driver.carry_out();
    driver.client_sends(TcpFlags::SYN, 100);
    driver.packet(Stage::Egress { local: false }, ["10.2.1.1:8000", CLIENT], TcpFlags::SYN | TcpFlags::ACK, 900);
    driver.client_sends(TcpFlags::ACK, 107);
    driver.client_sends(TcpFlags::RST, 113);
    driver.join(2);
    driver.carry_out();
    driver.client_sends(TcpFlags::SYN, 0xABCD);
    driver.text()
}

/// Replays all lines, up to the first that breaks an invariant, and gives its number.
fn replay(record: &str) -> (Replay, Option<u64>) {
    let mut lines = Lines::new("a.record", record.as_bytes());
    let (mut replay, mut broken) = (None, None);
    while let Some((number, line)) = lines.next_line().unwrap() {
        match line {
            Line::Head(head) => replay = Some(Replay::new(&head)),
            Line::Input(at, input) => {
                let replay = replay.as_mut().unwrap();
                replay.feed(number, at, input, &mut |_, _| {});
                if replay.broken().is_some() {
                    broken = Some(number);
                    break;
                }
            }
            Line::End(_) => break,
        }
    }
    (replay.unwrap(), broken)
}

#[test]
fn a_record_is_decided_as_it_was() {
    let (replay, broken) = replay(&record());
    assert_eq!((replay.broken(), broken), (None, None));
    let expected = "\
recorded by  halod 0.1.0, 24 routes
duration     0.009 s
inputs       11: 2 connections opened and ended, 2 messages, 5 packets, 2 routings
nodes        n1, n2
flows        2 begun, 1 at most at a time
own packets  0 that the plane had to send by itself
decisions    as they were recorded
table        of epoch 2
    1 | 1 1 1 1 1 1 1 1 1 1 1 1 2 2 2 2 2 2 2 2 2 2 2 2
   holders: 1=n1 2=n2
";
    assert_eq!(replay.summary().to_string(), expected);
}

#[test]
fn no_payload_is_recorded() {
    let hex: String = b"secret".iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!record().contains(&hex));
}

#[test]
fn a_broken_invariant_is_found_where_it_breaks() {
    // HaloD has not seen the node's answer, and the last SYN gets the number of the first: one connection that two nodes have.
    let unanswered: String =
        record().lines().filter(|line| !line.contains("egress")).map(|line| format!("{line}\n")).collect();
    let (replay, line) = replay(&unanswered.replace("0000abcd", "00000064"));
    let broken = replay.broken().unwrap();
    assert_eq!((broken.rule, line), (Rule::OneNode, Some(11)));
    assert_eq!(
        broken.what,
        format!("{CLIENT} to {SERVICE}: its SYN went to 10.2.1.1:8000, which served it, then to 10.2.1.2:8000")
    );
}

#[test]
fn the_daemon_may_hear_several_things_before_it_does_one() {
    let mut driver = Driver::new();
    driver.join(1);
    driver.join(2);
    driver.carry_out();
    let (replay, broken) = replay(&driver.text());
    assert_eq!((replay.summary().divergence(), broken), (None, None));
}

#[test]
fn a_core_that_decides_otherwise_is_told_on_and_told_of() {
    let without = |part: &str| -> String {
        record().lines().filter(|line| !line.contains(part)).map(|line| format!("{line}\n")).collect()
    };
    let removed = without("{\"epoch\":2,");
    assert_eq!(replay(&removed).0.summary().divergence(), None, "the record may end before");
    let removed = without("{\"epoch\":1,").replace("[3000000,", "[2500000,\"timeout\"]\n[3000000,");
    let (replay_of_removed, broken) = replay(&removed);
    let divergence = replay_of_removed.summary().divergence().unwrap();
    assert_eq!((divergence.line, divergence.what.as_str()), (4, "here epoch 1 came into force before"));
    assert_eq!(broken, None);
    let more = record() + "[99000000,{\"publish\":{\"epoch\":3,\"masquerades\":{}}}]\n";
    let (replay, _) = replay(&more);
    let divergence = replay.summary().divergence().unwrap();
    assert_eq!((divergence.line, divergence.what.as_str()), (13, "there epoch 3 came into force, here it did not"));
}

/// The numbers of the lines that can be read, or the error.
fn read(text: &str) -> (Vec<u64>, bool, Option<String>) {
    let mut lines = Lines::new("a.record", text.as_bytes());
    let mut numbers = Vec::new();
    loop {
        match lines.next_line() {
            Ok(Some((number, _))) => numbers.push(number),
            Ok(None) => return (numbers, lines.is_torn(), None),
            Err(RecordError::Wrong(text)) => return (numbers, lines.is_torn(), Some(text)),
            Err(RecordError::Read { error, .. }) => panic!("{error}"),
        }
    }
}

#[test]
fn a_line_that_was_cut_off_is_passed_over_at_the_end_of_a_record() {
    let head = record().lines().next().unwrap().to_owned();
    let tick = "[1,\"timeout\"]";
    let all = |numbers: &[u64], torn| (numbers.to_vec(), torn, None);
    assert_eq!(read(&format!("{head}\n{tick}\n")), all(&[1, 2], false));
    assert_eq!(read(&format!("{head}\n{tick}\n[2,\"tim")), all(&[1, 2], true));
    assert_eq!(read(&format!("{head}\n[2,\"tim\n{head}\n{tick}\n")), all(&[1, 3, 4], true));
    let mut stopped = Vec::new();
    End::Stopped.write(&mut stopped);
    let stopped = String::from_utf8(stopped).unwrap();
    assert_eq!(read(&format!("{head}\n{stopped}{head}\n")), all(&[1, 2, 3], false));
}

#[test]
fn what_is_no_record_is_refused_with_its_place() {
    let head = record().lines().next().unwrap().to_owned();
    let check = |text: &str, expected: &str| {
        let (_, _, error) = read(text);
        assert_eq!(error.as_deref(), Some(expected));
    };
    check("", "error: the file is empty\n --> a.record:1:1\n  |\n1 |\n  | ^ a line of a record was expected");
    check(
        "GIF89a\n",
        "error: this is no record of `halod run --record`\n --> a.record:1:1\n  |\n1 | GIF89a\n  | ^ a line of a record was expected",
    );
    check(
        &format!("{head}\n[1,\"timeout\"]\n[2,\"teatime\"]\n[3,\"timeout\"]\n"),
        "error: a line is wrong\n --> a.record:3:12\n  |\n3 | [2,\"teatime\"]\n  |            ^ unknown variant `teatime`, \
         expected one of `cluster`, `timeout`, `expire`, `publish`, `end`, `packet`, `look`, `ask`, `survey`",
    );
    let check = |former, latter, expected: &str| {
        let (_, _, error) = read(&(head.replace(former, latter) + "\n"));
        assert_eq!(error.unwrap().lines().next(), Some(expected));
    };
    check("\"halod_record\":3", "\"halod_record\":4", "error: a record of version 4; this is a reader of version 3");
    check("\"pace\":1000", "\"pace\":0", "error: a line is wrong");
}
