//! Drivers on the loopback interface, each in a thread of its own, spoken to through pipes as by another process.

use std::io::{BufRead, BufReader, PipeReader, PipeWriter};
use std::thread::{self, JoinHandle};

use super::*;
use crate::puppet::{Order, Puppet, said};

struct Host {
    /// Where it listens, if it does.
    address: Option<SocketAddr>,
    /// Where its datagrams arrive.
    udp: SocketAddr,
    stdin: Option<PipeWriter>,
    stdout: BufReader<PipeReader>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Host {
    fn start(listen: &[SocketAddr]) -> Self {
        let (stdin, stdin_writer) = io::pipe().unwrap();
        let (stdout_reader, stdout) = io::pipe().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let driver = Driver::new(Puppet::default(), listen, Some(any), stdin.into(), BufWriter::new(stdout)).unwrap();
        Self {
            address: driver.listeners.first().map(|listener| listener.local_addr().unwrap()),
            udp: driver.udp.as_ref().unwrap().local_addr().unwrap(),
            stdin: Some(stdin_writer),
            stdout: BufReader::new(stdout_reader),
            thread: Some(thread::spawn(move || driver.run())),
        }
    }

    fn order(&mut self, order: &Order) {
        let mut line = serde_json::to_vec(order).unwrap();
        line.push(b'\n');
        self.stdin.as_mut().unwrap().write_all(&line).unwrap();
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        said(serde_json::from_str::<Stamped>(&line).unwrap().observation)
    }

    /// The next things that it says are these.
    fn says(&mut self, expected: &[&str]) {
        let actual: Vec<String> = expected.iter().map(|_| self.next()).collect();
        assert_eq!(actual, expected);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stdin = None;
        let ended = self.thread.take().unwrap().join();
        if !thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

/// Connection 7 of the first host is connection 0 of the second.
fn connected() -> (Host, Host) {
    let mut server = Host::start(&["127.0.0.1:0".parse().unwrap()]);
    let mut client = Host::start(&[]);
    let address = server.address.unwrap();
    client.order(&Order::Dial(7, address));
    client.says(&["7 connected"]);
    server.says(&[&format!("accept 0 at {address} from 127.0.0.1")]);
    (client, server)
}

#[test]
fn bytes_acknowledgements_and_fin() {
    let (mut client, mut server) = connected();
    client.order(&Order::Send(7, "hello".into()));
    client.says(&["7 acked 5"]);
    server.says(&["0 received hello"]);
    server.order(&Order::Send(0, "world!".into()));
    server.says(&["0 acked 6"]);
    client.says(&["7 received world!"]);
    client.order(&Order::Send(7, "more".into()));
    client.says(&["7 acked 9"]);
    server.says(&["0 received more"]);
    client.order(&Order::Finish(7));
    server.says(&["0 peer finished", "0 ended Closed"]);
    client.says(&["7 peer finished", "7 ended Closed"]);
}

#[test]
fn acknowledgements_come_as_events_here() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert!(!ack_events::AckEvents::start(&stream).need_polling());
}

#[test]
fn nobody_listens() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut client = Host::start(&[]);
    client.order(&Order::Dial(7, unused));
    client.says(&["7 ended Refused"]);
    // A dial that the kernel does not even start: no address of this machine leads there.
    client.order(&Order::Dial(8, "[::ffff:0:0]:0".parse().unwrap()));
    client.says(&["8 ended Refused"]);
}

#[test]
fn an_abort_is_a_reset_at_the_other_end_after_the_last_byte() {
    let (mut client, mut server) = connected();
    server.order(&Order::Send(0, "last".into()));
    server.says(&["0 acked 4"]);
    server.order(&Order::Abort(0));
    client.says(&["7 received last", "7 ended Reset"]);
}

#[test]
fn a_reset_after_fin_is_not_taken_for_a_close() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = Host::start(&[]);
    client.order(&Order::Dial(7, listener.local_addr().unwrap()));
    let (peer, _) = listener.accept().unwrap();
    client.says(&["7 connected"]);
    client.order(&Order::Send(7, "unread".into()));
    client.says(&["7 acked 6"]);
    client.order(&Order::Finish(7));
    // Closing with unread bytes sends RST.
    drop(peer);
    client.says(&["7 ended Reset"]);
}

#[test]
fn what_the_kernel_does_not_take_at_once_is_sent_in_order() {
    let (mut client, mut server) = connected();
    let text: String = (0..600_000).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    for chunk in text.as_bytes().chunks(200_000) {
        client.order(&Order::Send(7, String::from_utf8(chunk.to_vec()).unwrap()));
    }
    client.order(&Order::Finish(7));
    let mut received = String::new();
    loop {
        let line = server.next();
        match line.strip_prefix("0 received ") {
            Some(bytes) => received.push_str(bytes),
            None => break assert_eq!(line, "0 peer finished"),
        }
    }
    assert!(received == text, "{} bytes arrived", received.len());
    let acked = std::iter::from_fn(|| Some(client.next())).take_while(|line| line.starts_with("7 acked")).last();
    assert_eq!(acked.unwrap(), "7 acked 600000");
}

#[test]
fn datagrams() {
    let (mut a, mut b) = (Host::start(&[]), Host::start(&[]));
    a.order(&Order::SendDatagram(b.udp, "ping".into()));
    b.says(&["datagram from 127.0.0.1: ping"]);
    drop(a);
}
