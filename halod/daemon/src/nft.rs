//! The nf_tables rules that hand packets to the daemon: one table, installed by netlink.
//!
//! The table stays when the daemon dies. That of the `rewrite` plane then drops what it queued: without it this host's own TCP
//! would answer the packets of flows that it knows nothing of, and reset them. That of `steer` forwards on. The next daemon
//! replaces the table. This module decides *which* packets are queued and at which hook; what becomes of them is the
//! business of the data plane.

mod expression;
mod last;
mod maps;
mod rewrite;
mod steer;
mod table;
mod transaction;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::sys::socket::{setsockopt, sockopt};

use self::expression::QueueExpression;
pub use self::last::LastRules;
pub use self::steer::SteerRules;
pub(crate) use self::steer::tracking;
pub use self::transaction::RulesError;
use self::transaction::Transaction;
use crate::queue::Queues;

/// The mark (`SO_MARK`, `NFQA_MARK`) of packets that the daemon sends itself; the rules let them pass. ASCII "HALO".
pub const OWN_MARK: u32 = 0x4841_4c4f;

/// What the rules are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesSpec {
    /// The queues. Those of `steer` use the first only.
    pub queues: Queues,
    /// The service addresses.
    pub addresses: Vec<IpAddr>,
    /// The browser ports, one a route.
    pub browser_ports: RangeInclusive<u16>,
    /// The app ports, one a route.
    pub app_ports: RangeInclusive<u16>,
    /// Whether nodes see an address of this host instead of the client's. Needs the nf_tables `fib` expression.
    pub masquerade: bool,
    /// On the `steer` plane, whether all packets of all flows are queued, for counting.
    pub every_packet: bool,
}

/// The installed table. Dropping this leaves it in force; [`Rules::remove`] ends it.
pub struct Rules {
    socket: Socket,
    table: String,
    nodes: BTreeSet<SocketAddr>,
}

impl Rules {
    /// Installs the rules in the network namespace of the calling thread, without any node. A table that a former
    /// daemon left is replaced in the same transaction, so that no packet passes between the two.
    ///
    /// Queued packets without a listener are dropped (ICMP errors pass): bind the queues first. That also keeps a second
    /// daemon from replacing the rules of one that runs, for the kernel gives a queue to one process only.
    ///
    /// # Errors
    ///
    /// [`RulesError`]: the right is missing, or the kernel lacks an expression. Former rules are still in force then.
    pub fn install(spec: &RulesSpec) -> Result<Self, RulesError> {
        let socket = open()?;
        with_either_queue(|queue| rewrite::install(spec, queue).commit(&socket))?;
        Ok(Self { socket, table: table::table_name(spec.queues), nodes: BTreeSet::new() })
    }

    /// Adds service addresses of nodes, as far as they are not known, in one transaction.
    ///
    /// # Errors
    ///
    /// [`RulesError`]; none of them is in force then.
    pub fn add_nodes(&mut self, nodes: impl Iterator<Item = SocketAddr>) -> Result<(), RulesError> {
        let added: Vec<SocketAddr> = nodes.filter(|node| !self.nodes.contains(node)).collect();
        if added.is_empty() {
            return Ok(());
        }
        let mut transaction = Transaction::new();
        rewrite::add_nodes(&mut transaction, &self.table, &added);
        transaction.commit(&self.socket)?;
        self.nodes.extend(added);
        Ok(())
    }

    /// Makes `nodes` the service addresses of nodes, whose packets are queued. Costs the difference to those before,
    /// and is one transaction.
    ///
    /// # Errors
    ///
    /// [`RulesError`]; the former nodes are still in force then.
    pub fn set_nodes(&mut self, nodes: &BTreeSet<SocketAddr>) -> Result<(), RulesError> {
        let added: Vec<SocketAddr> = nodes.difference(&self.nodes).copied().collect();
        let removed: Vec<SocketAddr> = self.nodes.difference(nodes).copied().collect();
        if added.is_empty() && removed.is_empty() {
            return Ok(());
        }
        let mut transaction = Transaction::new();
        rewrite::delete_nodes(&mut transaction, &self.table, &removed);
        rewrite::add_nodes(&mut transaction, &self.table, &added);
        transaction.commit(&self.socket)?;
        self.nodes = nodes.clone();
        Ok(())
    }

    /// Removes the table.
    ///
    /// # Errors
    ///
    /// [`RulesError`]; the table is still in force then.
    pub fn remove(self) -> Result<(), RulesError> {
        let mut transaction = Transaction::new();
        table::delete_table(&mut transaction, &self.table);
        transaction.commit(&self.socket)
    }
}

/// Removes the table that a daemon left which served these queues; `false` if there is none. Takes effect in the network namespace
/// of the calling thread.
///
/// # Errors
///
/// [`RulesError`]; the table is still in force then.
pub fn remove(queues: Queues) -> Result<bool, RulesError> {
    let mut transaction = Transaction::new();
    table::delete_table(&mut transaction, &table::table_name(queues));
    match transaction.commit(&open()?) {
        Ok(()) => Ok(true),
        Err(error) if error.is_unknown_to_the_kernel() => Ok(false),
        Err(error) => Err(error),
    }
}

/// A socket that takes a large transaction in one message, and all that the kernel has to say of it.
fn open() -> Result<Socket, RulesError> {
    const BUFFER: usize = 16 << 20;
    let mut socket = Socket::new(NETLINK_NETFILTER).map_err(RulesError::Socket)?;
    socket.bind_auto().map_err(RulesError::Socket)?;
    // Denied without the right to change rules, which is reported better by the first transaction.
    let _ = setsockopt(&socket, sockopt::SndBufForce, &BUFFER);
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER);
    Ok(socket)
}

/// Installs with nf_tables' own `queue` expression, or through nft_compat if the kernel is built without NFT_QUEUE.
fn with_either_queue(mut install: impl FnMut(QueueExpression) -> Result<(), RulesError>) -> Result<(), RulesError> {
    match install(QueueExpression::Native) {
        Err(error) if error.is_unknown_to_the_kernel() => install(QueueExpression::Target),
        other => other,
    }
}
