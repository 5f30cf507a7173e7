//! The rules of the `steer` plane, for the flows of other hosts: what is queued of them and where they are taken.

use halod::nft::{LastRules, RulesSpec, SteerRules};
use halod::queue::Queues;
use halod_core::plane::steer::Mark;

use crate::changes::{KNOWN, NEW, mark, mark_means, node, port_leads_to, watched};
use crate::listener::{Decision, Listener};
use crate::router::{HOSTS, Router};
use crate::segment::{ack, refusal, rst, syn, syn_ack, syn_with_ecn};
use crate::{QUEUE, Test};

pub(crate) const TESTS: &[Test] = &[
    ("a_syn_to_a_service_port_is_queued_and_no_other", a_syn_to_a_service_port_is_queued_and_no_other),
    ("the_mark_of_the_verdict_selects_the_address", the_mark_of_the_verdict_selects_the_address),
    ("without_a_mark_the_last_table_decides", without_a_mark_the_last_table_decides),
    ("without_a_listener_the_last_table_decides", without_a_listener_the_last_table_decides),
    ("a_flow_stays_where_it_began", a_flow_stays_where_it_began),
    ("packets_of_a_watched_port_are_queued", packets_of_a_watched_port_are_queued),
    ("a_watched_port_is_one_of_the_service_addresses", a_watched_port_is_one_of_the_service_addresses),
    ("every_packet_of_every_flow_can_be_queued", every_packet_of_every_flow_can_be_queued),
    ("nodes_see_the_router_when_masquerading", nodes_see_the_router_when_masquerading),
    ("only_flows_of_its_own_are_masqueraded", only_flows_of_its_own_are_masqueraded),
];

fn a_syn_to_a_service_port_is_queued_and_no_other() {
    let mut router = Router::new();
    for hosts in HOSTS {
        for port in [8001, 8024, 9001, 9024] {
            assert_eq!(router.receives(syn(hosts.client, hosts.service(port))), (vec![NEW], vec![]));
        }
        assert_eq!(router.receives(syn_with_ecn(hosts.client, hosts.service(8001))), (vec![NEW], vec![]));
        for port in [8000, 8025, 9000, 9025] {
            let refused = refusal(hosts.service(port), hosts.client);
            assert_eq!(router.receives(syn(hosts.client, hosts.service(port))), (vec![], vec![refused]));
        }
        let elsewhere = syn(hosts.client, hosts.node(8001));
        assert_eq!(router.receives(elsewhere), (vec![], vec![elsewhere]));
    }
}

fn the_mark_of_the_verdict_selects_the_address() {
    let mut router = Router::new();
    for hosts in HOSTS {
        let service = hosts.service(9001);
        router.apply(port_leads_to(service.port(), hosts.node(5000)));
        for (number, port) in [(1, 5001), (0xffff, 5002)] {
            let (client, node) = (hosts.client(number), hosts.node(port));
            router.apply(mark_means(number, node));
            router.decision = Decision::Mark(mark(number).number());
            assert_eq!(router.receives(syn(client, service)), (vec![NEW], vec![syn(client, node)]));
            assert_eq!(router.receives(syn_ack(node, client)), (vec![], vec![syn_ack(service, client)]));
            assert_eq!(router.receives(ack(client, service)), (vec![], vec![ack(client, node)]));
        }
    }
}

fn without_a_mark_the_last_table_decides() {
    let mut router = Router::new();
    for hosts in HOSTS {
        for port in [8001, 9024] {
            router.apply(port_leads_to(port, hosts.node(port)));
            router.apply(mark_means(1, hosts.node(5001)));
            let marks = [0, mark(2).number(), Mark::PREFIX >> 16 | 1];
            let decisions = [&[Decision::Pass][..], &marks.map(Decision::Mark)].concat();
            for (client, decision) in (4001..).map(|port| hosts.client(port)).zip(decisions) {
                router.decision = decision;
                let taken = vec![syn(client, hosts.node(port))];
                assert_eq!(router.receives(syn(client, hosts.service(port))), (vec![NEW], taken), "{decision:?}");
            }
        }
    }
}

/// The daemon is dead.
fn without_a_listener_the_last_table_decides() {
    let mut router = Router::new();
    router.listener = None;
    for hosts in HOSTS {
        let (client, service, node) = (hosts.client, hosts.service(8001), hosts.node(5001));
        // Nobody is the owner: the client is told.
        assert_eq!(router.receives(syn(client, service)), (vec![], vec![refusal(service, client)]));
        router.apply(port_leads_to(8001, node));
        assert_eq!(router.receives(syn(client, service)), (vec![], vec![syn(client, node)]));
        assert_eq!(router.receives(syn_ack(node, client)), (vec![], vec![syn_ack(service, client)]));
        assert_eq!(router.receives(ack(client, service)), (vec![], vec![ack(client, node)]));
    }
}

