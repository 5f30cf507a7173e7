//! Where the connections to each port went, read as a table.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use halod_core::ids::{RouteId, Side};
use halod_core::last_table::{LastHolder, LastTable};
use halod_core::plane::steer::IpVersion;
use halod_core::protocol::Endpoints;
use halod_core::route_table::RouteTable;
use halod_core::service::ServicePorts;
use proptest::prelude::*;

type Ports = BTreeMap<(IpVersion, u16), SocketAddr>;

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

/// Where connections go if the nodes of `order` hold ids 1, 2 and so on.
fn ports_of(routes: u16, order: &[usize]) -> Ports {
    let (services, mut table) = (services(routes), RouteTable::new(routes));
    for _ in order {
        table.add_node().unwrap();
    }
    let mut ports = Ports::new();
    for (index, owner) in table.owners().iter().enumerate() {
        let LastHolder { browser, app } = holder(order[owner.unwrap().index()]);
        for (side, endpoints) in [(Side::Browser, browser), (Side::App, app)] {
            let port = services.port(side, RouteId::from_index(index));
            ports.extend(endpoints.iter().map(|address| ((IpVersion::of(&address), port), address)));
        }
    }
    ports
}

fn read(routes: u16, ports: &Ports) -> Option<Vec<LastHolder>> {
    LastTable::read(&services(routes), ports, BTreeSet::new()).map(|last| last.holders)
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
        let mut ports = ports_of(routes, &order);
        prop_assert_eq!(read(routes, &ports), Some(order.iter().map(|&number| holder(number)).collect()));

        let (place, address) = ports.iter().map(|(place, address)| (*place, *address)).nth(broken.index(ports.len())).unwrap();
        ports.insert(place, SocketAddr::new(address.ip(), 1));
        // A node with few routes may be another one, or one more.
        let has_few = usize::from(routes) < 3 * (order.len() + 1);
        prop_assert!(read(routes, &ports).is_none() || has_few);
    }
}

#[test]
fn what_is_no_table_of_these_ports_is_none() {
    assert_eq!(read(4, &Ports::new()), None, "there was no node");
    let ports = ports_of(4, &[0, 1]);
    assert_eq!((read(4, &ports).is_some(), read(3, &ports)), (true, None));
    assert_eq!(read(5, &ports), None);
    let swapped: Ports = ports_of(4, &[0, 1])
        .into_iter()
        .map(|((version, port), address)| {
            let routes_1_and_4_changed = match port % 10_000 {
                1 => port + 3,
                4 => port - 3,
                _ => port,
            };
            ((version, routes_1_and_4_changed), address)
        })
        .collect();
    assert_eq!(read(4, &swapped), None, "{:?}", RouteTable::new(4).owners());
}
