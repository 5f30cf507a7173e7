//! The table that a former daemon left in the kernel, read backwards: who held which node id.
//!
//! The kernel's rules know where the connections to each service port go, and no more. As the table is a function of N and M
//! alone, that is enough: M is the number of different owners, and node id i was held by whoever has the routes that the
//! table gives to i.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::ids::{NodeId, RouteId, Side};
use crate::plane::steer::IpVersion;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LastHolder {
    /// Browsers.
    pub browser: Endpoints,
    /// Apps.
    pub app: Endpoints,
}

impl LastTable {
    /// Reads the table from where the connections to each port went. `None` if that is no table of these service ports:
    /// the config was another, or there was no node.
    pub fn read(
        ports: &ServicePorts,
        by_port: &BTreeMap<(IpVersion, u16), SocketAddr>,
        nodes: BTreeSet<SocketAddr>,
    ) -> Option<Self> {
        if by_port.keys().any(|&(_, port)| ports.locate(port).is_none()) {
            return None;
        }
        let endpoints = |port: u16| {
            let of_port = IpVersion::ALL.iter().filter_map(|&version| by_port.get(&(version, port)).copied());
            Endpoints::try_from(of_port.collect::<Vec<_>>()).ok()
        };
        let holder = |route| {
            let [browser, app] = [Side::Browser, Side::App].map(|side| endpoints(ports.port(side, route)));
            Some(LastHolder { browser: browser?, app: app? })
        };
        let routes = (0..usize::from(ports.routes())).map(RouteId::from_index);
        let owners: Vec<LastHolder> = routes.map(holder).collect::<Option<_>>()?;

        let mut table = RouteTable::new(ports.routes());
        let count = owners.iter().collect::<BTreeSet<_>>().len();
        for _ in 0..count {
            table.add_node();
        }
        let of_id = |index| owners[table.routes_of(NodeId::from_index(index))[0].index()];
        let holders: Vec<LastHolder> = (0..count).map(of_id).collect();
        let fits = |(owner, id): (&LastHolder, &Option<NodeId>)| id.is_some_and(|id| holders[id.index()] == *owner);
        owners.iter().zip(table.owners()).all(fits).then_some(Self { holders, nodes })
    }
}
