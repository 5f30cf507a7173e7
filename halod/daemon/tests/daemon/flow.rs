//! A browser and a node on the loopback, and how many packets the daemon was given.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::node::{Node, PATIENCE};

/// A connection through the daemon to its only node.
pub(crate) struct Flow {
    browser: TcpStream,
    accepted: TcpStream,
    /// Stays registered.
    _node: Node,
}

impl Flow {
    /// A node joins and owns all routes, and a browser connects.
    pub(crate) fn begin() -> Self {
        let listener = TcpListener::bind("127.1.0.1:8000").unwrap();
        let (node, welcome) = Node::join("n1", 1);
        assert_eq!(welcome["state"], "active", "{welcome}");
        let service = SocketAddr::from(([127, 0, 0, 1], 8001));
        let browser = TcpStream::connect_timeout(&service, PATIENCE).unwrap();
        let (accepted, from) = listener.accept().unwrap();
        assert_eq!((browser.peer_addr().unwrap(), from), (service, browser.local_addr().unwrap()));
        for end in [&browser, &accepted] {
            end.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        Self { browser, accepted, _node: node }
    }

    /// A byte to the node, and back.
    pub(crate) fn exchange(&mut self) {
        let mut byte = [7];
        self.browser.write_all(&byte).unwrap();
        self.accepted.read_exact(&mut byte).unwrap();
        self.accepted.write_all(&byte).unwrap();
        self.browser.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [7]);
    }

    /// The browser hears that its connection is over.
    pub(crate) fn hear_reset(&mut self) {
        let heard = self.browser.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(heard, Err(ErrorKind::ConnectionReset));
    }
}

/// How many packets the kernel has given to the daemon of this namespace: the number of the last one.
pub(crate) fn packets_queued() -> u64 {
    const ID_SEQUENCE: usize = 7;
    let listing = std::fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue").unwrap();
    listing.split_whitespace().nth(ID_SEQUENCE).unwrap().parse().unwrap()
}
