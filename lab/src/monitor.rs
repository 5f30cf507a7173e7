//! Watches HaloD from outside of its code: what it publishes and where it sends packets, at every moment of a run.
//!
//! What is right is said here once more, in the plainest form that the design gives, so that HaloD's own code is not its
//! own judge. The first thing that is wrong is kept.

mod flows;
mod pace;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use halod_core::cluster::ClusterConfig;
use halod_core::ids::{Epoch, NodeId, Side};
use halod_core::plane::{PlaneConfig, PlaneKind, Stage};
use halod_core::routing::{Member, Routing, SessionId};
use halod_core::service::ServicePorts;
use halod_core::time::Instant;

use self::flows::Flows;
pub(crate) use self::flows::Head;
use self::pace::Pace;
use self::table::Tables;
use crate::network::tcp_endpoints;

/// A session that is younger may not have been heard yet, and then it may be silent for longer: its token can be under
/// way for the third time.
const YOUNG: Duration = Duration::from_secs(4);
/// How long it may be silent then.
const UNHEARD: Duration = Duration::from_secs(4);

/// What is wrong, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which rule does not hold.
    pub rule: Rule,
    /// When that was seen.
    pub at: Instant,
    /// What was seen.
    pub what: String,
}

/// A rule that holds at every moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Each route has one owner while a node is active, none otherwise.
    OneOwner,
    /// The numbers of routes of two nodes differ by one at most.
    Balance,
    /// The table is the one that N and M give.
    Table,
    /// The epoch grows with every change of an owner, and never falls.
    Epoch,
    /// A session holds one id at most.
    OneId,
    /// A session that is over owns no route.
    NoneDead,
    /// A node that is gone for longer than it takes to notice owns no route.
    Noticed,
    /// All packets of a flow reach one node.
    OneNode,
    /// No two flows look the same to a node.
    Distinct,
    /// An app is told at once that the node of its flow is lost.
    AppsTold,
    /// Browsers are ended no faster than at the pace.
    Pace,
    /// The flow table holds no more than the flows that were begun.
    Bounded,
}

/// The watch.
#[derive(Debug)]
pub(crate) struct Monitor {
    tables: Tables,
    ports: ServicePorts,
    addresses: Vec<IpAddr>,
    /// How soon apps have to be told.
    patience: Duration,
    /// A dead node has to be noticed within this time.
    notice: Duration,
    epoch: Epoch,
    /// Who held each id.
    holders: Vec<SessionId>,
    owners: Vec<Option<NodeId>>,
    /// Who is registered, and since when.
    members: BTreeMap<SessionId, (Instant, Arc<Member>)>,
    gone: BTreeSet<SessionId>,
    /// Sessions whose process is dead, and until when they may own routes.
    dead: BTreeMap<SessionId, Instant>,
    flows: Flows,
    pace: Pace,
    broken: Option<Broken>,
}

impl Monitor {
    /// A watch of a HaloD with this config.
    pub(crate) fn new(cluster: &ClusterConfig, kind: PlaneKind, plane: &PlaneConfig) -> Self {
        Self {
            tables: Tables::new(cluster.routes),
            ports: plane.ports,
            addresses: plane.addresses.clone(),
            patience: match kind {
                PlaneKind::Rewrite => cluster.heartbeat,
                // Who was sent an RST that may be lost is asked after 200 ms.
                PlaneKind::Steer => cluster.heartbeat + Duration::from_millis(200),
            },
            // The heartbeats that are forgiven and one more, and then a redial that nobody answers.
            notice: cluster.heartbeat * (cluster.misses + 2) + cluster.redial_timeout,
            epoch: Epoch::default(),
            holders: Vec::new(),
            owners: vec![None; usize::from(cluster.routes)],
            members: BTreeMap::new(),
            gone: BTreeSet::new(),
            dead: BTreeMap::new(),
            flows: Flows::new(kind),
            pace: Pace::new(cluster.pace),
            broken: None,
        }
    }

    /// What was wrong first.
    pub(crate) fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    /// How many flows were begun so far.
    pub(crate) fn flows_begun(&self) -> usize {
        self.flows.begun()
    }

    /// HaloD has put this into force.
    pub(crate) fn see_routing(&mut self, now: Instant, routing: &Routing) {
        self.check_table(now, routing);
        let holders: Vec<SessionId> = routing.holders.iter().map(|member| member.session).collect();
        let changed = holders != self.holders || routing.owners != self.owners;
        if routing.epoch < self.epoch || changed && routing.epoch == self.epoch {
            self.report(now, Rule::Epoch, format!("from {} to {}", self.epoch, routing.epoch));
        }
        if holders.iter().collect::<BTreeSet<_>>().len() < holders.len() {
            self.report(now, Rule::OneId, format!("the holders of ids 1, 2 and so on are {holders:?}"));
        }
        let since = |session: &SessionId| self.members.get(session).map_or(now, |&(since, _)| since);
        let members: BTreeMap<SessionId, (Instant, Arc<Member>)> =
            routing.members.iter().map(|(id, member)| (*id, (since(id), Arc::clone(member)))).collect();
        for (&session, (_, member)) in self.members.iter().filter(|(session, _)| !members.contains_key(session)) {
            self.gone.insert(session);
            let for_apps: Vec<SocketAddr> = member.app.iter().collect();
            self.flows.see_lost(&for_apps, now + self.patience);
        }
        let of_the_gone = |session: &&SessionId| self.gone.contains(session) || !members.contains_key(session);
        if let Some(session) = holders.iter().find(of_the_gone) {
            self.report(now, Rule::NoneDead, format!("session {session} holds an id after its end"));
        }
        (self.epoch, self.holders, self.members) = (routing.epoch, holders, members);
        self.owners.clone_from(&routing.owners);
    }

