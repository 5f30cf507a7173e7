//! What the kernel does for the data plane: its rules, and what it tracks. Follows what the plane decides.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use halod_core::flow::FlowKey;
use halod_core::ids::Side;
use halod_core::last_table::LastTable;
use halod_core::plane::steer::{Changes, Entry};
use halod_core::plane::{PlaneKind, Steer};
use halod_core::routing::Routing;
use halod_core::service::{ServicePorts, Services};

use crate::clock::Clock;
use crate::config::Config;
use crate::conntrack::{Conntrack, Question};
use crate::masquerade::Masquerades;
use crate::nft::{LastRules, Rules, RulesError, RulesSpec, SteerRules};
use crate::plane::SharedPlane;

/// The kernel, as the plane needs it.
pub(crate) enum Kernel {
    /// It queues every packet.
    Rewrite {
        rules: Rules,
        /// Absent if nodes see the clients' addresses.
        masquerades: Option<Masquerades>,
    },
    /// It translates by itself.
    Steer { rules: Box<SteerRules>, conntrack: Conntrack, question: Question, services: Services },
}

/// What a former daemon has left in the kernel.
#[derive(Debug, Default)]
pub(crate) struct Former {
    /// Its table, if the rules go on with it.
    pub(crate) last: Option<LastTable>,
    /// Connections to the service ports are tracked.
    pub(crate) has_flows: bool,
}

impl Kernel {
    /// Installs the rules. The queues have to be bound already, so that no packet is lost.
    pub(crate) fn install(kind: PlaneKind, config: &Config) -> anyhow::Result<(Self, Former)> {
        let spec = rules_spec(config);
        if kind == PlaneKind::Rewrite {
            let masquerades = config.masquerade.then(Masquerades::default);
            return Ok((Self::Rewrite { rules: Rules::install(&spec)?, masquerades }, Former::default()));
        }
        let (rules, last) = take_over(&spec, &config.ports)?;
        // Its settings are there when a rule makes use of it.
        let services = Services { ports: config.ports, addresses: config.addresses.clone() };
        let (conntrack, has_flows) = match reach_conntrack(&services) {
            Ok(reached) => reached,
            Err(error) => {
                rules.remove()?;
                return Err(error);
            }
        };
        let former = Former { last, has_flows };
        let rules = Box::new(rules);
        Ok((Self::Steer { rules, conntrack, question: Question::default(), services }, former))
    }

    /// Puts a routing into force, in the plane and in the kernel. When that was, is a time behind the plane's lock: what was
    /// decided about before has an earlier one. Nobody decides by the former routing from then on; what was decided by it is gone
    /// when this returns, unless nothing but suspects has changed.
    pub(crate) fn publish(&mut self, clock: Clock, plane: &SharedPlane, routing: Arc<Routing>) {
        match self {
            // The kernel learns a node's addresses before the first packet can go there, and forgets them some time after the
            // last.
            Self::Rewrite { rules, masquerades } => {
                let members = || routing.members.values().flat_map(|member| member.service_addresses());
                report(rules.add_nodes(members()));
                let masquerades =
                    masquerades.as_mut().map(|known| known.towards(&members().collect())).unwrap_or_default();
                plane.lock().publish(clock.now(), routing, masquerades);
                drop(plane.at_rest());
            }
            // No verdict has a mark that the kernel does not know yet. It takes its time for a change, and packets do not wait
            // for that.
            Self::Steer { rules, .. } => {
                if let Some(steer) = plane.lock().as_steer() {
                    steer.prepare(&routing);
                }
                apply(rules, plane);
                plane.lock().publish(clock.now(), routing, [].into());
                let changes = take_changes(plane);
                if !changes.is_empty() {
                    // Packets with marks that the rules are about to forget.
                    drop(plane.at_rest());
                }
                tell(rules, changes);
            }
        }
    }

    /// Asks the kernel for its connections.
    pub(crate) fn ask(&mut self) {
        let Self::Steer { question, services, .. } = self else { return };
        let services = services.clone();
        question.ask(move |flow| services.locate(flow.service).is_some());
    }

    /// Whether it is being asked.
    pub(crate) fn is_asked(&self) -> bool {
        matches!(self, Self::Steer { question, .. } if question.is_asked())
    }

    /// Its answer; never if it is not asked.
    pub(crate) async fn answer(&mut self) -> io::Result<Vec<Entry>> {
        match self {
            Self::Rewrite { .. } => pending().await,
            Self::Steer { question, .. } => question.answer().await,
        }
    }

