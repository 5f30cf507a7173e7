//! What the table holds: four chains, two sets, and the rules of the `rewrite` plane.
//!
//! ```text
//! ingress  prerouting  -300   to a service port; from a node to this host (masquerade); ICMP errors
//! output   output      -300   to a service port, from this host itself; ICMP errors
//! egress   postrouting +300   from a node; to a node (masquerade); ICMP errors
//! input    input       -300   from a node; ICMP errors
//! ```
//!
//! Destinations are rewritten before routing, sources after it: at prerouting a source that is this host's own would
//! be a martian. -300 is before conntrack and after defragmentation, +300 is after everything else.

use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use nix::libc;

use super::expression::{End, Expressions, Family, QueueExpression, WithoutListener};
use super::message::Attributes;
use super::transaction::Transaction;
use super::{OWN_MARK, RulesSpec};

/// ICMP errors about a packet: destination unreachable, source quench, time exceeded, parameter problem (RFC 792).
const ICMP_ERRORS: [std::ops::RangeInclusive<u8>; 2] = [3..=4, 11..=12];
/// The same of ICMPv6, with packet too big (RFC 4443).
const ICMPV6_ERRORS: std::ops::RangeInclusive<u8> = 1..=4;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// Elements in one message; an attribute, here the list of them, must stay below 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 1000;

const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;

/// The table of the daemon that serves `queue`.
pub(super) fn table_name(queue: u16) -> String {
    format!("halod-{queue}")
}

/// Everything, in a new table that takes the place of one that is there already.
pub(super) fn install(spec: &RulesSpec, queue: QueueExpression) -> Transaction {
    let table = table_name(spec.queue);
    let mut transaction = Transaction::new();
    // What is not there cannot be deleted, and what is there is no error to add.
    add_table(&mut transaction, &table);
    delete_table(&mut transaction, &table);
    add_table(&mut transaction, &table);
    for family in FAMILIES {
        add_node_set(&mut transaction, &table, family);
    }
    for chain in chains(spec, queue) {
        chain.add_to(&mut transaction, &table);
    }
    transaction
}

/// Removes the table with all it holds.
pub(super) fn delete_table(transaction: &mut Transaction, table: &str) {
    const NFTA_TABLE_NAME: u16 = 1;
    let attributes = Attributes::new().with_text(NFTA_TABLE_NAME, table);
    transaction.push(format!("the removal of table {table}"), libc::NFT_MSG_DELTABLE, 0, &attributes);
}

/// Puts nodes into the sets.
pub(super) fn add_nodes(transaction: &mut Transaction, table: &str, nodes: &[SocketAddr]) {
    change_nodes(transaction, libc::NFT_MSG_NEWSETELEM, NLM_F_CREATE, table, nodes);
}

/// Takes nodes out of the sets.
pub(super) fn delete_nodes(transaction: &mut Transaction, table: &str, nodes: &[SocketAddr]) {
    change_nodes(transaction, libc::NFT_MSG_DELSETELEM, 0, table, nodes);
}

fn add_table(transaction: &mut Transaction, table: &str) {
    const NFTA_TABLE_NAME: u16 = 1;
    let attributes = Attributes::new().with_text(NFTA_TABLE_NAME, table);
    transaction.push(format!("table inet {table}"), libc::NFT_MSG_NEWTABLE, NLM_F_CREATE, &attributes);
}

fn set_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "nodes4",
        Family::V6 => "nodes6",
    }
}

