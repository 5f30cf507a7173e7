//! What is known of the hosts of a scenario, gathered from what they report themselves.
//!
//! The daemon is not asked: the table is the one that the nodes were told, a browser is where a node serves it, an
//! event is shown when a browser shows it. So the ledger holds for any engine, and a daemon that tells one thing and
//! does another is found out.

mod events;
mod losses;
mod nodes;
mod users;

use std::collections::BTreeMap;
use std::time::Duration;

use halod_core::ids::NodeId;
use halod_core::time::Instant;

pub use self::events::EventCounts;
use self::events::Events;
pub(crate) use self::losses::{Losses, NewLoss};
use self::nodes::{Nodes, Unexpected};
use self::users::Users;
use crate::engine::{Order, Seen, Witness};
use crate::observation::{EventId, Observation, first_event};
use crate::scenario::{App, Condition, Fault, Hold, LossRule, Node, Ref, Scenario};
use crate::snapshot::{HoldOutcome, LoadOutcome, LostCounts, Snapshot, StepSnapshot};
use crate::timing::{LossTimes, Spread};

/// All that is known.
#[derive(Debug)]
pub struct Ledger<'a> {
    scenario: &'a Scenario,
    nodes: Nodes,
    users: Users,
    losses: Losses,
    events: BTreeMap<Ref<App>, Events>,
    holds: BTreeMap<Ref<App>, Held>,
    /// Who owned each route after the last step.
    owners_before: Vec<Option<Ref<Node>>>,
    faults: Vec<String>,
    false_alarms: Vec<String>,
}

/// The connections that an app holds.
#[derive(Debug)]
struct Held {
    /// How often each was used.
    uses: u32,
    /// How often each was answered.
    answers: Vec<u32>,
}

impl Held {
    fn answered(&self) -> usize {
        self.answers.iter().filter(|&&answers| answers >= self.uses).count()
    }
}

impl<'a> Ledger<'a> {
    /// Nothing has happened yet.
    pub fn new(scenario: &'a Scenario) -> Self {
        Self {
            scenario,
            nodes: Nodes::new(scenario),
            users: Users::new(scenario),
            losses: Losses::default(),
            events: BTreeMap::new(),
            holds: BTreeMap::new(),
            owners_before: vec![None; usize::from(scenario.router.routes)],
            faults: Vec::new(),
            false_alarms: Vec::new(),
        }
    }

    /// An order of this step took effect: what follows from it is expected from here on.
    pub fn order(&mut self, at: Instant, order: Order<'_>, step: &str) {
        match order {
            Order::Join(node) => {
                self.nodes.expect_join(node);
                // A former process that still drained is ended by that.
                self.users.lose(node);
            }
            Order::Leave(node) => self.nodes.expect_leave(node),
            // Those that come later are awaited from the first on.
            Order::Connect { group, from: 0, .. } => self.users.want(group, true),
            Order::Connect { .. } => {}
            Order::Disconnect(group, _) => {
                self.users.want(group, false);
                self.losses.dismiss(|user| self.users.is_in(user, group));
            }
            Order::Load(load) => self.events_of(load.app).expect(load.deliveries()),
            Order::Rate(_) => {}
            Order::Hold(&Hold { app, flows, .. }) => {
                self.holds.insert(app, Held { uses: 1, answers: vec![0; flows as usize] });
            }
            Order::Probe(app) => {
                if let Some(held) = self.holds.get_mut(&app) {
                    held.uses += 1;
                }
            }
            Order::Fault(fault, nodes) => nodes.iter().for_each(|&node| self.befall(at, fault, node, step)),
            Order::Halod(order) => self.nodes.befall_halod(order),
            Order::Relink(..) | Order::Freeze(_) | Order::Thaw(_) | Order::Jump(_) | Order::Busy(_) => {}
        }
    }

    fn befall(&mut self, at: Instant, fault: Fault, node: Ref<Node>, step: &str) {
        let is_certain = self.scenario.losses == LossRule::Ordered || !matches!(fault, Fault::Hang | Fault::Cut(_));
        if fault.is_loss() && is_certain && self.nodes.is_in_touch(node) {
            let routes = self.nodes.routes(node).clone();
            let users = self.users.lose(node);
            self.losses.begin(NewLoss { step, node, at, routes, epoch: self.nodes.epoch(), users });
        }
        self.nodes.befall(node, fault);
    }

    /// Whether it shows when these nodes, which were just told to be lost, are missed: others get their routes.
    pub fn is_missed(&self, nodes: &[Ref<Node>]) -> bool {
        self.nodes.has_registered() && nodes.iter().all(|&node| self.losses.owned_routes(node))
    }

