//! How long much takes.

use super::*;

#[test]
fn a_large_message_takes_two_round_trips() {
    let buffers = Buffers::LARGE;
    let server = StackConfig { listen: vec![PORT], buffers, ..host(vec![v4(2)], 2) };
    let mut pair = Pair::of(&StackConfig { buffers, ..host(vec![v4(1)], 1) }, &server);
    pair.latency = Duration::from_millis(1);
    let address = pair.server_address(PORT);
    pair.client([Order::Dial(C, address)]);
    pair.client.command(pair.now, ONLY, Order::Send(C, "x".repeat(64 << 10)));
    // The first window is 65,535 bytes: the last byte has to wait for it to move.
    let (client, _) = pair.settle_for(Duration::from_millis(4));
    assert_eq!(client.last().unwrap(), "7 acked 65536");
}
