//! Processes that are killed, frozen and started again, and hosts that lose power: what the other side sees of it.

use super::*;
use crate::actors::{ConnId, Input, Output};

const NOTHING: [&str; 0] = [];

/// A client with a connection to a server.
fn connected() -> Pair {
    let mut pair = Pair::new(4, &[]);
    let address = pair.server_address(PORT);
    pair.client([Order::Dial(C, address)]);
    pair
}

impl Pair {
    fn kill_server(&mut self) -> (Vec<String>, Vec<String>) {
        self.server.kill(self.now, ONLY);
        self.settle()
    }

    fn start_server(&mut self) {
        self.server.start(self.now, ONLY, Puppet::default());
    }

    fn thaw_server(&mut self) -> (Vec<String>, Vec<String>) {
        self.server.thaw(self.now, ONLY);
        self.settle()
    }

    fn server_sockets(&self) -> usize {
        self.server.stacks[0].stack.socket_count()
    }
}

#[test]
fn the_connections_of_a_killed_process_end_in_fin() {
    let mut pair = connected();
    let (client, server) = pair.kill_server();
    assert_eq!(client, ["7 peer finished", "7 ended Closed"]);
    assert_eq!(server, NOTHING);
    assert_eq!(pair.server_sockets(), 0);
}

#[test]
fn bytes_that_a_killed_process_has_not_read_end_in_rst() {
    let mut pair = connected();
    pair.server.freeze(ONLY);
    assert_eq!(pair.client([Order::Send(C, "unread".into())]).0, ["7 acked 6"]);
    assert_eq!(pair.kill_server().0, ["7 ended Reset"]);
}

#[test]
fn bytes_for_a_killed_process_are_answered_with_rst() {
    let mut pair = connected();
    pair.client([Order::Goodbye("unheard".into())]);
    assert_eq!(pair.kill_server().0, ["7 peer finished", "7 ended Reset"]);
}

#[test]
fn what_the_send_buffer_of_a_killed_process_holds_is_sent_and_no_more() {
    let mut pair = connected();
    pair.latency = Duration::from_millis(1);
    pair.server.command(pair.now, ONLY, Order::Send(S, "x".repeat(10_000)));
    pair.settle_for(Duration::ZERO);
    let (client, _) = pair.kill_server();
    let received: usize = client.iter().filter_map(|line| line.strip_prefix("7 received ")).map(str::len).sum();
    assert_eq!(received, Buffers::SMALL.send);
    assert_eq!(client[client.len() - 2..], ["7 peer finished", "7 ended Closed"]);
}

#[test]
fn a_killed_process_takes_its_commands_its_listeners_and_its_dials_with_it() {
    let mut pair = connected();
    pair.kill_server();
    let address = pair.server_address(PORT);
    assert_eq!(pair.client([Order::Dial(8, address)]).0, ["8 ended Refused"]);
    assert_eq!(pair.server([Order::Send(S, "from the grave".into())]), (vec![], vec![]));
    pair.server.power_off(ONLY);
    pair.packets = 0;
    pair.client.command(pair.now, ONLY, Order::Dial(9, address));
    pair.settle_for(Duration::ZERO);
    pair.client.kill(pair.now, ONLY);
    pair.settle();
    assert_eq!(pair.packets, 1, "the SYN");
}

#[test]
fn the_connections_that_a_killed_process_dialled_close_first() {
    let both = |last| StackConfig { listen: vec![PORT], ..host(vec![v4(last)], last.into()) };
    let mut pair = Pair::of(&both(1), &both(2));
    let address = pair.server_address(PORT);
    pair.client([Order::Dial(C, address)]);
    pair.server([Order::Dial(9, SocketAddr::new(v4(1), PORT))]);
    let (client, _) = pair.kill_server();
    assert_eq!(client[..2], ["0 peer finished", "7 peer finished"]);
}

#[test]
fn an_orphan_whose_peer_does_not_answer_is_gone_after_a_while() {
    let mut pair = connected();
    pair.client.power_off(ONLY);
    pair.server.kill(pair.now, ONLY);
    pair.settle_for(Duration::from_secs(59));
    assert_eq!(pair.server_sockets(), 1);
    pair.settle_for(Duration::from_secs(2));
    assert_eq!(pair.server_sockets(), 0);
}

#[test]
fn a_process_that_starts_again_is_a_new_one_and_orphans_stay() {
    let mut pair = connected();
    pair.latency = Duration::from_millis(1);
    pair.start_server();
    let address = pair.server_address(PORT);
    let (client, server) = pair.client([Order::Dial(8, address)]);
    assert_eq!(client, ["7 peer finished", "8 connected", "7 ended Closed"]);
    assert_eq!(server, ["accept 0 at 10.0.0.2:80 from 10.0.0.1"]);
}

#[test]
fn a_host_without_power_is_silent_and_has_forgotten_all_when_it_is_back() {
    let mut pair = connected();
    pair.packets = 0;
    pair.server.power_off(ONLY);
    pair.client.command(pair.now, ONLY, Order::Send(C, "anyone?".into()));
    pair.settle_for(Duration::from_millis(1));
    assert_eq!(pair.packets, 1, "of the client");
    pair.start_server();
    let (client, server) = pair.settle();
    assert_eq!(client, ["7 ended Reset"]);
    assert_eq!(server, NOTHING);
}

