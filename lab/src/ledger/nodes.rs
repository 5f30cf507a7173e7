//! What the nodes were told: their ids, their routes, and which moves still drain.

use std::collections::{BTreeMap, BTreeSet};

use halod_core::ids::{Epoch, NodeId, RouteId};
use halod_core::protocol::ErrorCode;
use halod_core::protocol::NodeState;
use halod_core::route_table::RouteTable;

use crate::observation::Observation;
use crate::scenario::{Fault, HalodOrder, Invariant, LossRule, Node, Ref, Scenario};

#[derive(Debug)]
pub(super) struct Nodes {
    views: Vec<NodeView>,
    /// The highest that any node was told.
    epoch: Epoch,
    losses: LossRule,
    /// HaloD was killed or stopped, and has not been started or gone on since.
    halod_is_away: bool,
}

#[derive(Debug, Default)]
struct NodeView {
    stage: Stage,
    id: Option<NodeId>,
    /// It has to wait before it counts.
    is_held: bool,
    /// That of the last table that it was told of.
    epoch: Epoch,
    routes: BTreeSet<RouteId>,
    /// Moves away from this node that it has not reported as drained.
    draining: BTreeSet<(RouteId, Epoch)>,
    hangs: bool,
    is_cut: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Absent,
    Joining,
    Registered,
    Leaving,
    /// It hangs or is cut off: HaloD and the other nodes go on without it, and what it believes does not count.
    Away,
    /// HaloD was killed or stopped, and has not welcomed the node since: what it was told last still counts.
    Orphaned,
    /// It goes on or its link is whole, and it has not been welcomed since.
    Returning,
}

/// What a node reports that should not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unexpected {
    /// HaloD and the node lost touch, though nothing befell either.
    FalseAlarm,
    /// What is wrong, in words.
    Mistake(String),
}

impl NodeView {
    fn away(hangs: bool, is_cut: bool) -> Self {
        Self { stage: Stage::Away, hangs, is_cut, ..Self::default() }
    }
}