/// A set of `address . port`, each part padded to four bytes.
fn add_node_set(transaction: &mut Transaction, table: &str, family: Family) {
    const NFTA_SET_TABLE: u16 = 1;
    const NFTA_SET_NAME: u16 = 2;
    const NFTA_SET_KEY_TYPE: u16 = 4;
    const NFTA_SET_KEY_LEN: u16 = 5;
    const NFTA_SET_ID: u16 = 10;
    // The types are nftables' own (enum datatypes); the kernel only keeps them for `nft list ruleset`.
    const TYPE_IPADDR: u32 = 7;
    const TYPE_IP6ADDR: u32 = 8;
    const TYPE_INET_SERVICE: u32 = 13;
    let (id, address_type, key_length) = match family {
        Family::V4 => (1, TYPE_IPADDR, 4 + 4),
        Family::V6 => (2, TYPE_IP6ADDR, 16 + 4),
    };
    let attributes = Attributes::new()
        .with_text(NFTA_SET_TABLE, table)
        .with_text(NFTA_SET_NAME, set_name(family))
        .with_u32(NFTA_SET_KEY_TYPE, (address_type << 6) | TYPE_INET_SERVICE)
        .with_u32(NFTA_SET_KEY_LEN, key_length)
        .with_u32(NFTA_SET_ID, id);
    transaction.push(format!("set {}", set_name(family)), libc::NFT_MSG_NEWSET, NLM_F_CREATE, &attributes);
}

fn change_nodes(transaction: &mut Transaction, kind: i32, flags: u16, table: &str, nodes: &[SocketAddr]) {
    const NFTA_LIST_ELEM: u16 = 1;
    const NFTA_SET_ELEM_KEY: u16 = 1;
    const NFTA_DATA_VALUE: u16 = 1;
    for family in FAMILIES {
        let of_family: Vec<&SocketAddr> = nodes.iter().filter(|node| Family::of(node.ip()) == family).collect();
        for chunk in of_family.chunks(ELEMENTS_PER_MESSAGE) {
            let elements = chunk.iter().fold(Attributes::new(), |elements, node| {
                let value = Attributes::new().with_bytes(NFTA_DATA_VALUE, &set_key(node));
                let element = Attributes::new().with_nested(NFTA_SET_ELEM_KEY, &value);
                elements.with_nested(NFTA_LIST_ELEM, &element)
            });
            let attributes = Attributes::new()
                .with_text(NFTA_SET_ELEM_LIST_TABLE, table)
                .with_text(NFTA_SET_ELEM_LIST_SET, set_name(family))
                .with_nested(NFTA_SET_ELEM_LIST_ELEMENTS, &elements);
            transaction.push(format!("the change of set {}", set_name(family)), kind, flags, &attributes);
        }
    }
}

fn set_key(node: &SocketAddr) -> Vec<u8> {
    let mut key = match node.ip() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    key.extend_from_slice(&node.port().to_be_bytes());
    key.extend_from_slice(&[0, 0]);
    key
}

/// A base chain and its rules, each with what it is called in an error.
struct Chain {
    name: &'static str,
    /// `filter`, or `route`: routes anew if a rule's verdict changed the packet.
    kind: &'static str,
    hook: i32,
    priority: i32,
    rules: Vec<(String, Expressions)>,
}

impl Chain {
    fn add_to(&self, transaction: &mut Transaction, table: &str) {
        const NFTA_CHAIN_TABLE: u16 = 1;
        const NFTA_CHAIN_NAME: u16 = 3;
        const NFTA_CHAIN_HOOK: u16 = 4;
        const NFTA_CHAIN_TYPE: u16 = 7;
        const NFTA_HOOK_HOOKNUM: u16 = 1;
        const NFTA_HOOK_PRIORITY: u16 = 2;
        const NFTA_RULE_TABLE: u16 = 1;
        const NFTA_RULE_CHAIN: u16 = 2;
        const NFTA_RULE_EXPRESSIONS: u16 = 4;

        let hook = Attributes::new()
            .with_u32(NFTA_HOOK_HOOKNUM, self.hook as u32)
            .with_u32(NFTA_HOOK_PRIORITY, self.priority as u32);
        let attributes = Attributes::new()
            .with_text(NFTA_CHAIN_TABLE, table)
            .with_text(NFTA_CHAIN_NAME, self.name)
            .with_nested(NFTA_CHAIN_HOOK, &hook)
            .with_text(NFTA_CHAIN_TYPE, self.kind);
        transaction.push(
            format!("chain {} of type {}", self.name, self.kind),
            libc::NFT_MSG_NEWCHAIN,
            NLM_F_CREATE,
            &attributes,
        );

        for (label, expressions) in &self.rules {
            let attributes = Attributes::new()
                .with_text(NFTA_RULE_TABLE, table)
                .with_text(NFTA_RULE_CHAIN, self.name)
                .with_nested(NFTA_RULE_EXPRESSIONS, expressions.attributes());
            let flags = NLM_F_CREATE | NLM_F_APPEND;
            transaction.push(
                format!("a rule of chain {}: {label}", self.name),
                libc::NFT_MSG_NEWRULE,
                flags,
                &attributes,
            );
        }
    }
}

