//! UDP between two stacks.

use super::*;

fn pair() -> Pair {
    let addresses = |last| vec![v4(last), v6(last)];
    let client = StackConfig { udp: Some(0), ..host(addresses(1), 1) };
    Pair::of(&client, &StackConfig { udp: Some(PORT), ..host(addresses(2), 2) })
}

fn datagram(to: IpAddr, port: u16, text: &str) -> Order {
    Order::SendDatagram(SocketAddr::new(to, port), text.into())
}

#[test]
fn datagrams_of_both_versions_arrive() {
    let (_, server) = pair().client([datagram(v4(2), PORT, "four"), datagram(v6(2), PORT, "six")]);
    assert_eq!(server, ["datagram from 10.0.0.1: four", "datagram from fd00::1: six"]);
}

#[test]
fn the_port_may_be_any() {
    // The seed says which.
    let (client, _) = pair().server([datagram(v4(1), 49_153, "found")]);
    assert_eq!(client, ["datagram from 10.0.0.2: found"]);
}

#[test]
fn a_datagram_to_nobody_is_dropped_silently() {
    let mut pair = pair();
    assert_eq!(pair.client([datagram(v4(2), PORT + 1, "lost")]), (vec![], vec![]));
    assert_eq!(pair.packets, 1, "no answer");
}

#[test]
fn a_datagram_that_no_packet_holds_is_lost() {
    let mut pair = pair();
    let orders = [1_472, 1_473].map(|length| datagram(v4(2), PORT, &"x".repeat(length)));
    pair.client(orders);
    assert_eq!(pair.packets, 1);
}

#[test]
fn more_datagrams_than_the_buffer_holds_are_lost() {
    let mut pair = pair();
    pair.server.freeze(ONLY);
    for _ in 0..2 {
        pair.client((0..200).map(|n| datagram(v4(2), PORT, &n.to_string())));
    }
    pair.server.thaw(pair.now, ONLY);
    let (_, server) = pair.settle();
    assert_eq!((server.len(), server[0].as_str()), (256, "datagram from 10.0.0.1: 0"));
}

#[test]
fn a_killed_process_hears_nothing_and_the_next_one_does() {
    let mut pair = pair();
    pair.server.kill(pair.now, ONLY);
    assert_eq!(pair.client([datagram(v4(2), PORT, "lost")]), (vec![], vec![]));
    pair.server.start(pair.now, ONLY, Puppet::default());
    let (_, server) = pair.client([datagram(v4(2), PORT, "heard")]);
    assert_eq!(server, ["datagram from 10.0.0.1: heard"]);
}
