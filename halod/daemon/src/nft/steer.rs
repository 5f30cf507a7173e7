//! The table of the `steer` plane: what needs a decision is queued, all else the kernel translates by itself.
//!
//! ```text
//! untracked       output      -300   the daemon's own packets: they belong to no connection
//! decide          prerouting  -150   of no connection, to a service port or from a node: queued
//!                                    of a connection whose route is watched: queued
//! decide-own      output      -150   to a service port, from this host itself
//! strays          prerouting  -140   what nobody refused: of no connection and no SYN to a service port: dropped
//! strays-own      output      -140
//! translate       prerouting  -100   DNAT by the verdict's mark; without one by the last table, from port to owner to address
//! translate-own   output      -100
//! masquerade      postrouting  100
//! ```
//!
//! -150 is after connection tracking, -100 where its NAT is. A packet that no one decides about, because the daemon is dead
//! or its queue full, goes on at the next chain: a SYN to the last owner of its route, a stray nowhere. So flows are never
//! picked up in the middle of their stream (`nf_conntrack_tcp_loose`), and nothing from a node leaves without translation.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use halod_core::plane::steer::{Changes, Known, Mark, Tracking};
use netlink_sys::Socket;
use nix::libc;

use super::expression::{End, Expressions, FAMILIES, Family, QueueExpression, Tracked, WithoutListener};
use super::maps::{self, OWNERS, WATCHED, holders, marks};
use super::rewrite;
use super::table::{Chain, delete_table, replace_table, table_name};
use super::transaction::Transaction;
use super::{LastRules, OWN_MARK, RulesError, RulesSpec, open};

/// The marks by which the rules say what connection tracking knows of a packet. ASCII "HE" and a number.
const TRACKING: [(Tracking, u32); 3] =
    [(Tracking::New, 0x4845_0000), (Tracking::Known, 0x4845_0001), (Tracking::Invalid, 0x4845_0002)];

/// What the rules say of a queued packet by its mark. `None` if it was not they that queued it.
pub(crate) fn tracking(mark: u32) -> Option<Tracking> {
    TRACKING.iter().find(|(_, number)| *number == mark).map(|&(tracking, _)| tracking)
}

/// The installed table. Dropping this leaves it in force; [`SteerRules::remove`] ends it.
pub struct SteerRules {
    socket: Socket,
    table: String,
    /// What the kernel knows.
    known: Known,
    /// What the kernel refused to take; it is offered again with what comes next.
    refused: Changes,
}

impl SteerRules {
    /// Installs the rules in the network namespace of the calling thread. They begin with what `last` says; what a former
    /// daemon left is replaced in the same transaction.
    ///
    /// # Errors
    ///
    /// [`RulesError`]: the right is missing, or the kernel lacks an expression. Former rules are still in force then.
    pub fn install(spec: &RulesSpec, last: LastRules) -> Result<Self, RulesError> {
        let socket = open()?;
        let (table, last, mut known) = (table_name(spec.queues), last.into_changes(), Known::default());
        super::with_either_queue(|queue| {
            let mut transaction = install(spec, queue);
            maps::change(&mut transaction, &table, &known, &last);
            transaction.commit(&socket)
        })?;
        known.apply(last);
        Ok(Self { socket, table, known, refused: Changes::default() })
    }

    /// Tells the kernel what has changed, in one transaction, at the cost of that.
    ///
    /// # Errors
    ///
    /// [`RulesError`]; nothing has changed then, and these changes are part of the next.
    pub fn apply(&mut self, changes: Changes) -> Result<(), RulesError> {
        if changes.is_empty() && self.refused.is_empty() {
            return Ok(());
        }
        let mut all = std::mem::take(&mut self.refused);
        all.extend(changes);
        let changes = all.beyond(&self.known);
        let mut transaction = Transaction::new();
        maps::change(&mut transaction, &self.table, &self.known, &changes);
        let outcome = if transaction.is_empty() { Ok(()) } else { transaction.commit(&self.socket) };
        match outcome {
            Ok(()) => self.known.apply(changes),
            Err(_) => self.refused = changes,
        }
        outcome
    }

    /// Removes the table.
    ///
    /// # Errors
    ///
    /// [`RulesError`]; the table is still in force then.
    pub fn remove(self) -> Result<(), RulesError> {
        let mut transaction = Transaction::new();
        delete_table(&mut transaction, &self.table);
        transaction.commit(&self.socket)
    }
}

