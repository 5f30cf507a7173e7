//! The least that makes any server a node of HaloD: `hello`, and then heartbeats.
//!
//! It takes no notice of what HaloD says after `welcome`: nothing else happens to a single node.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use halod_core::protocol::{
    Endpoints, FromNode, Heartbeat, Hello, Incarnation, NodeState, PROTOCOL_VERSION, ToNode, Welcome, decode_to_node,
    encode,
};

use crate::engines::kernel::netns::Netns;

/// How long HaloD may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where the node would take HaloD's redial. The control connection does not break, so nobody is there.
const ADMIN_PORT: u16 = 9001;

/// A node that is registered, until this is dropped.
pub(super) struct Registrar {
    _session: TcpStream,
    /// Ends the thread of the heartbeats when it is dropped.
    _alive: Sender<()>,
}

impl Registrar {
    /// Registers the host `netns`, which serves browsers and apps at these addresses, and waits until it owns the routes.
    pub(super) fn register(
        netns: &Netns,
        control: SocketAddr,
        browser: SocketAddr,
        app: SocketAddr,
    ) -> anyhow::Result<Self> {
        let mut session = netns.run(|| TcpStream::connect(control))?.context("halod's control port")?;
        session.set_read_timeout(Some(PATIENCE))?;
        session.write_all(&encode(&hello(browser, app)))?;
        let mut line = Vec::new();
        BufReader::new(&session).read_until(b'\n', &mut line).context("halod does not answer hello")?;
        let welcome = match decode_to_node(&line)? {
            ToNode::Welcome(welcome) if welcome.state == NodeState::Active => welcome,
            other => anyhow::bail!("halod answers hello with {other:?}"),
        };
        let socket = netns.run(|| UdpSocket::bind(session.local_addr().map(|own| SocketAddr::new(own.ip(), 0))?))??;
        socket.connect(control)?;
        let (alive, ended) = mpsc::channel();
        thread::Builder::new().name("heartbeats".into()).spawn(move || {
            let Welcome { token, heartbeat_ms, .. } = welcome;
            for seq in 1.. {
                let heartbeat = Heartbeat { token, seq, connections: None };
                // HaloD forgives one that is lost.
                let _ = socket.send(&encode(&FromNode::Heartbeat(heartbeat)));
                if ended.recv_timeout(Duration::from_millis(heartbeat_ms)) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
        })?;
        Ok(Self { _session: session, _alive: alive })
    }
}

fn hello(browser: SocketAddr, app: SocketAddr) -> FromNode {
    let endpoints = |address| Endpoints::try_from(vec![address]).expect("the server has an address");
    FromNode::Hello(Hello {
        version: PROTOCOL_VERSION,
        name: "server".into(),
        // No daemon meets two of them.
        incarnation: Incarnation(1),
        browser: endpoints(browser),
        app: endpoints(app),
        admin: SocketAddr::new(browser.ip(), ADMIN_PORT),
    })
}