fn chains(spec: &RulesSpec, queue: QueueExpression) -> [Chain; 4] {
    let rules = RuleWriter { spec, queue };
    let masqueraded = |when_masquerading: Vec<_>| if spec.masquerade { when_masquerading } else { Vec::new() };
    let from_nodes = || rules.nodes(End::Source, &Expressions::new());
    let ingress = [rules.services(), masqueraded(rules.nodes(End::Source, &Expressions::new().destination_is_local()))];
    let egress = [from_nodes(), masqueraded(rules.nodes(End::Destination, &Expressions::new()))];

    let chain = |name, kind, hook, priority, own_rules: Vec<(String, Expressions)>| {
        let rules = [rules.own_packets(), own_rules, rules.icmp_errors()].concat();
        Chain { name, kind, hook, priority, rules }
    };
    [
        chain("ingress", "filter", libc::NF_INET_PRE_ROUTING, -300, ingress.concat()),
        chain("output", "route", libc::NF_INET_LOCAL_OUT, -300, rules.services()),
        chain("egress", "filter", libc::NF_INET_POST_ROUTING, 300, egress.concat()),
        chain("input", "filter", libc::NF_INET_LOCAL_IN, -300, from_nodes()),
    ]
}

/// Writes the rules, grouped by what they match.
struct RuleWriter<'a> {
    spec: &'a RulesSpec,
    queue: QueueExpression,
}

impl RuleWriter<'_> {
    fn own_packets(&self) -> Vec<(String, Expressions)> {
        vec![("own packets pass".into(), Expressions::new().mark(OWN_MARK).accept())]
    }

    fn services(&self) -> Vec<(String, Expressions)> {
        let mut rules = Vec::new();
        for &address in &self.spec.addresses {
            for ports in [&self.spec.browser_ports, &self.spec.app_ports] {
                let matched =
                    Expressions::new().destination(address).protocol(libc::IPPROTO_TCP).destination_ports(ports);
                let label = format!("queue {address} ports {}-{}", ports.start(), ports.end());
                rules.push((label, self.queued(matched, WithoutListener::Drop)));
            }
        }
        rules
    }

    /// TCP whose `end` is a node, where `condition` holds as well.
    fn nodes(&self, end: End, condition: &Expressions) -> Vec<(String, Expressions)> {
        let by_family = FAMILIES.map(|family| {
            let set = set_name(family);
            let matched = condition.clone().in_set(family, end, set);
            let label = match end {
                End::Source => format!("queue what comes from {set}"),
                End::Destination => format!("queue what goes to {set}"),
            };
            (label, self.queued(matched, WithoutListener::Drop))
        });
        by_family.into()
    }

    /// Errors about anything at all: only the daemon can tell which flow they are about, so none may be lost without it.
    fn icmp_errors(&self) -> Vec<(String, Expressions)> {
        let v4 = ICMP_ERRORS.map(|types| (Family::V4, libc::IPPROTO_ICMP, types));
        let v6 = [(Family::V6, libc::IPPROTO_ICMPV6, ICMPV6_ERRORS)];
        let rule = |(family, protocol, types)| {
            let matched = Expressions::new().family(family).protocol(protocol).icmp_types(&types);
            ("queue ICMP errors".into(), self.queued(matched, WithoutListener::Pass))
        };
        v4.into_iter().chain(v6).map(rule).collect()
    }

    fn queued(&self, matched: Expressions, without_listener: WithoutListener) -> Expressions {
        matched.queue(self.queue, self.spec.queue, without_listener)
    }
}