    /// A connection as it is now. One that the kernel says nothing of is told the next time.
    pub(crate) fn connection(&mut self, flow: FlowKey) -> Option<Entry> {
        match self {
            Self::Rewrite { .. } => None,
            Self::Steer { conntrack, .. } => conntrack.entry(flow).ok().flatten(),
        }
    }

    /// Does what the plane wants of the kernel, before its own packets are sent.
    pub(crate) fn carry_out(&mut self, plane: &SharedPlane) {
        let Self::Steer { rules, conntrack, .. } = self else { return };
        apply(rules, plane);
        let flows: Vec<FlowKey> = plane.lock().as_steer().map(deletions).unwrap_or_default();
        if flows.is_empty() {
            return;
        }
        // What was decided about of these flows goes where they went.
        drop(plane.at_rest());
        if let Err(error) = conntrack.delete(&flows) {
            tracing::error!(%error, "the kernel did not forget the flows that were ended");
        }
    }

    /// About once a second, after the plane has dropped flows.
    pub(crate) fn keep_house(&mut self, plane: &SharedPlane) {
        match self {
            Self::Rewrite { rules, .. } => report(rules.set_nodes(&node_addresses(plane))),
            Self::Steer { .. } => self.carry_out(plane),
        }
    }

    /// Whether the rules can forward without the daemon.
    pub(crate) fn goes_on_alone(&self) -> bool {
        matches!(self, Self::Steer { .. })
    }

    /// Removes the rules.
    pub(crate) fn remove(self) -> anyhow::Result<()> {
        match self {
            Self::Rewrite { rules, .. } => rules.remove()?,
            Self::Steer { rules, .. } => rules.remove()?,
        }
        Ok(())
    }
}

/// Installs the rules of the `steer` plane, with the table that a former daemon left if it is one of these ports.
fn take_over(spec: &RulesSpec, ports: &ServicePorts) -> anyhow::Result<(SteerRules, Option<LastTable>)> {
    let left = LastRules::read(spec.queues).unwrap_or_else(|error| {
        tracing::warn!(%error, "it cannot be seen what a former daemon left");
        LastRules::default()
    });
    let last = LastTable::read(ports, &left.owners, &left.holders, left.nodes.clone());
    if last.is_none() && !left.owners.is_empty() {
        tracing::warn!("a former daemon had other service ports: its table is dropped");
    }
    let kept = if last.is_some() { left } else { LastRules::default() };
    Ok((SteerRules::install(spec, kept)?, last))
}

/// Connection tracking, and whether it has connections to the services.
fn reach_conntrack(services: &Services) -> anyhow::Result<(Conntrack, bool)> {
    let mut conntrack = Conntrack::open().context("connection tracking cannot be reached")?;
    let has_flows = conntrack.has_flows(services)?;
    Ok((conntrack, has_flows))
}

/// The rules that a config wants.
fn rules_spec(config: &Config) -> RulesSpec {
    RulesSpec {
        queues: config.queues,
        addresses: config.addresses.clone(),
        browser_ports: config.ports.range(Side::Browser),
        app_ports: config.ports.range(Side::App),
        masquerade: config.masquerade,
        every_packet: config.every_packet,
    }
}

fn node_addresses(plane: &SharedPlane) -> BTreeSet<SocketAddr> {
    match &**plane.lock() {
        halod_core::plane::Plane::Rewrite(rewrite) => rewrite.node_addresses().clone(),
        halod_core::plane::Plane::Steer(_) => BTreeSet::new(),
    }
}

fn report(outcome: Result<(), RulesError>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "the kernel did not take the nodes' addresses; replies may not be translated");
    }
}

fn deletions(steer: &mut Steer) -> Vec<FlowKey> {
    std::iter::from_fn(|| steer.poll_deletion()).collect()
}

fn take_changes(plane: &SharedPlane) -> Changes {
    plane.lock().as_steer().map(Steer::take_changes).unwrap_or_default()
}

fn apply(rules: &mut SteerRules, plane: &SharedPlane) {
    tell(rules, take_changes(plane));
}

fn tell(rules: &mut SteerRules, changes: Changes) {
    if let Err(error) = rules.apply(changes) {
        tracing::error!(%error, "the kernel did not take a change of the rules; it is tried again");
    }
}

impl Conntrack {
    /// Whether there are connections to the services, of which there may be very many.
    fn has_flows(&mut self, services: &Services) -> anyhow::Result<bool> {
        let has_flows = Cell::new(false);
        let see = |flow: &FlowKey| {
            has_flows.set(has_flows.get() || services.locate(flow.service).is_some());
            false
        };
        self.entries(see).context("connection tracking does not answer")?;
        Ok(has_flows.get())
    }
}
