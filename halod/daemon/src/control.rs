//! The control port: connections and datagrams of nodes, as events for one loop.
//!
//! Each connection is a task that only moves lines; what they mean is decided by the core. A peer that does not read
//! or never ends a line costs a bounded buffer and then its connection.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use halod_core::cluster::ConnId;
use halod_core::protocol::{DecodeError, FromNode, LineBuffer, decode_from_node};
use halod_core::routing::SessionId;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

/// Bytes that may wait for a peer that does not read.
const UNSENT_MAX: usize = 4 * 1024 * 1024;
/// Lines that leave in one write.
const LINES_AT_ONCE: usize = 1024;
/// How long the peer of a connection that is being closed has for reading what it was sent, and for closing its end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest datagram that is read; a heartbeat has about 80 bytes.
const DATAGRAM_MAX: usize = 2048;
/// Datagrams that are read in one go before the clock is looked at: one of each node that there may be.
const WAITING_MAX: usize = 4096;
/// What the kernel keeps of them meanwhile, in bytes: it counts some 800 for a heartbeat. Its default is full after 13 ms of
/// 2,048 nodes that send one every 100 ms.
const RECEIVE_BUFFER: usize = WAITING_MAX * 1024;
/// How long datagrams wait to be read together while there are any, as a part of the time between heartbeats, and at most.
/// Of 20,000 a second each would otherwise wake the loop. Whatever waits is read before a node is called silent, so this
/// only makes its silence begin that much later.
const DATAGRAM_PAUSE_PART: u32 = 20;
const DATAGRAM_PAUSE_MAX: Duration = Duration::from_millis(5);

/// What happened on the control port.
pub(crate) enum Event {
    Accepted(TcpStream, SocketAddr),
    Message(ConnId, Result<FromNode, DecodeError>),
    Ended(ConnId),
    Datagram(SocketAddr, Result<FromNode, DecodeError>),
    /// What came of dialling a suspect node.
    Redialed(SessionId, io::Result<TcpStream>),
}

/// The listening sockets of the control addresses, of which each IP version has at most one: a heartbeat leaves by the
/// socket that the node speaks to.
pub(crate) struct ControlPort {
    udp: Vec<DatagramSocket>,
}

struct DatagramSocket {
    address: SocketAddr,
    /// It does not block.
    socket: Rc<UdpSocket>,
}

impl ControlPort {
    /// Binds TCP and UDP on each address and lets their events flow to `events`. `heartbeat` is the time from one to the next.
    ///
    /// # Errors
    ///
    /// An address cannot be bound; the message names it.
    pub(crate) async fn open(
        addresses: &[SocketAddr],
        heartbeat: Duration,
        events: &mpsc::Sender<Event>,
    ) -> io::Result<Self> {
        let pause = (heartbeat / DATAGRAM_PAUSE_PART).min(DATAGRAM_PAUSE_MAX);
        let named = |address: SocketAddr| {
            move |error: io::Error| io::Error::new(error.kind(), format!("control address {address}: {error}"))
        };
        let mut udp = Vec::new();
        for &address in addresses {
            let listener = TcpListener::bind(address).await.map_err(named(address))?;
            let socket = Rc::new(UdpSocket::bind(address).map_err(named(address))?);
            socket.set_nonblocking(true)?;
            // Where this is not permitted, in a user namespace, the size is what the system allows to everybody.
            if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
                setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
            }
            tokio::task::spawn_local(accept(listener, events.clone()));
            tokio::task::spawn_local(receive(Rc::clone(&socket), pause, events.clone()));
            udp.push(DatagramSocket { address, socket });
        }
        Ok(Self { udp })
    }

    /// The datagrams that have arrived and not been read, [`WAITING_MAX`] of a socket at most: the kernel is asked, for the
    /// runtime hears of them only when it looks.
    pub(crate) fn waiting_datagrams(&self) -> Vec<Event> {
        self.udp.iter().flat_map(|own| waiting(&own.socket).take(WAITING_MAX)).collect()
    }

    /// Sends a datagram; one that cannot be sent at once is lost, like any datagram.
    pub(crate) fn send_datagram(&self, to: SocketAddr, bytes: &[u8]) {
        if let Some(DatagramSocket { socket, .. }) = self.udp.iter().find(|own| own.address.is_ipv4() == to.is_ipv4())
            && let Err(error) = socket.send_to(bytes, to)
        {
            tracing::trace!(%to, %error, "a heartbeat was not sent");
        }
    }
}

