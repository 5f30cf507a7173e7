//! Which silence is a loss, and what proves nothing.

use std::net::SocketAddr;
use std::time::Duration;

use halod_core::protocol::decode_from_node;

use crate::bench::{Bench, HEARTBEAT, host};

#[test]
fn silence_is_a_loss_after_three_and_a_half_heartbeats() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.beat_from(1, 1, 1, 1);
    assert!(!bench.pass(Duration::from_millis(349)).contains("closed"));
    assert!(bench.pass(Duration::from_millis(1)).ends_with("n1 closed\nepoch 2 held by \n"));
}

#[test]
fn a_node_without_a_heartbeat_yet_may_have_to_wait_for_its_token() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    assert!(!bench.pass(Duration::from_millis(3_499)).contains("closed"));
    assert!(bench.pass(Duration::from_millis(1)).contains("n1 closed"));
}

#[test]
fn a_daemon_that_was_late_itself_blames_nobody() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.now = bench.now + Duration::from_secs(1);
    bench.timeout();
    assert!(!bench.outputs().contains("closed"));
}

#[test]
fn forged_heartbeats_are_counted_and_do_not_keep_a_node_alive() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.beat_from(1, 1, 1, 1);
    bench.pass(Duration::from_millis(200));
    bench.beat_from(1, 2, 1, 1);
    bench.beat_from(1, 1, 99, 2);
    bench.cluster.receive_datagram(bench.now, SocketAddr::new(host(1), 1), &decode_from_node(b"nonsense"));
    assert_eq!(bench.cluster.beats_ignored(), 3);
    assert!(bench.pass(Duration::from_millis(150)).contains("n1 closed"));
}

#[test]
fn an_old_heartbeat_proves_nothing() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.beat_from(1, 1, 1, 7);
    bench.pass(Duration::from_millis(200));
    bench.beat_from(1, 1, 1, 7);
    assert_eq!(bench.cluster.beats_ignored(), 1);
    assert!(bench.pass(Duration::from_millis(150)).contains("n1 closed"));
}

#[test]
fn beats_are_answered_where_they_came_from() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.beat_from(1, 1, 1, 1);
    assert_eq!(bench.outputs(), "beat 1 to 10.0.0.1:5001\n", "the first at once");
    bench.beat_from(1, 1, 1, 2);
    assert_eq!(bench.pass(2 * HEARTBEAT), "beat 2 to 10.0.0.1:5001\nbeat 3 to 10.0.0.1:5001\n");
}
