//! The table of the `steer` plane: how it is changed, what it outlives, and what is read of it.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use halod::nft::{self, LastRules, Rules, SteerRules};
use halod::queue::Queues;
use halod_core::plane::steer::{Changes, IpVersion};

use crate::changes::{mark_means, node, owner, port_leads_to, watched};
use crate::listener::Listener;
use crate::loopback::{V4, V6, begin_connection, is_refused, listen};
use crate::namespace::tables;
use crate::{QUEUE, Test, spec};

pub(crate) const TESTS: &[Test] = &[
    ("thousands_of_changes_are_one_transaction", thousands_of_changes_are_one_transaction),
    ("what_was_refused_is_offered_again", what_was_refused_is_offered_again),
    ("what_came_after_a_refusal_counts", what_came_after_a_refusal_counts),
    ("what_is_known_is_no_change", what_is_known_is_no_change),
    ("the_table_of_steer_outlives_an_unclean_end", the_table_of_steer_outlives_an_unclean_end),
    ("rules_begin_with_what_a_former_daemon_left", rules_begin_with_what_a_former_daemon_left),
    ("nothing_is_read_of_other_tables", nothing_is_read_of_other_tables),
    ("a_table_is_removed_once", a_table_is_removed_once),
];

/// Far more than fit into a message.
fn thousands_of_changes_are_one_transaction() {
    let mut all = Changes::default();
    for number in 1..=5000 {
        for address in [at(V4, number), at(V6, number)] {
            all.extend(port_leads_to(number, address));
            all.extend(mark_means(number, address));
            all.extend(node(address, true));
        }
        all.extend(watched(number, true));
    }
    let expected = |numbers: Range<u16>| {
        let addresses: Vec<_> = numbers.flat_map(|number| [at(V4, number), at(V6, number)]).collect();
        let ports: Vec<_> = addresses.iter().map(|&address| (address.port(), address)).collect();
        last(&ports, &addresses)
    };
    // One of them is refused, for another holder is there already. So none is taken.
    let mut rules = install();
    install().apply(port_leads_to(5000, at(V6, 1))).unwrap();
    rules.apply(all.clone()).unwrap_err();
    assert_eq!(read(), last(&[(5000, at(V6, 1))], &[]));

    let mut rules = install();
    rules.apply(all.clone()).unwrap();
    assert_eq!(read(), expected(1..5001));

    let all_but_one = Changes {
        owners: all.owners.into_keys().filter(|&port| port != 4711).map(|key| (key, None)).collect(),
        holders: all
            .holders
            .into_keys()
            .filter(|(_, owner)| owner.id.number() != 4711)
            .map(|key| (key, None))
            .collect(),
        marks: all.marks.into_keys().map(|key| (key, None)).collect(),
        nodes: all.nodes.into_keys().filter(|node| node.port() != 4711).map(|key| (key, false)).collect(),
        watched: all.watched.into_keys().map(|key| (key, false)).collect(),
    };
    rules.apply(all_but_one).unwrap();
    assert_eq!(read(), expected(4711..4712));
}

fn what_was_refused_is_offered_again() {
    let mut rules = install();
    nft::remove(Queues::one(QUEUE)).unwrap();
    let told = [port_leads_to(8001, at(V4, 1)), port_leads_to(8001, at(V6, 1)), node(at(V4, 2), true)];
    for changes in told {
        rules.apply(changes).unwrap_err();
    }
    rules.apply(Changes::default()).unwrap_err();

    let _same_table = install();
    rules.apply(node(at(V6, 2), true)).unwrap();
    assert_eq!(read(), last(&[(8001, at(V4, 1)), (8001, at(V6, 1))], &[at(V4, 2), at(V6, 2)]));
    // Once: in a third table it is not.
    let _third_table = install();
    rules.apply(node(at(V6, 3), true)).unwrap();
    assert_eq!(read(), last(&[], &[at(V6, 3)]));
}

fn what_came_after_a_refusal_counts() {
    let mut rules = install();
    rules.apply(node(at(V4, 1), true)).unwrap();
    nft::remove(Queues::one(QUEUE)).unwrap();
    for changes in [port_leads_to(8001, at(V4, 1)), port_leads_to(8001, at(V4, 2)), node(at(V4, 3), true)] {
        rules.apply(changes).unwrap_err();
    }
    SteerRules::install(&spec(&[V4, V6]), last(&[], &[at(V4, 1)])).unwrap();
    rules.apply(node(at(V4, 3), false)).unwrap();
    assert_eq!(read(), last(&[(8001, at(V4, 2))], &[at(V4, 1)]));
}

