//! What the kernel answers when it is asked which connections it tracks, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Departed, Steer, is_over};
use crate::flow::{FlowKey, FlowPhase, Flows, KnownFlow, Progress, Sender};
use crate::ids::RouteId;
use crate::routing::SessionId;
use crate::time::Instant;

/// How long after its last packet a connection that the kernel takes for closed may be open at its client, for want of a FIN
/// that was lost or came too early, and that its node would have sent again.
const LAST_FIN: Duration = Duration::from_secs(10);

/// A connection to a service port, as the kernel tracks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which flow.
    pub flow: FlowKey,
    /// The node's address that it goes to.
    pub node: SocketAddr,
    /// The client as the node sees it.
    pub peer: SocketAddr,
    /// How far it has come.
    pub progress: Progress,
    /// For how long no packet has passed.
    pub idle: Duration,
}

/// Whose an address is, and whose it was: an address may change hands before the former one's flows were seen.
#[derive(Debug, Clone, Copy, Default)]
struct Occupants {
    member: Option<SessionId>,
    /// With the first routing without it.
    departed: Option<(u64, SessionId)>,
}

impl Steer {
    /// Whether the kernel has to be asked for its connections: to call [`Steer::ask`], and with the answer [`Steer::survey`].
    pub fn wants_entries(&self) -> bool {
        self.has_begun && self.questions.are_open()
    }

    /// The kernel is asked for its connections from now on; all that was wanted of it is carried out. If no answer comes, it
    /// has to be asked again.
    pub fn ask(&mut self) {
        self.questions.ask();
    }

    /// What [`Steer::survey`] has to be told of what the kernel has answered: nearly all of it does not matter. A connection
    /// that nobody had answered may be established by now; the kernel is asked `again` for that one, in case its SYN is
    /// sent to another node.
    pub fn relevant(&self, answer: Vec<Entry>, mut again: impl FnMut(FlowKey) -> Option<Entry>) -> Vec<Entry> {
        let occupants = self.occupants();
        let matters = |entry: &Entry| {
            let is_moved = || {
                let (_, route) = self.services.locate(entry.flow.service)?;
                self.whose(&occupants, entry, route)
            };
            is_moved().is_some() || self.flows.sent_by_client(entry.flow.client, entry.flow.service).is_some()
        };
        let refreshed = |entry: Entry| {
            let is_answered = entry.progress != Progress::SynSent || mutant!(UnansweredNotAskedAgain);
            if is_answered { Some(entry) } else { again(entry.flow) }
        };
        answer.into_iter().filter(matters).filter_map(refreshed).collect()
    }

    /// These are the [relevant](Steer::relevant) connections, each as it was at some time since [`Steer::ask`]. Those of moved
    /// routes become flows here, and so do those of nodes that are gone, which the kernel then has to forget.
    pub fn survey(&mut self, now: Instant, entries: &[Entry]) {
        let occupants = self.occupants();
        let mut unanswered = Vec::new();
        for entry in entries {
            let Some((side, route)) = self.services.locate(entry.flow.service) else { continue };
            let Some((session, is_gone)) = self.whose(&occupants, entry, route) else { continue };
            if is_gone {
                // If it comes again it is decided about like any other.
                let syn = self.recent.take(entry.flow);
                if !mutant!(LostFlowsTracked) {
                    self.deletions.push_back(entry.flow);
                }
                match entry.progress {
                    Progress::SynSent => {
                        self.flows.remove(entry.flow.client, entry.flow.service);
                        if !mutant!(UnansweredSynsForgotten) {
                            unanswered.extend(syn);
                        }
                        continue;
                    }
                    Progress::Closed if entry.idle > LAST_FIN => continue,
                    // By the node, it may be, and nobody sends an RST again that is lost, nor a dead node its FIN.
                    Progress::Closed | Progress::Reset => self.endings.watch(now, (entry.flow, Sender::Client)),
                    // Another process serves the address, and may have answered before it was known of.
                    Progress::SynReceived | Progress::Established if occupants[&entry.node].member.is_some() => {
                        self.endings.watch(now, (entry.flow, Sender::Node));
                    }
                    Progress::SynReceived | Progress::Established => {}
                }
            }
            if !self.is_known(entry, session) {
                let Entry { flow: key, node, peer, idle, .. } = *entry;
                let progress = match entry.progress {
                    // The answer may have reached the client since, and it be silent from then on.
                    Progress::SynReceived if is_gone => Progress::Established,
                    progress => progress,
                };
                self.flows.adopt(now, &KnownFlow { key, node, session, route, side, peer, progress, idle });
            }
        }
        self.questions.answer();
        self.forget_all_but(entries);
        for syn in unanswered {
            self.decide_held(now, syn);
        }
    }

    fn occupants(&self) -> BTreeMap<SocketAddr, Occupants> {
        let mut occupants: BTreeMap<SocketAddr, Occupants> = BTreeMap::new();
        for member in self.routing.members.values() {
            for address in member.service_addresses() {
                occupants.entry(address).or_default().member = Some(member.session);
            }
        }
        for Departed { member, publication, question, .. } in self.departed.values() {
            for address in member.service_addresses() {
                let occupants = occupants.entry(address).or_default();
                if occupants.member.is_none() || !self.questions.is_answered(*question) {
                    occupants.departed = Some((*publication, member.session));
                }
            }
        }
        occupants
    }

    /// The registration that an entry belongs to and whether it is gone, if its flow needs any attention.
    fn whose(
        &self,
        occupants: &BTreeMap<SocketAddr, Occupants>,
        entry: &Entry,
        route: RouteId,
    ) -> Option<(SessionId, bool)> {
        let Occupants { member, departed } = *occupants.get(&entry.node)?;
        match (departed, member) {
            (Some((publication, node)), _) if !self.recent.is_since(publication, entry.flow) => Some((node, true)),
            (_, member) => member.filter(|&node| self.is_elsewhere(route, node)).map(|node| (node, false)),
        }
    }

    /// Whether `route` belongs to another node than this one now, which may have flows of it from before.
    fn is_elsewhere(&self, route: RouteId, session: SessionId) -> bool {
        self.watched.contains(&route) && self.routing.owner(route).is_none_or(|owner| owner.session != session)
    }

    /// Whether a flow is here already, and as far as the kernel says: its packets were seen.
    fn is_known(&self, entry: &Entry, session: SessionId) -> bool {
        let flow = self.flows.sent_by_client(entry.flow.client, entry.flow.service);
        flow.is_some_and(|flow| {
            let is_as_far = match entry.progress {
                Progress::Closed | Progress::Reset => is_over(flow, &self.routing),
                // The last packet of its handshake may have passed while the kernel told of those before.
                Progress::Established => flow.phase() != FlowPhase::HalfOpen,
                Progress::SynSent | Progress::SynReceived => true,
            };
            flow.session == session && (flow.is_refused() || is_as_far)
        })
    }

    /// What the kernel does not know any more has ended, unless it was ended here.
    fn forget_all_but(&mut self, entries: &[Entry]) {
        let mut missing = BTreeSet::new();
        for &session in self.routing.members.keys() {
            self.flows.visit_node(session, &mut |view| {
                missing.insert(view.key);
            });
        }
        if missing.is_empty() {
            return;
        }
        for entry in entries {
            missing.remove(&entry.flow);
        }
        missing.retain(|key| self.flows.sent_by_client(key.client, key.service).is_some_and(|flow| !flow.is_refused()));
        missing.into_iter().for_each(|key| self.flows.remove(key.client, key.service));
    }
}