/// Everything but what the maps hold, in a new table that takes the place of one that is there already.
fn install(spec: &RulesSpec, queue: QueueExpression) -> Transaction {
    let table = table_name(spec.queues);
    let mut transaction = Transaction::new();
    replace_table(&mut transaction, &table);
    let of_families = FAMILIES.map(|family| [rewrite::nodes(family), holders(family), marks(family)]);
    for (number, set) in (1..).zip(of_families.as_flattened().iter().chain(&[OWNERS, WATCHED])) {
        set.add_to(&mut transaction, &table, number);
    }
    for chain in chains(spec, queue) {
        chain.add_to(&mut transaction, &table);
    }
    transaction
}

fn chains(spec: &RulesSpec, queue: QueueExpression) -> Vec<Chain> {
    let write = RuleWriter { spec, queue };
    let chain = |name, kind, hook, priority, rules: Vec<Rule>| Chain { name, kind, hook, priority, rules };
    let (prerouting, output) = (libc::NF_INET_PRE_ROUTING, libc::NF_INET_LOCAL_OUT);
    let decide = [
        write.unwatched(),
        write.watched(),
        write.going_on(),
        write.to_services(Tracked::New),
        write.of_nodes(Tracked::New),
        write.invalid(),
    ];
    let decide_own = [write.decided(), write.going_on(), write.to_services(Tracked::New)];
    let mut chains = vec![
        chain("untracked", "filter", output, -300, write.own_packets(Expressions::untracked)),
        chain("decide", "filter", prerouting, -150, decide.concat()),
        chain("decide-own", "filter", output, -150, decide_own.concat()),
        chain("strays", "filter", prerouting, -140, [write.going_on(), write.strays()].concat()),
        chain("strays-own", "filter", output, -140, [write.going_on(), write.strays_to_services()].concat()),
        chain("translate", "nat", prerouting, -100, write.translations()),
        chain("translate-own", "nat", output, -100, write.translations()),
    ];
    if spec.masquerade {
        chains.push(chain("masquerade", "nat", libc::NF_INET_POST_ROUTING, 100, write.masquerade()));
    }
    chains
}

type Rule = (String, Expressions);

/// What comes to the ports of one side at one address.
fn service(address: IpAddr, ports: &RangeInclusive<u16>) -> Rule {
    let matched = Expressions::new().destination(address).protocol(libc::IPPROTO_TCP);
    (format!("{address} ports {}-{}", ports.start(), ports.end()), matched.destination_ports(ports))
}

/// Writes the rules, grouped by what they are for.
struct RuleWriter<'a> {
    spec: &'a RulesSpec,
    queue: QueueExpression,
}

