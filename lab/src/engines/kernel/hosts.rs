//! The processes of nodes and apps: this same executable, started again in a namespace.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::sockets;
use crate::actors::app::{App, AppConfig};
use crate::actors::node::{Node, NodeConfig};

/// The first word of the command line that makes this executable a host's process. The second is the host as JSON.
pub const SUBCOMMAND: &str = "host";

/// What a host's process is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Host {
    /// A fake node.
    Node(NodeConfig),
    /// An app.
    App(AppConfig),
}

impl Host {
    /// The command line that starts it.
    pub fn arguments(&self) -> [String; 2] {
        let json = serde_json::to_string(self).expect("a host has string keys only");
        [SUBCOMMAND.to_owned(), json]
    }

    /// Is this host until stdin ends.
    ///
    /// # Errors
    ///
    /// Addresses that cannot be listened on, or a lab that is gone.
    pub fn run(self) -> io::Result<()> {
        match self {
            Host::Node(config) => {
                let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
                let invalid = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
                let node = Node::new(config).map_err(invalid)?;
                let listen = node.listen();
                sockets::run(node, &listen, Some(any))
            }
            Host::App(config) => sockets::run(App::new(config), &[], None),
        }
    }
}
