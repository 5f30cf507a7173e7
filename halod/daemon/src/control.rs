//! The control port: connections and datagrams of nodes, as events for one loop.
//!
//! Each connection is a task that only moves lines; what they mean is decided by the core. A peer that does not read
//! or never ends a line costs a bounded buffer and then its connection.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use halod_core::cluster::ConnId;
use halod_core::protocol::{DecodeError, FromNode, LineBuffer, decode_from_node};
use halod_core::routing::SessionId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Bytes that may wait for a peer that does not read.
const UNSENT_MAX: usize = 4 * 1024 * 1024;
/// How long a connection that is being closed may take to take what was sent.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest datagram that is read; a heartbeat has about 80 bytes.
const DATAGRAM_MAX: usize = 2048;

/// What happened on the control port.
pub(crate) enum Event {
    Accepted(TcpStream, SocketAddr),
    Message(ConnId, Result<FromNode, DecodeError>),
    Ended(ConnId),
    Datagram(SocketAddr, Result<FromNode, DecodeError>),
    /// What came of dialling a suspect node.
    Redialed(SessionId, io::Result<TcpStream>),
}

/// The listening sockets of all control addresses.
pub(crate) struct ControlPort {
    udp: Vec<Rc<UdpSocket>>,
}

impl ControlPort {
    /// Binds TCP and UDP on each address and lets their events flow to `events`.
    ///
    /// # Errors
    ///
    /// An address cannot be bound; the message names it.
    pub(crate) async fn open(addresses: &[SocketAddr], events: &mpsc::Sender<Event>) -> io::Result<Self> {
        let named = |address: SocketAddr| {
            move |error: io::Error| io::Error::new(error.kind(), format!("control address {address}: {error}"))
        };
        let mut udp = Vec::new();
        for &address in addresses {
            let listener = TcpListener::bind(address).await.map_err(named(address))?;
            let socket = Rc::new(UdpSocket::bind(address).await.map_err(named(address))?);
            tokio::task::spawn_local(accept(listener, events.clone()));
            tokio::task::spawn_local(receive(Rc::clone(&socket), events.clone()));
            udp.push(socket);
        }
        Ok(Self { udp })
    }

    /// Sends a datagram; one that cannot be sent at once is lost, like any datagram.
    pub(crate) fn send_datagram(&self, to: SocketAddr, bytes: &[u8]) {
        let same_version =
            |socket: &&Rc<UdpSocket>| socket.local_addr().is_ok_and(|local| local.is_ipv4() == to.is_ipv4());
        if let Some(socket) = self.udp.iter().find(same_version)
            && let Err(error) = socket.try_send_to(bytes, to)
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

/// The sending end of a control connection.
pub(crate) struct Connection {
    lines: mpsc::UnboundedSender<Vec<u8>>,
    unsent: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Connection {
    /// Serves `stream` in a task of its own.
    pub(crate) fn serve(conn: ConnId, stream: TcpStream, events: mpsc::Sender<Event>) -> Self {
        let (lines, outgoing) = mpsc::unbounded_channel();
        let unsent = Arc::new(AtomicUsize::new(0));
        let task = tokio::task::spawn_local(serve(conn, stream, events, outgoing, Arc::clone(&unsent)));
        Self { lines, unsent, task: task.abort_handle() }
    }

    /// Queues a line. A peer that has not read [`UNSENT_MAX`] bytes loses its connection, which is reported as ended.
    pub(crate) fn send(&self, line: Vec<u8>) -> Sent {
        if self.unsent.fetch_add(line.len(), Ordering::Relaxed) > UNSENT_MAX {
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

async fn receive(socket: Rc<UdpSocket>, events: mpsc::Sender<Event>) {
    let mut buffer = [0; DATAGRAM_MAX];
    loop {
        // An ICMP error for an earlier heartbeat shows here; the next datagram is read all the same.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        if events.send(Event::Datagram(from, decode_from_node(&buffer[..length]))).await.is_err() {
            return;
        }
    }
}

async fn serve(
    conn: ConnId,
    stream: TcpStream,
    events: mpsc::Sender<Event>,
    outgoing: mpsc::UnboundedReceiver<Vec<u8>>,
    unsent: Arc<AtomicUsize>,
) {
    // Without this, small messages wait for the acknowledgement of earlier ones.
    let _ = stream.set_nodelay(true);
    let (mut reader, writer) = stream.into_split();
    let closed_here = tokio::select! {
        () = read(conn, &mut reader, &events) => false,
        done = write(writer, outgoing, &unsent) => done.is_ok(),
    };
    if closed_here {
        // Reading to the end keeps the kernel from answering unread bytes with RST, which could overtake our last line.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, discard(&mut reader)).await;
    } else {
        let _ = events.send(Event::Ended(conn)).await;
    }
}

/// Turns bytes into messages until the peer ends or nobody wants them any more.
async fn read(conn: ConnId, reader: &mut OwnedReadHalf, events: &mpsc::Sender<Event>) {
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

/// Writes lines until the connection is closed from here, then ends the stream.
async fn write(
    mut writer: OwnedWriteHalf,
    mut outgoing: mpsc::UnboundedReceiver<Vec<u8>>,
    unsent: &AtomicUsize,
) -> io::Result<()> {
    while let Some(line) = outgoing.recv().await {
        writer.write_all(&line).await?;
        unsent.fetch_sub(line.len(), Ordering::Relaxed);
    }
    writer.shutdown().await
}

async fn discard(reader: &mut OwnedReadHalf) {
    let mut chunk = vec![0; 16 * 1024];
    while matches!(reader.read(&mut chunk).await, Ok(1..)) {}
}