impl RuleWriter<'_> {
    fn own_packets(&self, verdict: impl Fn(Expressions) -> Expressions) -> Vec<Rule> {
        vec![("own packets".into(), verdict(Expressions::new().mark(OWN_MARK)))]
    }

    /// What the daemon sends itself, whether or not it is still to be translated.
    fn decided(&self) -> Vec<Rule> {
        let steered = Expressions::new().mark_within(Mark::PREFIX, Mark::PREFIX_MASK).accept();
        [self.own_packets(Expressions::accept), vec![("a SYN that was held passes".into(), steered)]].concat()
    }

    /// Nearly every packet, by one rule.
    fn unwatched(&self) -> Vec<Rule> {
        let going_on = Expressions::new().tracked_as(&[Tracked::Established, Tracked::Related]);
        let rule = ("what is not watched passes".into(), going_on.made_to_port_outside(WATCHED.name).accept());
        if self.spec.every_packet { Vec::new() } else { vec![rule] }
    }

    /// Packets of connections to watched ports, both ways.
    fn watched(&self) -> Vec<Rule> {
        let tracked = || Expressions::new().tracked_as(&[Tracked::Established]);
        let watched = |&address| {
            let matched = tracked().made_to_port_in(WATCHED.name).protocol(libc::IPPROTO_TCP).made_to(address);
            (format!("queue what is watched of {address}"), self.queued(matched, Tracking::Known))
        };
        let every = |(address, ports): (IpAddr, &RangeInclusive<u16>)| {
            let matched = tracked().made_to_ports(ports).protocol(libc::IPPROTO_TCP).made_to(address);
            (format!("queue all of {address}"), self.queued(matched, Tracking::Known))
        };
        if self.spec.every_packet {
            return self.address_and_ports().map(every).collect();
        }
        self.spec.addresses.iter().map(watched).collect()
    }

    /// No other rule has to look at these.
    fn going_on(&self) -> Vec<Rule> {
        let matched = Expressions::new().tracked_as(&[Tracked::Established, Tracked::Related]);
        vec![("what is tracked passes".into(), matched.accept())]
    }

    fn to_services(&self, tracked: Tracked) -> Vec<Rule> {
        let rule = |(label, matched): Rule| {
            (format!("queue {label}"), self.queued(matched.tracked_as(&[tracked]), of_packet(tracked)))
        };
        self.services().into_iter().map(rule).collect()
    }

    fn of_nodes(&self, tracked: Tracked) -> Vec<Rule> {
        let rule = |family| {
            let matched = from_node(family).tracked_as(&[tracked]);
            ("queue what comes from nodes".into(), self.queued(matched, of_packet(tracked)))
        };
        FAMILIES.map(rule).into()
    }

    fn invalid(&self) -> Vec<Rule> {
        [self.to_services(Tracked::Invalid), self.of_nodes(Tracked::Invalid)].concat()
    }

    fn strays(&self) -> Vec<Rule> {
        let from_node = |family| {
            let matched = from_node(family).tracked_as(&[Tracked::New, Tracked::Invalid]);
            ("drop strays of nodes".into(), matched.drop())
        };
        [self.strays_to_services(), FAMILIES.map(from_node).into()].concat()
    }

    fn strays_to_services(&self) -> Vec<Rule> {
        let rule = |(label, matched): Rule| {
            let stray = matched.clone().tracked_as(&[Tracked::New]).initial_syn(false).drop();
            let invalid = matched.tracked_as(&[Tracked::Invalid]).drop();
            [(format!("drop strays to {label}"), stray), (format!("drop what is invalid to {label}"), invalid)]
        };
        self.services().into_iter().flat_map(rule).collect()
    }

    fn translations(&self) -> Vec<Rule> {
        let rule = |(address, ports): (IpAddr, &RangeInclusive<u16>)| {
            let (family, (label, matched)) = (Family::of(address), service(address, ports));
            let by_mark = matched.clone().translate_by_mark(family, marks(family).name);
            let by_owner = matched.translate_by_owner(family, OWNERS.name, holders(family).name);
            [(format!("translate {label} by mark"), by_mark), (format!("translate {label} by owner"), by_owner)]
        };
        self.address_and_ports().flat_map(rule).collect()
    }

    /// Only flows of this table: nodes reply to this host then.
    fn masquerade(&self) -> Vec<Rule> {
        let rule = |(address, ports)| {
            let matched = Expressions::new().protocol(libc::IPPROTO_TCP).destination_was_translated();
            ("masquerade flows".into(), matched.made_to(address).made_to_ports(ports).masquerade())
        };
        self.address_and_ports().map(rule).collect()
    }

    fn services(&self) -> Vec<Rule> {
        self.address_and_ports().map(|(address, ports)| service(address, ports)).collect()
    }

    fn address_and_ports(&self) -> impl Iterator<Item = (IpAddr, &RangeInclusive<u16>)> {
        let ports = [&self.spec.browser_ports, &self.spec.app_ports];
        self.spec.addresses.iter().flat_map(move |&address| ports.map(|ports| (address, ports)))
    }

    fn queued(&self, matched: Expressions, tracking: Tracking) -> Expressions {
        let (_, mark) = TRACKING.iter().find(|(known, _)| *known == tracking).expect("every tracking has its mark");
        matched.set_mark(*mark).queue(self.queue, self.spec.queues.first(), WithoutListener::Pass)
    }
}

fn from_node(family: Family) -> Expressions {
    Expressions::new().in_set(family, End::Source, rewrite::nodes(family).name)
}

fn of_packet(tracked: Tracked) -> Tracking {
    match tracked {
        Tracked::New => Tracking::New,
        Tracked::Established | Tracked::Related => Tracking::Known,
        Tracked::Invalid => Tracking::Invalid,
    }
}