    /// The first FIN or RST of a process that was killed reached the router.
    pub fn see_closing(&mut self, node: Ref<Node>, at: Instant) {
        self.losses.see_closing(node, at);
    }

    /// How long it took until the routes of a node, when it was lost last, had other owners; `None` before that.
    pub fn failover(&self, node: Ref<Node>) -> Option<Duration> {
        self.losses.failover(node)
    }

    /// The times of all losses so far, in order.
    pub fn loss_times(&self) -> Vec<LossTimes> {
        self.losses.times(self.scenario)
    }

    /// How long events took that fell due before the first loss, and after it.
    pub fn deliveries(&self) -> (Spread, Spread) {
        let first = self.losses.first();
        let all = self.events.values().flat_map(Events::deliveries);
        let (before, after): (Vec<_>, Vec<_>) = all.partition(|&(at, _)| first.is_none_or(|first| at < first));
        let times = |deliveries: Vec<(Instant, Duration)>| deliveries.into_iter().map(|(_, time)| time).collect();
        (times(before), times(after))
    }

    /// Takes in what was seen.
    pub fn see(&mut self, seen: Seen) {
        let is_in_touch = match seen.by {
            Witness::Node(node) => self.nodes.is_in_touch(node),
            Witness::App(_) | Witness::Browser => true,
        };
        let is_of_users = matches!(seen.observation, Observation::Attached { .. } | Observation::Detached { .. });
        if is_of_users && !is_in_touch {
            return;
        }
        self.losses.see(&seen);
        let Seen { at, by, observation } = seen;
        match (by, observation) {
            (Witness::Node(node), Observation::Attached { user, transport, peer }) => {
                let masquerade = self.scenario.router.masquerade;
                let shared = self.users.attach(at, &user, node, transport, (!masquerade).then_some(peer));
                if let Err(fault) = shared {
                    self.faults.push(fault);
                }
            }
            (Witness::Node(node), Observation::Detached { user }) => self.users.detach(at, &user, node),
            (Witness::Node(node), observation) => {
                let name = &self.scenario.nodes[node].name;
                match self.nodes.see(node, observation) {
                    Ok(()) => {}
                    Err(Unexpected::FalseAlarm) => {
                        self.false_alarms.push(format!("{name}: the control connection ended"));
                    }
                    Err(Unexpected::Mistake(why)) => self.faults.push(format!("{name}: {why}")),
                }
            }
            (Witness::App(app), observation) => self.see_app(at, app, &observation),
            (Witness::Browser, Observation::Shown { user, event }) => {
                if !self.show(at, &user, event) {
                    self.faults.push(format!("{user} was shown event {event}, which nobody sent to it"));
                }
            }
            (Witness::Browser, Observation::Garbled { user, why }) => self.faults.push(format!("{user}: {why}")),
            (Witness::Browser, _) => {}
        }
    }

    fn events_of(&mut self, app: Ref<App>) -> &mut Events {
        self.events.entry(app).or_insert_with(|| Events::new(first_event(app.index())))
    }

    /// Returns whether somebody was to send this event to `user`. Its number tells which app.
    fn show(&mut self, at: Instant, user: &str, event: EventId) -> bool {
        let former = self.events.iter_mut().rfind(|(app, _)| first_event(app.index()) <= event);
        former.is_some_and(|(_, events)| events.show(at, user, event))
    }

    fn see_app(&mut self, at: Instant, app: Ref<App>, observation: &Observation) {
        let name = &self.scenario.apps[app].name;
        match observation {
            Observation::Sent { user, event, waited, .. } => self.events_of(app).send(at - *waited, user, *event),
            Observation::Settled { event, .. } => self.events_of(app).settle(*event),
            Observation::GivenUp { user, event } => self.events_of(app).give_up(user, *event),
            Observation::FlowAnswered { index } => {
                let answers = self.holds.get_mut(&app).and_then(|held| held.answers.get_mut(*index as usize));
                match answers {
                    Some(answers) => *answers += 1,
                    None => self.faults.push(format!("{name}: flow {index} is not held")),
                }
            }
            Observation::FlowFailed { index } => self.faults.push(format!("{name}: flow {index} failed")),
            Observation::Mismatched { id } => {
                self.faults.push(format!("{name}: an answer with id {id:?} is of no request on its connection"));
            }
            _ => {}
        }
    }

    /// What is wrong, whatever is expected; each is said once.
    pub fn take_faults(&mut self) -> Vec<String> {
        std::mem::take(&mut self.faults)
    }

    /// Nodes that lost touch with HaloD though nothing befell them; each is said once. That may be the fault of a machine
    /// with too much to do.
    pub fn take_false_alarms(&mut self) -> Vec<String> {
        std::mem::take(&mut self.false_alarms)
    }

