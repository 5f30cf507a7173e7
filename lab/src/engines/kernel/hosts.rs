//! The processes of nodes and apps: this same executable, started again in a namespace.

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::mpsc::Sender;

use serde::{Deserialize, Serialize};

use super::netns::Netns;
use super::process::{Child, Report, Stderr};
use super::sockets;
use super::wire::Stamped;
use crate::actors::app::{App, AppConfig};
use crate::actors::node::{Node, NodeConfig};

/// The first word of the command line that makes this executable a host's process. The second is the length, in bytes, of
/// the JSON that stdin begins with, the host itself; it may be longer than any word can be.
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
    /// Starts its process inside `netns`; what it observes arrives at `reports`. On the main thread only, as
    /// [`Child::spawn`] says.
    ///
    /// # Errors
    ///
    /// If there can be no process, or it ends at once.
    pub fn start(&self, netns: &Netns, reports: Sender<Report<Stamped>>) -> io::Result<Child> {
        let json = serde_json::to_vec(self)?;
        let arguments = [SUBCOMMAND.to_owned(), json.len().to_string()];
        let mut child = Child::spawn(self.name(), netns, &arguments, Stderr::Inherit, reports)?;
        child.write(&json)?;
        Ok(child)
    }

    /// Reads the host of `length` bytes that stdin begins with. Commands may follow.
    ///
    /// # Errors
    ///
    /// `length` is no number, stdin ends before, or it is no host.
    pub fn read(length: &str) -> io::Result<Self> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let length = length.parse().map_err(|_| invalid(format!("{length:?} is no length")))?;
        let mut json = vec![0; length];
        // Not by way of `Stdin`, whose buffer would swallow the commands.
        File::from(io::stdin().as_fd().try_clone_to_owned()?).read_exact(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    }

    /// What the scenario calls it.
    pub fn name(&self) -> &str {
        match self {
            Host::Node(config) => &config.name,
            Host::App(config) => &config.name,
        }
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