#[test]
fn a_host_on_which_nothing_runs_refuses() {
    let mut pair = connected();
    let config = StackConfig { listen: vec![PORT], ..host(vec![v4(2)], 3) };
    pair.server = Stacks::default();
    pair.server.add_idle(pair.now, &config);
    let address = pair.server_address(PORT);
    assert_eq!(pair.client([Order::Dial(8, address)]).0, ["8 ended Refused"]);
    pair.start_server();
    assert_eq!(pair.client([Order::Dial(9, address)]).0, ["9 connected"]);
}

#[test]
fn the_kernel_of_a_frozen_process_accepts_and_acknowledges() {
    let mut pair = connected();
    pair.server.freeze(ONLY);
    let address = pair.server_address(PORT);
    let orders = [Order::Dial(8, address), Order::Send(8, "hello".into()), Order::Finish(8)];
    let (client, server) = pair.client(orders);
    assert_eq!(client, ["8 connected", "8 acked 5"]);
    assert_eq!(server, NOTHING);
    assert_eq!(pair.next(), None, "the FIN is acknowledged: nothing is sent again");
    let (client, server) = pair.thaw_server();
    assert_eq!(client, ["8 peer finished", "8 ended Closed"]);
    let told = ["accept 1 at 10.0.0.2:80 from 10.0.0.1", "1 received hello", "1 peer finished", "1 ended Closed"];
    assert_eq!(server, told);
}

#[test]
fn a_frozen_process_takes_one_window_and_the_rest_later() {
    let mut pair = connected();
    pair.server.freeze(ONLY);
    let (client, _) = pair.client([Order::Send(C, "x".repeat(100_000))]);
    assert_eq!(client.last().unwrap(), "7 acked 8192");
    let (client, server) = pair.thaw_server();
    assert_eq!(client.last().unwrap(), "7 acked 100000");
    let received: usize = server.iter().filter_map(|line| line.strip_prefix("0 received ")).map(str::len).sum();
    assert_eq!(received, 100_000);
}

#[test]
fn the_backlog_of_a_frozen_process_is_bounded_and_further_dials_wait() {
    let mut pair = Pair::new(4, &[]);
    let address = pair.server_address(PORT);
    pair.server.freeze(ONLY);
    let (client, _) = pair.client((0..1_026).map(|n| Order::Dial(n, address)));
    assert_eq!(client.len(), 1_024);
    assert_eq!(client.iter().filter(|line| line.ends_with(" connected")).count(), 1_024);
    assert_eq!(pair.thaw_server().0, ["1024 connected", "1025 connected"]);
}

#[test]
fn a_dial_that_was_never_accepted_ends_in_rst() {
    let mut pair = Pair::new(4, &[]);
    let address = pair.server_address(PORT);
    pair.server.freeze(ONLY);
    assert_eq!(pair.client([Order::Dial(C, address)]).0, ["7 connected"]);
    assert_eq!(pair.kill_server().0, ["7 ended Reset"]);
}

#[test]
fn commands_for_a_frozen_process_wait() {
    let mut pair = connected();
    pair.server.freeze(ONLY);
    assert_eq!(pair.server([Order::Send(S, "later".into())]), (vec![], vec![]));
    assert_eq!(pair.thaw_server().0, ["7 received later"]);
}

#[test]
fn a_frozen_process_hears_what_came_before_it_learns_that_time_has_passed() {
    let mut pair = Pair::new(4, &[]);
    let udp = |last| StackConfig { udp: Some(PORT), ..host(vec![v4(last)], last.into()) };
    pair.client = Stacks::default();
    pair.client.add(pair.now, &udp(1), Puppet::default());
    let mut clocks = Stacks::default();
    let deadline = pair.now + Duration::from_secs(1);
    let clock = clocks.add(pair.now, &udp(2), Clock { deadline: Some(deadline), inputs: vec![] });
    clocks.poll(pair.now, &mut |_, _| {});
    clocks.freeze(clock);
    pair.client.command(pair.now, ONLY, Order::SendDatagram(SocketAddr::new(v4(2), PORT), "tick".into()));
    pair.client.poll(pair.now, &mut |_, packet| clocks.deliver(pair.now, clock, packet));
    let late = deadline + Duration::from_secs(1);
    clocks.poll(late, &mut |_, _| {});
    assert_eq!((clocks.observed().count(), clocks.next_wakeup()), (0, None));
    clocks.thaw(late, clock);
    clocks.poll(late, &mut |_, _| {});
    let lines: Vec<String> = clocks.observed().map(|seen| said(seen.observation)).collect();
    assert_eq!(lines, ["datagram", "timeout"]);
}

/// Says what it is told, once its time has come or before.
struct Clock {
    deadline: Option<Instant>,
    inputs: Vec<&'static str>,
}

impl Actor for Clock {
    type Command = ();

    fn command(&mut self, _now: Instant, (): ()) {}

    fn accept(&mut self, _now: Instant, _local: SocketAddr, _peer: SocketAddr) -> ConnId {
        ConnId(0)
    }

    fn handle(&mut self, _now: Instant, input: Input<'_>) {
        self.inputs.push(match input {
            Input::Timeout => {
                self.deadline = None;
                "timeout"
            }
            _ => "datagram",
        });
    }

    fn poll(&mut self) -> Option<Output> {
        let why = self.inputs.pop()?.to_owned();
        Some(Output::Observe(Observation::Garbled { user: String::new(), why }))
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}