    /// Whether a condition holds; if not, what is the case instead.
    ///
    /// # Errors
    ///
    /// What is the case, in words.
    pub fn check(&self, condition: Condition) -> Result<(), String> {
        let exactly = |wanted: u32, is: usize, what: &str| {
            if is == wanted as usize { Ok(()) } else { Err(format!("{is} {what}")) }
        };
        match condition {
            Condition::Connected(wanted) => exactly(wanted, self.users.connected(), "browsers are connected"),
            Condition::Active(node) => self.nodes.check_active(node),
            Condition::Reserve(node) => self.nodes.check_reserve(node),
            Condition::Held(node) => self.nodes.check_held(node),
            Condition::Failover(node) => self.losses.check_taken_over(node),
            Condition::Delivered(wanted) => {
                let shown: u64 = self.events.values().map(|events| events.counts().shown).sum();
                exactly(wanted, usize::try_from(shown).unwrap_or(usize::MAX), "events are shown")
            }
            Condition::FlowsAnswered(wanted) => {
                let answered = self.holds.values().map(Held::answered).sum();
                exactly(wanted, answered, "held connections are answered")
            }
            Condition::Settled => self.check_settled(),
        }
    }

    fn check_settled(&self) -> Result<(), String> {
        let owners = self.nodes.check_settled(self.scenario)?;
        for held in self.holds.values() {
            if held.answered() < held.answers.len() {
                return Err(format!("{} of {} held connections are answered", held.answered(), held.answers.len()));
            }
        }
        let counts = |node| !self.nodes.is_gone_for_good(node);
        self.users.check_settled(self.scenario, &owners, counts)?;
        if self.scenario.losses == LossRule::Any {
            // Who was lost when cannot be told, nor who was on the way to another node by then.
            return Ok(());
        }
        let has_node = |user: &str| self.users.route(user).is_some_and(|route| owners[route.index()].is_some());
        self.losses.check_served(has_node)
    }

    /// Whether a node was welcomed.
    pub fn is_welcome(&self, node: Ref<Node>) -> bool {
        self.nodes.is_welcome(node)
    }

    /// Whether all events of all loads were dispatched, answered and shown; of an app that tries each once, whether all
    /// were dispatched and answered.
    ///
    /// # Errors
    ///
    /// How far they are, in words.
    pub fn check_loads(&self) -> Result<(), String> {
        self.events.iter().try_for_each(|(&app, events)| {
            let App { name, retries, .. } = &self.scenario.apps[app];
            events.check_done(*retries).map_err(|text| format!("{name}: {text}"))
        })
    }

    /// Whether all events that were dispatched so far are shown.
    pub fn has_shown_all(&self) -> bool {
        self.events.values().all(|events| events.lost().next().is_none())
    }

    /// The state of now, and what changed since the last call. Call it when the ledger is settled.
    pub fn close_step(&mut self, step: String) -> StepSnapshot {
        let owners = self.nodes.owners(self.scenario);
        let moved: Vec<usize> = (0..owners.len()).filter(|&index| owners[index] != self.owners_before[index]).collect();
        let reconnects = self.users.close_step(self.scenario, &moved);
        let snapshot = StepSnapshot {
            step,
            owners: owners
                .iter()
                .map(|owner| owner.and_then(|node| self.nodes.id(node)))
                .collect::<Vec<Option<NodeId>>>(),
            holders: self.nodes.holders(self.scenario),
            reserve: self.nodes.reserve(self.scenario),
            held: self.nodes.held(self.scenario),
            reconnects,
        };
        self.owners_before = owners;
        snapshot
    }

    /// Adds to a snapshot what became of loads and held connections.
    pub fn close(&self, snapshot: &mut Snapshot) {
        for (&app, events) in &self.events {
            let EventCounts { expected, shown, shown_twice, out_of_order, .. } = events.counts();
            let lost = expected.saturating_sub(shown);
            let mut lost_by = BTreeMap::new();
            for (user, settled) in events.lost() {
                let Some(receiver) = self.users.receiver(self.scenario, user) else { continue };
                let counts: &mut LostCounts = lost_by.entry(receiver).or_default();
                *(if settled { &mut counts.after_success } else { &mut counts.after_failure }) += 1;
            }
            let outcome = LoadOutcome { events: expected, shown, lost, shown_twice, out_of_order, lost_by };
            snapshot.loads.insert(self.scenario.apps[app].name.clone(), outcome);
        }
        for (&app, held) in &self.holds {
            let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            let outcome = HoldOutcome { flows: count(held.answers.len()), answered: count(held.answered()) };
            snapshot.holds.insert(self.scenario.apps[app].name.clone(), outcome);
        }
    }
}

#[cfg(test)]
mod tests;
