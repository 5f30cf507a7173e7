//! Who owned the route of each port, read as a table.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use halod_core::ids::{NodeId, RouteId, Side};
use halod_core::last_table::{LastHolder, LastTable};
use halod_core::plane::steer::{IpVersion, Owner};
use halod_core::protocol::Endpoints;
use halod_core::route_table::RouteTable;
use halod_core::service::ServicePorts;
use proptest::prelude::*;

/// What the rules knew.
#[derive(Debug, Clone, Default)]
struct Rules {
    owners: BTreeMap<u16, Owner>,
    holders: BTreeMap<(IpVersion, Owner), SocketAddr>,
}

/// Node number `number`: of each three one serves IPv4 only, one IPv6 only and one both.
fn holder(number: usize) -> LastHolder {
    let host = u16::try_from(number).unwrap() + 1;
    let v4 = Ipv4Addr::from(0x0a00_0000 | u32::from(host));
    let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host);
    let endpoints = |port| {
        let both = [SocketAddr::new(v4.into(), port), SocketAddr::new(v6.into(), port)];
        Endpoints::try_from(match number % 3 {
            0 => both[..1].to_vec(),
            1 => both[1..].to_vec(),
            _ => both.to_vec(),
        })
    };
    LastHolder { browser: endpoints(8000).unwrap(), app: endpoints(9000).unwrap() }
}

fn services(routes: u16) -> ServicePorts {
    ServicePorts::new(routes, 10_001..=10_000 + routes, 20_001..=20_000 + routes).unwrap()
}

/// The rules if the nodes of `order` hold ids 1, 2 and so on.
fn rules_of(routes: u16, order: &[usize]) -> Rules {
    let (services, mut table) = (services(routes), RouteTable::new(routes));
    let mut rules = Rules::default();
    for (index, &number) in order.iter().enumerate() {
        table.add_node().unwrap();
        let LastHolder { browser, app } = holder(number);
        for (side, endpoints) in [(Side::Browser, browser), (Side::App, app)] {
            let owner = Owner { id: NodeId::from_index(index), side };
            rules.holders.extend(endpoints.iter().map(|address| ((IpVersion::of(&address), owner), address)));
        }
    }
    for (index, owner) in table.owners().iter().enumerate() {
        let of_side = |side| (services.port(side, RouteId::from_index(index)), Owner { id: owner.unwrap(), side });
        rules.owners.extend(Side::ALL.map(of_side));
    }
    rules
}

fn read(routes: u16, rules: &Rules) -> Option<Vec<LastHolder>> {
    LastTable::read(&services(routes), &rules.owners, &rules.holders, BTreeSet::new()).map(|last| last.holders)
}

proptest! {
    #[test]
    fn the_holders_are_found_in_the_order_of_their_ids(
        (routes, order) in (1..80_u16).prop_flat_map(|routes| {
            let nodes: Vec<usize> = (0..usize::from(routes)).collect();
            let some = 1..=nodes.len();
            (Just(routes), proptest::sample::subsequence(nodes, some).prop_shuffle())
        }),
        broken in any::<prop::sample::Index>(),
    ) {
        let rules = rules_of(routes, &order);
        prop_assert_eq!(read(routes, &rules), Some(order.iter().map(|&number| holder(number)).collect()));

        let port = *rules.owners.keys().nth(broken.index(rules.owners.len())).unwrap();
        let Owner { id, side } = rules.owners[&port];
        let (mut of_another, mut of_the_other_side, mut of_nobody) = (rules.clone(), rules.clone(), rules.clone());
        of_another.owners.insert(port, Owner { id: NodeId::new(id.number() + 1).unwrap(), side });
        let [browser, app] = Side::ALL;
        of_the_other_side.owners.insert(port, Owner { id, side: if side == app { browser } else { app } });
        of_nobody.owners.remove(&port);
        let mut not_held = rules;
        not_held.holders.retain(|&(_, owner), _| owner != Owner { id, side });
        for rules in [of_another, of_the_other_side, of_nobody, not_held] {
            prop_assert_eq!(read(routes, &rules), None);
        }
    }
}

#[test]
fn what_is_no_table_of_these_ports_is_none() {
    assert_eq!(read(4, &Rules::default()), None, "there was no node");
    let rules = rules_of(4, &[0, 1]);
    assert_eq!((read(4, &rules).is_some(), read(3, &rules)), (true, None));
    assert_eq!(read(5, &rules), None);
    let more_nodes_than_routes =
        Rules { owners: [(10_001, Owner { id: NodeId::new(u16::MAX).unwrap(), side: Side::Browser })].into(), ..rules };
    assert_eq!(read(4, &more_nodes_than_routes), None);
}
