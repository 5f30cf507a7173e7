//! The table of the `rewrite` plane: four chains, two sets, and what is queued.
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
//!
//! With several queues each rule but those of ICMP errors, which go to the first, is there once for each queue; bits of the port
//! that the packet has for the client say which of them holds. So what goes one way stays in order. What goes the other way may have another
//! queue, if HaloD has changed the port.

use std::net::SocketAddr;

use nix::libc;

use super::expression::{End, Expressions, FAMILIES, Family, QueueExpression, WithoutListener};
use super::table::{Chain, DataType, Element, Set, address_bytes, replace_table, table_name};
use super::transaction::Transaction;
use super::{OWN_MARK, RulesSpec};

/// Linux gives connections ports of the same parity, so the lowest bit says nothing.
const PORT_BITS_PASSED_OVER: u16 = 1;

/// ICMP errors about a packet: destination unreachable, source quench, time exceeded, parameter problem (RFC 792).
const ICMP_ERRORS: [std::ops::RangeInclusive<u8>; 2] = [3..=4, 11..=12];
/// The same of ICMPv6, with packet too big (RFC 4443).
const ICMPV6_ERRORS: std::ops::RangeInclusive<u8> = 1..=4;

/// Everything, in a new table that takes the place of one that is there already.
pub(super) fn install(spec: &RulesSpec, queue: QueueExpression) -> Transaction {
    let table = table_name(spec.queues);
    let mut transaction = Transaction::new();
    replace_table(&mut transaction, &table);
    for (number, family) in (1..).zip(FAMILIES) {
        nodes(family).add_to(&mut transaction, &table, number);
    }
    for chain in chains(spec, queue) {
        chain.add_to(&mut transaction, &table);
    }
    transaction
}

/// Puts nodes into the sets.
pub(super) fn add_nodes(transaction: &mut Transaction, table: &str, addresses: &[SocketAddr]) {
    for family in FAMILIES {
        nodes(family).add_elements(transaction, table, &elements(family, addresses));
    }
}

/// Takes nodes out of the sets.
pub(super) fn delete_nodes(transaction: &mut Transaction, table: &str, addresses: &[SocketAddr]) {
    for family in FAMILIES {
        nodes(family).delete_elements(transaction, table, &elements(family, addresses));
    }
}

/// The set of the nodes' service addresses.
pub(super) fn nodes(family: Family) -> Set {
    let name = match family {
        Family::V4 => "nodes4",
        Family::V6 => "nodes6",
    };
    Set { name, key: DataType::Address(family), value: None }
}

fn elements(family: Family, addresses: &[SocketAddr]) -> Vec<Element> {
    let of_family = addresses.iter().filter(|address| Family::of(address.ip()) == family);
    of_family.map(|address| Element::key(address_bytes(address))).collect()
}

fn chains(spec: &RulesSpec, queue: QueueExpression) -> [Chain; 4] {
    let rules = RuleWriter { spec, queue };
    let masqueraded = |when_masquerading: Vec<_>| if spec.masquerade { when_masquerading } else { Vec::new() };
    let from_nodes = || rules.nodes(End::Source, |rule| rule);
    let ingress = [rules.services(), masqueraded(rules.nodes(End::Source, Expressions::destination_is_local))];
    let egress = [from_nodes(), masqueraded(rules.nodes(End::Destination, |rule| rule))];

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
                let label = format!("queue {address} ports {}-{}", ports.start(), ports.end());
                rules.extend(self.spread(&label, End::Source, |rule| {
                    rule.destination(address).protocol(libc::IPPROTO_TCP).destination_ports(ports)
                }));
            }
        }
        rules
    }

    /// TCP whose `end` is a node, where `condition` holds as well.
    fn nodes(&self, end: End, condition: fn(Expressions) -> Expressions) -> Vec<(String, Expressions)> {
        let by_family = FAMILIES.map(|family| {
            let set = nodes(family).name;
            let (label, client) = match end {
                End::Source => (format!("queue what comes from {set}"), End::Destination),
                End::Destination => (format!("queue what goes to {set}"), End::Source),
            };
            self.spread(&label, client, |rule| condition(rule).in_set(family, end, set))
        });
        by_family.concat()
    }

    /// Errors about anything at all: only the daemon can tell which flow they are about, so none may be lost without it.
    fn icmp_errors(&self) -> Vec<(String, Expressions)> {
        let v4 = ICMP_ERRORS.map(|types| (Family::V4, libc::IPPROTO_ICMP, types));
        let v6 = [(Family::V6, libc::IPPROTO_ICMPV6, ICMPV6_ERRORS)];
        let rule = |(family, protocol, types)| {
            let matched = Expressions::new().family(family).protocol(protocol).icmp_types(&types);
            ("queue ICMP errors".into(), matched.queue(self.queue, self.spec.queues.first(), WithoutListener::Pass))
        };
        v4.into_iter().chain(v6).map(rule).collect()
    }

    /// A rule for each queue: which it is, the port at the end of the client says.
    fn spread(
        &self,
        label: &str,
        client: End,
        matching: impl Fn(Expressions) -> Expressions,
    ) -> Vec<(String, Expressions)> {
        let queues = self.spec.queues;
        let bits = |number: u16| number << PORT_BITS_PASSED_OVER;
        let rule = |(index, number)| {
            let rule = match queues.count() {
                1 => Expressions::new(),
                // First of all, so that sets are looked into once.
                count => Expressions::new().port_within(client, bits(index), bits(count - 1)),
            };
            let matched = matching(rule);
            (label.to_owned(), matched.queue(self.queue, number, WithoutListener::Drop))
        };
        (0..).zip(queues.numbers()).map(rule).collect()
    }
}