/// Whatever the rules learn later.
fn a_flow_stays_where_it_began() {
    let mut router = Router::new();
    for hosts in HOSTS {
        let (client, service) = (hosts.client, hosts.service(8001));
        let [former, owner] = [5001, 5002].map(|port| hosts.node(port));
        router.connect(client, service, former);
        router.apply(port_leads_to(8001, owner));
        router.apply(mark_means(0, owner));
        router.apply(node(former, true));
        assert_eq!(router.receives(ack(client, service)), (vec![], vec![ack(client, former)]));
        assert_eq!(router.receives(ack(former, client)), (vec![], vec![ack(service, client)]));
        router.listener = None;
        assert_eq!(router.receives(rst(client, service)), (vec![], vec![rst(client, former)]));
        router.listener = Some(Listener::bind());
    }
}

fn packets_of_a_watched_port_are_queued() {
    let mut router = Router::new();
    router.decision = Decision::Mark(0);
    for hosts in HOSTS {
        let [service, other] = [8001, 8002].map(|port| hosts.service(port));
        let [client, elsewhere] = [4001, 4002].map(|port| hosts.client(port));
        let [node, of_other] = [5001, 5002].map(|port| hosts.node(port));
        router.connect(client, service, node);
        router.connect(elsewhere, other, of_other);
        for (is_watched, queued) in [(false, vec![]), (true, vec![KNOWN]), (false, vec![])] {
            router.apply(watched(service.port(), is_watched));
            assert_eq!(router.receives(ack(client, service)), (queued.clone(), vec![ack(client, node)]));
            assert_eq!(router.receives(ack(node, client)), (queued, vec![ack(service, client)]));
            assert_eq!(router.receives(ack(elsewhere, other)), (vec![], vec![ack(elsewhere, of_other)]));
            assert_eq!(router.receives(ack(of_other, elsewhere)), (vec![], vec![ack(other, elsewhere)]));
        }
    }
}

fn a_watched_port_is_one_of_the_service_addresses() {
    let mut router = Router::new();
    router.apply(watched(8001, true));
    for hosts in HOSTS {
        let (client, elsewhere) = (hosts.client, hosts.node(8001));
        for packet in [syn(client, elsewhere), syn_ack(elsewhere, client), ack(client, elsewhere)] {
            assert_eq!(router.receives(packet), (vec![], vec![packet]));
        }
    }
}

fn every_packet_of_every_flow_can_be_queued() {
    let mut router = Router::with(|spec| spec.every_packet = true);
    router.decision = Decision::Mark(0);
    for hosts in HOSTS {
        for port in [8001, 8024, 9001, 9024] {
            let (client, service, node) = (hosts.client(port), hosts.service(port), hosts.node(5001));
            router.connect(client, service, node);
            assert_eq!(router.receives(ack(client, service)), (vec![KNOWN], vec![ack(client, node)]));
            assert_eq!(router.receives(ack(node, client)), (vec![KNOWN], vec![ack(service, client)]));
        }
        // Not a flow of a service, though it has a service's port.
        let (client, elsewhere) = (hosts.client, hosts.node(8001));
        for packet in [syn(client, elsewhere), syn_ack(elsewhere, client), ack(client, elsewhere)] {
            assert_eq!(router.receives(packet), (vec![], vec![packet]));
        }
    }
}

fn nodes_see_the_router_when_masquerading() {
    let mut router = Router::with(|spec| spec.masquerade = true);
    router.decision = Decision::Mark(mark(0).number());
    for hosts in HOSTS {
        for port in [8001, 9024] {
            let (client, service, node) = (hosts.client(port), hosts.service(port), hosts.node(5001));
            let seen = hosts.service(client.port());
            router.apply(mark_means(0, node));
            assert_eq!(router.receives(syn(client, service)), (vec![NEW], vec![syn(seen, node)]));
            assert_eq!(router.receives(syn_ack(node, seen)), (vec![], vec![syn_ack(service, client)]));
            assert_eq!(router.receives(ack(client, service)), (vec![], vec![ack(seen, node)]));
        }
        let elsewhere = syn(hosts.client, hosts.node(8001));
        assert_eq!(router.receives(elsewhere), (vec![], vec![elsewhere]));
    }
}

/// Those of another daemon are translated too, which does not make them flows of this one.
fn only_flows_of_its_own_are_masqueraded() {
    let mut router = Router::with(|spec| spec.masquerade = true);
    let others = RulesSpec {
        queues: Queues::one(QUEUE + 1),
        browser_ports: 7001..=7024,
        app_ports: 6001..=6024,
        ..router.spec.clone()
    };
    let mut others = SteerRules::install(&RulesSpec { masquerade: false, ..others }, LastRules::default()).unwrap();
    for hosts in HOSTS {
        others.apply(port_leads_to(7001, hosts.node(5001))).unwrap();
        let seen = syn(hosts.client, hosts.node(5001));
        assert_eq!(router.receives(syn(hosts.client, hosts.service(7001))), (vec![], vec![seen]));
    }
}
