//! Heartbeats decide who is alive.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Test;
use crate::halod::{CONTROL, Halod, config};
use crate::node::Node;

pub(crate) const TESTS: &[Test] = &[("a_node_stays_while_it_beats", a_node_stays_while_it_beats)];

const INTERVAL: Duration = Duration::from_millis(100);

/// One node beats, a later one does not: by the time that the second is lost, the first would have been.
fn a_node_stays_while_it_beats() {
    let halod = Halod::start(&config(4).replace("\"60s\"", "\"100ms\"\nmisses = 3"));
    let (mut alive, welcome) = Node::join("alive", 1);
    let mut heart = Heart::of(&welcome);
    heart.beat();
    let joined = Instant::now();
    let (mut silent, _) = Node::join("silent", 2);
    silent.stream().set_nonblocking(true).unwrap();
    while silent.stream().peek(&mut [0]).is_err() {
        heart.beat();
        heart.hear();
    }
    assert!(joined.elapsed() >= INTERVAL * 7 / 2, "lost after {:?}", joined.elapsed());
    silent.hears_end();

    let assigned = std::iter::repeat_with(|| alive.hear()).find(|message| message["type"] == "assigned");
    assert_eq!(assigned.unwrap()["routes"], json!([[1, 4]]));
    halod.end_well();
}

/// A node's end of the heartbeats.
struct Heart {
    socket: UdpSocket,
    token: Value,
    seq: u64,
}

impl Heart {
    fn of(welcome: &Value) -> Self {
        assert_eq!((&welcome["heartbeat_ms"], &welcome["misses"]), (&json!(100), &json!(3)));
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket.connect(CONTROL).unwrap();
        socket.set_read_timeout(Some(INTERVAL * 100)).unwrap();
        Self { socket, token: welcome["token"].clone(), seq: 0 }
    }

    fn beat(&mut self) {
        self.seq += 1;
        let beat = json!({"type": "heartbeat", "token": self.token, "seq": self.seq, "connections": 0});
        self.socket.send(beat.to_string().as_bytes()).unwrap();
    }

    /// Waits for the next heartbeat of the daemon, which comes once an interval.
    fn hear(&mut self) {
        let mut datagram = [0; 256];
        let length = self.socket.recv(&mut datagram).unwrap();
        let beat: Value = serde_json::from_slice(&datagram[..length]).unwrap();
        assert_eq!((&beat["type"], &beat["token"]), (&json!("heartbeat"), &self.token));
    }
}