/// The kernel would refuse another address for what is there, and to delete what is not.
fn what_is_known_is_no_change() {
    let mut rules = install();
    for number in [1, 1, 2, 2] {
        for changes in [port_leads_to(8001, at(V4, number)), mark_means(1, at(V4, number))] {
            rules.apply(changes).unwrap();
        }
    }
    for is_there in [false, true, true, false, false] {
        rules.apply(node(at(V6, 1), is_there)).unwrap();
        rules.apply(watched(8001, is_there)).unwrap();
    }
    let nowhere = Changes {
        owners: [(8001, None)].into(),
        holders: port_leads_to(8001, at(V4, 2)).holders.into_keys().map(|place| (place, None)).collect(),
        ..Changes::default()
    };
    rules.apply(nowhere.clone()).unwrap();
    rules.apply(nowhere).unwrap();
    assert_eq!(read(), LastRules::default());

    // The kernel is not even asked.
    let known = [port_leads_to(8002, at(V4, 1)), mark_means(1, at(V4, 2)), node(at(V4, 1), true), watched(8002, true)];
    known.iter().for_each(|changes| rules.apply(changes.clone()).unwrap());
    nft::remove(Queues::one(QUEUE)).unwrap();
    known.into_iter().for_each(|changes| rules.apply(changes).unwrap());
}

fn the_table_of_steer_outlives_an_unclean_end() {
    let mut rules = install();
    let listener = Listener::bind();
    let owner = listen(V4);
    let address = owner.local_addr().unwrap();
    rules.apply(port_leads_to(8001, address)).unwrap();
    rules.apply(node(at(V6, 1), true)).unwrap();
    drop((rules, listener));
    assert_eq!(tables(), ["halod-7"]);
    assert_eq!(read(), last(&[(8001, address)], &[at(V6, 1)]));
    let _client = begin_connection(0, None, (V4, 8001));
    owner.accept().unwrap();
    assert!(is_refused(0, (V4, 8002)));
}

fn rules_begin_with_what_a_former_daemon_left() {
    let mut rules = install();
    rules.apply(port_leads_to(8001, at(V4, 1))).unwrap();
    rules.apply(port_leads_to(9001, at(V6, 1))).unwrap();
    rules.apply(node(at(V4, 1), true)).unwrap();
    rules.apply(mark_means(1, at(V4, 1))).unwrap();
    rules.apply(watched(8001, true)).unwrap();
    let left = last(&[(8001, at(V4, 1)), (9001, at(V6, 1))], &[at(V4, 1)]);
    assert_eq!(read(), left);

    let mut rules = SteerRules::install(&spec(&[V4, V6]), read()).unwrap();
    assert_eq!(read(), left);
    // They know what they began with, and that marks and what was watched are gone.
    rules.apply(port_leads_to(8001, at(V4, 2))).unwrap();
    rules.apply(node(at(V4, 1), false)).unwrap();
    rules.apply(mark_means(1, at(V4, 2))).unwrap();
    rules.apply(watched(8001, true)).unwrap();
    assert_eq!(read(), last(&[(8001, at(V4, 2)), (9001, at(V6, 1))], &[]));
    assert_eq!(tables(), ["halod-7"]);
}

fn nothing_is_read_of_other_tables() {
    assert_eq!(read(), LastRules::default());
    let mut other =
        SteerRules::install(&nft::RulesSpec { queues: Queues::one(QUEUE + 1), ..spec(&[V4]) }, LastRules::default())
            .unwrap();
    other.apply(port_leads_to(8001, at(V4, 1))).unwrap();
    assert_eq!(read(), LastRules::default());
    let mut rewrite = Rules::install(&spec(&[V4])).unwrap();
    rewrite.set_nodes(&[at(V4, 1)].into()).unwrap();
    assert_eq!(read(), LastRules::default());
}

fn a_table_is_removed_once() {
    let rules = install();
    assert_eq!(tables(), ["halod-7"]);
    rules.remove().unwrap();
    assert_eq!(tables(), [""; 0]);
    drop(install());
    assert!(nft::remove(Queues::one(QUEUE)).unwrap());
    assert_eq!(tables(), [""; 0]);
    assert!(!nft::remove(Queues::one(QUEUE)).unwrap());
}

fn install() -> SteerRules {
    SteerRules::install(&spec(&[V4, V6]), LastRules::default()).unwrap()
}

fn read() -> LastRules {
    LastRules::read(Queues::one(QUEUE)).unwrap()
}

fn last(ports: &[(u16, SocketAddr)], nodes: &[SocketAddr]) -> LastRules {
    let holder = |&(port, to): &(u16, SocketAddr)| ((IpVersion::of(&to), owner(port)), to);
    LastRules {
        owners: ports.iter().map(|&(port, _)| (port, owner(port))).collect(),
        holders: ports.iter().map(holder).collect(),
        nodes: nodes.iter().copied().collect(),
    }
}

fn at(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}