    fn check_table(&mut self, now: Instant, routing: &Routing) {
        let nodes = routing.holders.len();
        let orphan = routing.owners.iter().position(|owner| match owner {
            Some(owner) => owner.index() >= nodes,
            None => nodes > 0,
        });
        if let Some(index) = orphan {
            self.report(now, Rule::OneOwner, format!("route {} has no owner among {nodes} nodes", index + 1));
            return;
        }
        let mut counts = vec![0_usize; nodes];
        routing.owners.iter().flatten().for_each(|owner| counts[owner.index()] += 1);
        if let (Some(fewest), Some(most)) = (counts.iter().min(), counts.iter().max())
            && most > &(fewest + 1)
        {
            self.report(now, Rule::Balance, format!("one node owns {most} routes and another {fewest}"));
        }
        let expected = self.tables.of(nodes);
        let other = routing
            .owners
            .iter()
            .zip(expected)
            .position(|(owner, &expected)| owner.map(NodeId::number).unwrap_or_default() != expected);
        if let Some(index) = other {
            let (route, is, due) = (index + 1, routing.owners[index], expected[index]);
            let is = is.map_or("nobody".into(), |id| id.to_string());
            self.report(now, Rule::Table, format!("route {route} of {nodes} nodes is owned by {is}, not by {due}"));
        }
    }

    /// The plane has decided about a segment: `after` is what goes on, if it does.
    pub(crate) fn see_packet(&mut self, stage: Stage, before: Head, after: Option<&[u8]>) {
        match (stage, after.and_then(tcp_endpoints)) {
            (Stage::Egress { .. }, Some(ends)) => self.flows.see_leaving(before, ends),
            (Stage::Ingress, ends) if self.is_service(before.destination) => match ends {
                Some(look) if look.1 != before.destination => self.flows.see_forwarded(before, look),
                None if before.flags.is_initial_syn() => self.flows.see_held(before.source, before.destination),
                _ => {}
            },
            _ => {}
        }
    }

    /// The plane has answered a packet.
    pub(crate) fn see_answer(&mut self, answer: &mut [u8]) {
        if let Some(answer) = Head::of(answer) {
            self.flows.see_said(answer);
        }
    }

    /// The plane has sent a packet of its own accord.
    pub(crate) fn see_sent(&mut self, now: Instant, packet: &mut [u8]) {
        let Some(packet) = Head::of(packet) else { return };
        let is_browsers = matches!(self.ports.locate(packet.source.port()), Some((Side::Browser, _)));
        if self.flows.see_said(packet)
            && is_browsers
            && let Some(count) = self.pace.see_end(now)
        {
            self.report(now, Rule::Pace, format!("{count} browsers are ended within a second"));
        }
    }

    fn is_service(&self, destination: SocketAddr) -> bool {
        self.addresses.contains(&destination.ip()) && self.ports.locate(destination.port()).is_some()
    }

    /// The processes that serve on this host are dead: those that are registered now.
    pub(crate) fn see_death(&mut self, now: Instant, routing: &Routing, host: [IpAddr; 2]) {
        let on_host = routing
            .members
            .values()
            .filter(|member| member.service_addresses().any(|address| host.contains(&address.ip())));
        let deadline = |session: SessionId| {
            let is_young = self.members.get(&session).is_none_or(|&(since, _)| now.since(since) < YOUNG);
            now + if is_young { self.notice.max(UNHEARD) } else { self.notice }
        };
        self.dead.extend(on_host.map(|member| (member.session, deadline(member.session))));
    }

    /// HaloD's clock stood still or jumped, or it did not run: it may take this much longer to notice.
    pub(crate) fn excuse(&mut self, time: Duration) {
        self.dead.values_mut().for_each(|deadline| *deadline = *deadline + time);
    }

    /// Time has passed.
    pub(crate) fn see_time(&mut self, now: Instant, flow_count: usize) {
        let late = self.dead.iter().find(|&(session, deadline)| *deadline < now && self.holders.contains(session));
        if let Some((session, deadline)) = late {
            let over = now.since(*deadline);
            self.report(now, Rule::Noticed, format!("session {session} is dead and holds an id {over:?} too long"));
        }
        self.dead.retain(|_, deadline| *deadline >= now);
        if flow_count > self.flows.begun() {
            let begun = self.flows.begun();
            self.report(now, Rule::Bounded, format!("the flow table has {flow_count} flows; {begun} were begun"));
        }
        if let Some(what) = self.flows.take_moved() {
            self.report(now, Rule::OneNode, what);
        }
        if let Some(what) = self.flows.take_mixed() {
            self.report(now, Rule::Distinct, what);
        }
        if let Some(what) = self.flows.untold(now) {
            self.report(now, Rule::AppsTold, what);
        }
    }

    fn report(&mut self, at: Instant, rule: Rule, what: String) {
        self.broken.get_or_insert(Broken { rule, at, what });
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.at.since(Instant::ORIGIN).as_secs_f64() * 1e3;
        write!(f, "{} at {millis:.3} ms: {}", self.rule, self.what)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::OneOwner => "one-owner-per-route",
            Rule::Balance => "balanced",
            Rule::Table => "table-of-n-and-m",
            Rule::Epoch => "epochs-grow",
            Rule::OneId => "one-id-per-node",
            Rule::NoneDead => "no-route-on-a-lost-node",
            Rule::Noticed => "deaths-are-noticed",
            Rule::OneNode => "flows-keep-their-node",
            Rule::Distinct => "flows-look-different",
            Rule::AppsTold => "apps-are-told-of-losses",
            Rule::Pace => "pace",
            Rule::Bounded => "flow-table-bounded",
        })
    }
}
