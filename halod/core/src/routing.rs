//! What a data plane knows of the cluster: who owns each route now, and where every node listens.
//!
//! A [`Routing`] is published whole and never changed afterwards; readers swap one pointer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, NodeId, RouteId, Side};
use crate::protocol::Endpoints;

/// One registration of a node, from its `hello` until it has left or is lost. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A registered node as a data plane sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which registration this is.
    pub session: SessionId,
    /// What the node is known by.
    pub name: String,
    /// Where it serves browsers.
    pub browser: Endpoints,
    /// Where it serves apps.
    pub app: Endpoints,
}

impl Member {
    /// Where the node serves `side` over the IP version of `like`; `None` if it does not.
    pub fn address(&self, side: Side, like: IpAddr) -> Option<SocketAddr> {
        match side {
            Side::Browser => self.browser.matching(like),
            Side::App => self.app.matching(like),
        }
    }

    /// Whether this node and `other` serve on the same address and port: one is the other, started anew or back.
    pub fn shares_an_address_with(&self, other: &Member) -> bool {
        self.service_addresses().any(|address| other.service_addresses().any(|of_other| of_other == address))
    }

    /// All addresses that the node serves browsers and apps on.
    pub fn service_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.browser.iter().chain(self.app.iter())
    }
}

/// The route table of one epoch with the nodes behind it.
#[derive(Debug, Clone, Default)]
pub struct Routing {
    /// The version of the table.
    pub epoch: Epoch,
    /// The owner of routes 1..=N, in that order.
    pub owners: Vec<Option<NodeId>>,
    /// Who holds node ids 1..=M, in that order.
    pub holders: Vec<Arc<Member>>,
    /// Every registered node: active, in reserve, or leaving while its flows drain.
    pub members: BTreeMap<SessionId, Arc<Member>>,
    /// Members that may be gone: connections to them wait until that is known.
    pub suspects: BTreeSet<SessionId>,
}

impl Routing {
    /// The node that owns `route` now; `None` while nobody does.
    pub fn owner(&self, route: RouteId) -> Option<&Arc<Member>> {
        let id = (*self.owners.get(route.index())?)?;
        self.holders.get(id.index())
    }
}
