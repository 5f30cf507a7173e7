//! The table that a former daemon left in the kernel: who held which node id.
//!
//! The kernel's rules know which id owns the route of each service port, and where its holder serves. That has to be a table of
//! N and M: what another config has left, or another hand, is none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::ids::{NodeId, Side};
use crate::plane::steer::{IpVersion, Owner};
use crate::protocol::Endpoints;
use crate::route_table::RouteTable;
use crate::service::ServicePorts;

/// What a former daemon left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastTable {
    /// Who held node ids 1..=M, in that order.
    pub holders: Vec<LastHolder>,
    /// Every address of a node that the rules knew: those of reserves, and of nodes that were gone, are among them.
    pub nodes: BTreeSet<SocketAddr>,
}

/// Where a node served that held an id. Its name the kernel does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastHolder {
    /// Browsers.
    pub browser: Endpoints,
    /// Apps.
    pub app: Endpoints,
}

impl LastTable {
    /// Reads the table from whom the connections to each service port were for, and where those went. `None` if that is no table
    /// of these service ports: the config was another, or there was no node.
    pub fn read(
        ports: &ServicePorts,
        owners: &BTreeMap<u16, Owner>,
        holders: &BTreeMap<(IpVersion, Owner), SocketAddr>,
        nodes: BTreeSet<SocketAddr>,
    ) -> Option<Self> {
        let mut table = RouteTable::new(ports.routes());
        let count = owners.values().map(|owner| owner.id.index() + 1).max()?;
        for _ in 0..count {
            table.add_node()?;
        }
        let owner = |port: u16| {
            let (side, route) = ports.locate(port)?;
            Some(Owner { id: table.owner(route)?, side })
        };
        let has_each = owners.len() == Side::ALL.len() * table.route_count();
        if !has_each || owners.iter().any(|(&port, &of_port)| owner(port) != Some(of_port)) {
            return None;
        }
        let endpoints = |owner| {
            let of_version = IpVersion::ALL.iter().filter_map(|&version| holders.get(&(version, owner)).copied());
            Endpoints::try_from(of_version.collect::<Vec<_>>()).ok()
        };
        let holder = |index| {
            let [browser, app] = Side::ALL.map(|side| endpoints(Owner { id: NodeId::from_index(index), side }));
            Some(LastHolder { browser: browser?, app: app? })
        };
        let holders: Vec<LastHolder> = (0..count).map(holder).collect::<Option<_>>()?;
        // No two nodes have the same address.
        let addresses = || holders.iter().flat_map(|holder| holder.browser.iter().chain(holder.app.iter()));
        let are_distinct = addresses().collect::<BTreeSet<_>>().len() == addresses().count();
        are_distinct.then_some(Self { holders, nodes })
    }
}