/// Dials a suspect node, in a task of its own. Whoever takes longer than `timeout` is as good as not there.
pub(crate) fn redial(node: SessionId, admin: SocketAddr, timeout: Duration, events: mpsc::Sender<Event>) {
    tokio::task::spawn_local(async move {
        let outcome = match tokio::time::timeout(timeout, TcpStream::connect(admin)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let _ = events.send(Event::Redialed(node, outcome)).await;
    });
}

/// The sending end of a control connection, which is closed when this is dropped.
pub(crate) struct Connection {
    lines: mpsc::UnboundedSender<Vec<u8>>,
    unsent: Rc<Cell<usize>>,
    task: AbortHandle,
    /// Dropped with the connection; the task hears of it even while the peer does not read.
    _open: oneshot::Sender<Infallible>,
}

impl Connection {
    /// Serves `stream` in a task of its own.
    pub(crate) fn serve(conn: ConnId, stream: TcpStream, events: mpsc::Sender<Event>) -> Self {
        // Without this, small messages wait for the acknowledgement of earlier ones.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        let (lines, outgoing) = mpsc::unbounded_channel();
        let (open, closing) = oneshot::channel();
        let unsent = Rc::new(Cell::new(0));
        let outgoing = Outgoing { lines: outgoing, unsent: Rc::clone(&unsent), closing };
        let task = tokio::task::spawn_local(serve(conn, reader, writer, events, outgoing));
        Self { lines, unsent, task: task.abort_handle(), _open: open }
    }

    /// Queues a line. A peer that has not read [`UNSENT_MAX`] bytes loses its connection, which is reported as ended.
    pub(crate) fn send(&self, line: Vec<u8>) -> Sent {
        let unsent = self.unsent.get();
        self.unsent.set(unsent + line.len());
        if unsent > UNSENT_MAX {
            self.task.abort();
            return Sent::GivenUp;
        }
        // The task may have ended already; its event is on the way.
        let _ = self.lines.send(line);
        Sent::Queued
    }
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    Queued,
    GivenUp,
}

async fn accept(listener: TcpListener, events: mpsc::Sender<Event>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if events.send(Event::Accepted(stream, peer)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // Out of descriptors, mostly: others may be closed in a moment.
                tracing::warn!(%error, "a control connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Datagrams that have arrived.
fn waiting(socket: &UdpSocket) -> impl Iterator<Item = Event> {
    let mut buffer = [0; DATAGRAM_MAX];
    std::iter::from_fn(move || {
        for _ in 0..WAITING_MAX {
            match socket.recv_from(&mut buffer) {
                Ok((length, from)) => return Some(Event::Datagram(from, decode_from_node(&buffer[..length]))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // An ICMP error for an earlier heartbeat; what waits behind it is read all the same.
                Err(_) => {}
            }
        }
        None
    })
}

async fn receive(socket: Rc<UdpSocket>, pause: Duration, events: mpsc::Sender<Event>) {
    loop {
        // The runtime is woken by each datagram that comes, and so watches only as long as there is none.
        if let Ok(watched) = socket.try_clone().and_then(tokio::net::UdpSocket::from_std) {
            let _ = watched.readable().await;
        }
        let mut are_any = true;
        while are_any {
            are_any = false;
            for event in waiting(&socket) {
                are_any = true;
                if events.send(event).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// The receiving end of what a [`Connection`] is told.
struct Outgoing {
    lines: mpsc::UnboundedReceiver<Vec<u8>>,
    /// Bytes in `lines`.
    unsent: Rc<Cell<usize>>,
    closing: oneshot::Receiver<Infallible>,
}

async fn serve(
    conn: ConnId,
    mut reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    events: mpsc::Sender<Event>,
    Outgoing { lines, unsent, closing }: Outgoing,
) {
    let conversation = async {
        let closed_here = tokio::select! {
            () = read(conn, &mut reader, &events) => false,
            done = write(writer, lines, &unsent) => done.is_ok(),
        };
        if closed_here {
            // Reading to the end keeps the kernel from answering unread bytes with RST, which could overtake our last
            // line.
            discard(&mut reader).await;
        } else {
            let _ = events.send(Event::Ended(conn)).await;
        }
    };
    let overdue = async {
        let _ = closing.await;
        tokio::time::sleep(CLOSE_TIMEOUT).await;
    };
    tokio::select! {
        () = conversation => {}
        () = overdue => {}
    }
}

/// Turns bytes into messages until the peer ends or nobody wants them any more.
async fn read(conn: ConnId, reader: &mut (impl AsyncRead + Unpin), events: &mpsc::Sender<Event>) {
    let mut lines = LineBuffer::default();
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let Ok(length @ 1..) = reader.read(&mut chunk).await else { return };
        lines.push(&chunk[..length]);
        loop {
            let message = match lines.next_line() {
                Ok(None) => break,
                Ok(Some(line)) => decode_from_node(&line),
                Err(error) => Err(error),
            };
            let unreadable = matches!(message, Err(DecodeError::LineTooLong));
            if events.send(Event::Message(conn, message)).await.is_err() {
                return;
            }
            if unreadable {
                // The core closes the connection; until then nothing more is taken in.
                return discard(reader).await;
            }
        }
    }
}

/// Writes lines until the connection is closed from here, then ends the stream. Lines that wait leave together: a node
/// that is told of a thousand moved routes costs a few system calls, not a thousand.
async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut lines: mpsc::UnboundedReceiver<Vec<u8>>,
    unsent: &Cell<usize>,
) -> io::Result<()> {
    let mut waiting = Vec::new();
    while lines.recv_many(&mut waiting, LINES_AT_ONCE).await > 0 {
        let bytes = waiting.concat();
        waiting.clear();
        writer.write_all(&bytes).await?;
        unsent.set(unsent.get() - bytes.len());
    }
    writer.shutdown().await
}

async fn discard(reader: &mut (impl AsyncRead + Unpin)) {
    let mut chunk = vec![0; 16 * 1024];
    while matches!(reader.read(&mut chunk).await, Ok(1..)) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that has this line to write and is closed then. The peer neither reads nor closes its end.
    async fn closes_in_time(line: &[u8]) {
        let (stream, _peer) = tokio::io::duplex(16);
        let (reader, writer) = tokio::io::split(stream);
        let (events, _inbox) = mpsc::channel(1);
        let (sender, lines) = mpsc::unbounded_channel();
        let (open, closing) = oneshot::channel();
        let outgoing = Outgoing { lines, unsent: Rc::new(Cell::new(line.len())), closing };
        sender.send(line.to_vec()).unwrap();
        drop((sender, open));
        let closed = tokio::time::timeout(2 * CLOSE_TIMEOUT, serve(ConnId(1), reader, writer, events, outgoing));
        closed.await.expect("it is closed in time");
    }

    #[tokio::test]
    async fn datagrams_that_wait_are_read_before_the_runtime_hears_of_them() {
        let local = tokio::task::LocalSet::new();
        let (events, mut inbox) = mpsc::channel(8);
        let open = async {
            ControlPort::open(&["127.0.0.1:0".parse().unwrap()], Duration::from_secs(1), &events).await.unwrap()
        };
        let port = local.run_until(open).await;
        let node = UdpSocket::bind("127.0.0.1:0").unwrap();
        for text in ["one", "two"] {
            node.send_to(text.as_bytes(), port.udp[0].socket.local_addr().unwrap()).unwrap();
        }
        let waiting = port.waiting_datagrams();
        let from_node =
            |event: &Event| matches!(event, Event::Datagram(from, Err(_)) if *from == node.local_addr().unwrap());
        assert_eq!((waiting.len(), waiting.iter().all(from_node)), (2, true));
        assert!(port.waiting_datagrams().is_empty());
        assert!(inbox.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_keeps_no_connection_open() {
        closes_in_time(&[b'x'; 17]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_close_keeps_no_connection_open() {
        closes_in_time(b"x").await;
    }
}