impl Nodes {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let views = scenario.nodes.iter().map(|_| NodeView::default()).collect();
        Self { views, epoch: Epoch::default(), losses: scenario.losses, halod_is_away: false }
    }

    pub(super) fn expect_join(&mut self, node: Ref<Node>) {
        self.views[node.index()] = NodeView { stage: Stage::Joining, ..NodeView::default() };
    }

    pub(super) fn expect_leave(&mut self, node: Ref<Node>) {
        self.views[node.index()].stage = Stage::Leaving;
    }

    pub(super) fn befall(&mut self, node: Ref<Node>, fault: Fault) {
        let view = &mut self.views[node.index()];
        match fault {
            // Whether it is lost by that, it learns itself.
            Fault::Hang | Fault::Cut(_) | Fault::Resume | Fault::Heal if self.losses == LossRule::Any => {}
            Fault::Crash | Fault::PowerOff => *view = NodeView::default(),
            Fault::Restart => *view = NodeView { stage: Stage::Joining, ..NodeView::default() },
            Fault::Hang => *view = NodeView::away(true, view.is_cut),
            Fault::Cut(_) => *view = NodeView::away(view.hangs, true),
            Fault::Resume => view.hangs = false,
            Fault::Heal => view.is_cut = false,
        }
        if view.stage == Stage::Away && !view.hangs && !view.is_cut {
            view.stage = Stage::Returning;
        }
    }

    /// Something befell HaloD itself, or is over. Until it has welcomed the nodes again, the table is the last one.
    pub(super) fn befall_halod(&mut self, order: HalodOrder) {
        self.halod_is_away = matches!(order, HalodOrder::Kill | HalodOrder::Stop);
        // Another process counts anew.
        self.epoch = Epoch::default();
        for view in self.views.iter_mut().filter(|view| view.stage == Stage::Registered) {
            view.stage = Stage::Orphaned;
            view.epoch = Epoch::default();
        }
    }

    /// Whether what a node reports counts: it is not cut off, nor has it to learn that it was. Where any node may be lost
    /// that cannot be told.
    pub(super) fn is_in_touch(&self, node: Ref<Node>) -> bool {
        self.losses == LossRule::Any || !matches!(self.views[node.index()].stage, Stage::Away | Stage::Returning)
    }

    /// Whether a node has left or was never there. If it left in the moment in which it was lost, nobody tells it of the end
    /// of connections that it may still hold.
    pub(super) fn is_gone_for_good(&self, node: Ref<Node>) -> bool {
        self.losses == LossRule::Any && self.views[node.index()].stage == Stage::Absent
    }

    /// Whether any node is registered and in touch.
    pub(super) fn has_registered(&self) -> bool {
        self.views.iter().any(|view| view.stage == Stage::Registered)
    }

    pub(super) fn routes(&self, node: Ref<Node>) -> &BTreeSet<RouteId> {
        &self.views[node.index()].routes
    }

    /// The highest epoch that any node was told.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Takes in what a node reports of its session.
    pub(super) fn see(&mut self, node: Ref<Node>, observation: Observation) -> Result<(), Unexpected> {
        let view = &mut self.views[node.index()];
        let is_welcome = matches!(observation, Observation::Welcomed { .. });
        if view.stage == Stage::Away || view.stage == Stage::Returning && !is_welcome {
            return Ok(());
        }
        if let Observation::Welcomed { epoch, .. } | Observation::Assigned { epoch, .. } = observation {
            if epoch < view.epoch {
                return Err(Unexpected::Mistake(format!("it was told of epoch {epoch} after {}", view.epoch)));
            }
            view.epoch = epoch;
            self.epoch = self.epoch.max(epoch);
        }
        match observation {
            Observation::Welcomed { state, id, routes, .. } => {
                // It may have said that it leaves before it was welcomed.
                if view.stage != Stage::Leaving {
                    view.stage = Stage::Registered;
                }
                view.is_held = state == NodeState::Held;
                view.id = id;
                view.routes = routes.into_iter().collect();
                // Whatever still drains is announced again.
                view.draining.clear();
            }
            Observation::Assigned { id, routes, .. } => {
                view.id = Some(id);
                view.is_held = false;
                view.routes = routes.into_iter().collect();
            }
            Observation::RouteMoved { route, epoch } => {
                view.routes.remove(&route);
                // Of an earlier move, whose deadline has passed, nobody waits to hear any more.
                view.draining.retain(|&(draining, _)| draining != route);
                view.draining.insert((route, epoch));
            }
            Observation::RouteReturned { route, .. } => view.draining.retain(|&(draining, _)| draining != route),
            Observation::Drained { route, epoch } => {
                view.draining.remove(&(route, epoch));
            }
            // It dialled a HaloD that was stopped, and was dialled itself when that went on.
            Observation::Rejected { code: ErrorCode::NameTaken, .. } | Observation::ControlEnded
                if view.stage == Stage::Orphaned => {}
            // A process that died may still hold the name, and another one wait for it.
            // Or its `hello` was under way for too long, behind a link that had lost it again and again.
            Observation::Rejected {
                code: ErrorCode::NameTaken | ErrorCode::AddressTaken | ErrorCode::HelloExpected,
                ..
            } if self.losses == LossRule::Any => {}
            Observation::Rejected { code, message } => {
                return Err(Unexpected::Mistake(format!("halod said {code:?}: {message}")));
            }
            Observation::ControlEnded if view.stage == Stage::Leaving => *view = NodeView::default(),
            // It left in the moment in which it was lost, and reports the end of both.
            Observation::ControlEnded if self.losses == LossRule::Any && view.stage == Stage::Absent => {}
            Observation::ControlEnded if self.losses == LossRule::Any => {
                *view = NodeView { stage: Stage::Returning, ..NodeView::default() };
            }
            Observation::ControlEnded => return Err(Unexpected::FalseAlarm),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn is_welcome(&self, node: Ref<Node>) -> bool {
        self.views[node.index()].stage == Stage::Registered
    }

    pub(super) fn check_active(&self, node: Ref<Node>) -> Result<(), String> {
        self.check_state(node, NodeState::Active)
    }

    pub(super) fn check_reserve(&self, node: Ref<Node>) -> Result<(), String> {
        self.check_state(node, NodeState::Reserve)
    }

    pub(super) fn check_held(&self, node: Ref<Node>) -> Result<(), String> {
        self.check_state(node, NodeState::Held)
    }

    fn check_state(&self, node: Ref<Node>, wanted: NodeState) -> Result<(), String> {
        let view = &self.views[node.index()];
        let (state, is) = match (view.stage, view.id) {
            (Stage::Registered, Some(id)) => (NodeState::Active, format!("active as {id}")),
            (Stage::Registered, None) if view.is_held => (NodeState::Held, "held".into()),
            (Stage::Registered, None) => (NodeState::Reserve, "in reserve".into()),
            (stage, _) => return Err(format!("it is {}", stage.words())),
        };
        if state == wanted { Ok(()) } else { Err(format!("it is {is}")) }
    }

    /// The owners, if every node knows its place, nothing drains, and the invariants of the table hold.
    pub(super) fn check_settled(&self, scenario: &Scenario) -> Result<Vec<Option<Ref<Node>>>, String> {
        for (node, entry) in scenario.nodes.entries() {
            let view = &self.views[node.index()];
            let is_on_the_way = matches!(view.stage, Stage::Joining | Stage::Leaving | Stage::Returning);
            if is_on_the_way || view.stage == Stage::Orphaned && !self.halod_is_away {
                return Err(format!("{} is {}", entry.name, view.stage.words()));
            }
            if let Some((route, epoch)) = view.draining.first() {
                return Err(format!("{} has not drained route {route} of epoch {epoch}", entry.name));
            }
        }
        self.check_partition(scenario)?;
        self.check_table(scenario)?;
        if scenario.always.contains(&Invariant::Balanced) {
            self.check_balance()?;
        }
        Ok(self.owners(scenario))
    }

    /// Whether each route has exactly one owner, or none while nobody is active.
    fn check_partition(&self, scenario: &Scenario) -> Result<(), String> {
        let mut owners: BTreeMap<RouteId, Vec<&str>> = BTreeMap::new();
        for (node, entry) in scenario.nodes.entries() {
            for &route in &self.views[node.index()].routes {
                owners.entry(route).or_default().push(&entry.name);
            }
        }
        if let Some((route, names)) = owners.iter().find(|(_, names)| names.len() > 1) {
            return Err(format!("route {route} is owned by {}", names.join(" and ")));
        }
        let active = self.views.iter().any(|view| view.id.is_some());
        let orphan =
            (0..usize::from(scenario.router.routes)).map(RouteId::from_index).find(|route| !owners.contains_key(route));
        match orphan {
            Some(route) if active => Err(format!("route {route} has no owner")),
            _ => Ok(()),
        }
    }

    /// Whether the table is the one that the number of routes and of nodes gives.
    fn check_table(&self, scenario: &Scenario) -> Result<(), String> {
        let mut table = RouteTable::new(scenario.router.routes);
        for _ in self.views.iter().filter(|view| view.id.is_some()) {
            table.add_node();
        }
        let told = |node: &NodeView| node.id.is_none_or(|id| node.routes.iter().eq(table.routes_of(id)));
        match scenario.nodes.iter().zip(&self.views).find(|(_, view)| !told(view)) {
            Some((entry, _)) => Err(format!("{} does not have the routes of its id", entry.name)),
            None => Ok(()),
        }
    }

    fn check_balance(&self) -> Result<(), String> {
        let counts = || self.views.iter().filter(|view| view.id.is_some()).map(|view| view.routes.len());
        match (counts().min(), counts().max()) {
            (Some(fewest), Some(most)) if most > fewest + 1 => {
                Err(format!("one node owns {most} routes and another {fewest}"))
            }
            _ => Ok(()),
        }
    }

    /// The owner of each route, route 1 first.
    pub(super) fn owners(&self, scenario: &Scenario) -> Vec<Option<Ref<Node>>> {
        let mut owners = vec![None; usize::from(scenario.router.routes)];
        for (node, _) in scenario.nodes.entries() {
            for route in &self.views[node.index()].routes {
                if let Some(owner) = owners.get_mut(route.index()) {
                    *owner = Some(node);
                }
            }
        }
        owners
    }

    pub(super) fn id(&self, node: Ref<Node>) -> Option<NodeId> {
        self.views[node.index()].id
    }

    pub(super) fn holders(&self, scenario: &Scenario) -> BTreeMap<NodeId, String> {
        let holder = |(node, entry): (Ref<Node>, &Node)| Some((self.id(node)?, entry.name.clone()));
        scenario.nodes.entries().filter_map(holder).collect()
    }

    pub(super) fn reserve(&self, scenario: &Scenario) -> BTreeSet<String> {
        self.names_in(scenario, NodeState::Reserve)
    }

    pub(super) fn held(&self, scenario: &Scenario) -> BTreeSet<String> {
        self.names_in(scenario, NodeState::Held)
    }

    fn names_in(&self, scenario: &Scenario, state: NodeState) -> BTreeSet<String> {
        let is_in = |node: Ref<Node>| self.check_state(node, state).is_ok();
        scenario.nodes.entries().filter(|&(node, _)| is_in(node)).map(|(_, entry)| entry.name.clone()).collect()
    }
}

impl Stage {
    fn words(self) -> &'static str {
        match self {
            Stage::Absent => "not running",
            Stage::Joining => "joining",
            Stage::Registered => "registered",
            Stage::Leaving => "leaving",
            Stage::Away => "out of touch",
            Stage::Orphaned | Stage::Returning => "not welcomed again",
        }
    }
}
