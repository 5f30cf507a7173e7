//! The last table: what the rules know of it as nodes come and go, and how that is read.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use halod_core::flow::SourcePorts;
use halod_core::ids::{NodeId, RouteId, Side};
use halod_core::last_table::{LastHolder, LastTable};
use halod_core::plane::steer::{IpVersion, Known, Owner};
use halod_core::plane::{PlaneConfig, Steer};
use halod_core::protocol::Endpoints;
use halod_core::route_table::RouteTable;
use halod_core::routing::{Member, Routing, SessionId};
use halod_core::service::ServicePorts;
use halod_core::time::Instant;
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
        let mut held_twice = rules_of(routes, &order);
        let (&(version, owner), &address) = held_twice.holders.iter().nth(broken.index(held_twice.holders.len())).unwrap();
        let other = Owner { id: NodeId::new(owner.id.number() % u16::try_from(order.len()).unwrap() + 1).unwrap(), ..owner };
        held_twice.holders.insert((version, other), address);
        if order.len() > 1 {
            prop_assert_eq!(read(routes, &held_twice), None);
        }
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

/// A member that serves as [`holder`] does.
fn member(number: usize) -> Arc<Member> {
    let LastHolder { browser, app } = holder(number);
    Arc::new(Member { session: SessionId(number as u64), name: format!("n{number}"), browser, app })
}

/// What is published when the nodes of `order` hold ids 1, 2 and so on.
fn routing_of(routes: u16, order: &[usize]) -> Routing {
    let mut table = RouteTable::new(routes);
    let holders: Vec<Arc<Member>> = order.iter().map(|&number| member(number)).collect();
    holders.iter().for_each(|_| assert!(table.add_node().is_some()));
    let members = holders.iter().map(|member| (member.session, Arc::clone(member))).collect();
    Routing { owners: table.owners().to_vec(), holders, members, ..Routing::default() }
}

proptest! {
    /// Whoever came, went or changed places: the rules lead each port to the owner of its route, know no more, and a daemon that
    /// reads them goes on with the same holders.
    #[test]
    fn the_rules_know_the_table_that_is_in_force(
        (routes, orders) in (1..40_u16).prop_flat_map(|routes| {
            let nodes: Vec<usize> = (0..usize::from(routes)).collect();
            let some = 0..=nodes.len();
            (Just(routes), prop::collection::vec(proptest::sample::subsequence(nodes, some).prop_shuffle(), 1..6))
        }),
    ) {
        let services = services(routes);
        let config = PlaneConfig { ports: services, addresses: Vec::new(), source_ports: SourcePorts::new(&(0..=65_535)).unwrap(), seed: 0 };
        let (mut plane, mut known) = (Steer::new(config), Known::default());
        for order in &orders {
            let routing = routing_of(routes, order);
            plane.publish(Instant::ORIGIN, Arc::new(routing.clone()));
            known.apply(plane.take_changes());
            let (mut owners, mut addresses) = (0, 0);
            for index in 0..usize::from(routes) {
                let route = RouteId::from_index(index);
                for side in Side::ALL {
                    let owner = known.owners.get(&services.port(side, route));
                    owners += usize::from(owner.is_some());
                    for (version, like) in [(IpVersion::V4, "0.0.0.0"), (IpVersion::V6, "::")] {
                        let address = owner.and_then(|owner| known.holders.get(&(version, *owner))).copied();
                        let expected = routing.owner(route).and_then(|owner| owner.address(side, like.parse().unwrap()));
                        prop_assert_eq!(address, expected);
                    }
                }
            }
            for member in &routing.holders {
                addresses += member.service_addresses().count();
            }
            prop_assert_eq!((known.owners.len(), known.holders.len()), (owners, addresses));
            let rules = Rules { owners: known.owners.clone(), holders: known.holders.clone() };
            let holders: Vec<LastHolder> = order.iter().map(|&number| holder(number)).collect();
            prop_assert_eq!(read(routes, &rules), Some(holders).filter(|holders| !holders.is_empty()));
        }
    }
}
