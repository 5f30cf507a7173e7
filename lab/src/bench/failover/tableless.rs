//! Losses behind something that is not HaloD: no node is told of a table, so only browsers tell how long it took.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use halod_core::time::Instant;

use super::{ACTIVE, BROWSERS, Cell, Kind, MISSES};
use crate::engine::{Engine, Order, Seen, Witness};
use crate::ledger::{Losses, NewLoss};
use crate::observation::Observation;
use crate::orbited::Transport;
use crate::scenario::{Fault, Node, Ref, Scenario, WITHIN_DEFAULT, Way};
use crate::timing::LossTimes;

/// How long a balancer has for seeing that a node is there. Nothing tells that it has.
const NOTICE: Duration = Duration::from_millis(100);

impl Cell {
    /// The hosts of a world in which a lost node comes back under its own address: a balancer has a fixed list of them.
    pub(super) fn hosts(self) -> Scenario {
        let (routes, heartbeat) = (self.routes, self.heartbeat.as_millis());
        let text = format!(
            "scenario: bench-failover\n\
             about: One node after another is lost.\n\
             seed: 0\n\
             router: {{routes: {routes}, reserve: 0, heartbeat: {heartbeat}ms, misses: {MISSES}}}\n\
             nodes: {{n: {ACTIVE}}}\n\
             browsers: {{b: {{count: {BROWSERS}, transports: [iframe, xhr_stream, sse, xhr]}}}}\n\
             links: {{default: {{delay: 1ms}}}}\n\
             steps: []\n"
        );
        Scenario::parse("bench-failover.yaml", &text).unwrap_or_else(|mistakes| panic!("its own text: {mistakes}"))
    }
}

/// Loses the nodes of `scenario` in turn, as many as `cell` says. `progress` hears of each loss.
///
/// # Errors
///
/// A host is gone, or a browser was left behind.
pub(super) fn play(
    cell: Cell,
    scenario: &Scenario,
    engine: &mut dyn Engine,
    mut progress: impl FnMut(),
) -> anyhow::Result<Vec<LossTimes>> {
    let mut play = Play { engine, users: BTreeMap::new(), losses: Losses::default() };
    let nodes: Vec<Ref<Node>> = scenario.nodes.entries().map(|(node, _)| node).collect();
    nodes.iter().try_for_each(|&node| play.join(node))?;
    for (group, entry) in scenario.browsers.entries() {
        play.engine.give(Order::Connect { group, from: 0, to: entry.count })?;
    }
    play.until("all browsers are connected", |play| play.users.len() == BROWSERS)?;
    for death in 0..cell.deaths {
        let lost = nodes[death % nodes.len()];
        play.pass(cell.rest(death))?;
        play.lose(fault(cell.kind), lost)?;
        play.until("browsers are served again", |play| play.losses.check_served(|_| true).is_ok())?;
        play.join(lost)?;
        progress();
    }
    Ok(play.losses.times(scenario))
}

struct Play<'e> {
    engine: &'e mut dyn Engine,
    /// Who is served, and by whom.
    users: BTreeMap<String, (Ref<Node>, Transport)>,
    losses: Losses,
}

impl Play<'_> {
    fn join(&mut self, node: Ref<Node>) -> anyhow::Result<()> {
        self.engine.give(Order::Join(node))?;
        self.pass(NOTICE)
    }

    fn lose(&mut self, fault: Fault, node: Ref<Node>) -> anyhow::Result<()> {
        // Who is served by now, not when last looked.
        self.pass(Duration::ZERO)?;
        let at = self.engine.give(Order::Fault(fault, &[node]))?;
        let is_lost = |_: &String, &mut (by, _): &mut (Ref<Node>, Transport)| by == node;
        let users = self.users.extract_if(.., is_lost).map(|(user, (_, transport))| (user, transport)).collect();
        let step = format!("{fault:?}");
        self.losses.begin(NewLoss { step: &step, node, at, routes: [].into(), epoch: Default::default(), users });
        Ok(())
    }

    fn pass(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = self.engine.now() + time;
        while let Some(seen) = self.engine.next(end)? {
            self.see(&seen);
        }
        Ok(())
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let end: Instant = self.engine.now() + WITHIN_DEFAULT;
        while !holds(self) {
            let seen = self.engine.next(end)?;
            let seen = seen.with_context(|| format!("it is not so after {WITHIN_DEFAULT:?} that {what}"))?;
            self.see(&seen);
        }
        Ok(())
    }

    fn see(&mut self, seen: &Seen) {
        self.losses.see(seen);
        match (seen.by, &seen.observation) {
            (Witness::Node(node), Observation::Attached { user, transport, .. }) => {
                self.users.insert(user.clone(), (node, *transport));
            }
            (Witness::Node(node), Observation::Detached { user })
                if self.users.get(user).is_some_and(|&(by, _)| by == node) =>
            {
                self.users.remove(user);
            }
            _ => {}
        }
    }
}

fn fault(kind: Kind) -> Fault {
    match kind {
        Kind::Crash => Fault::Crash,
        Kind::PowerOff => Fault::PowerOff,
        Kind::Hang => Fault::Hang,
        Kind::Cut => Fault::Cut(Way::Both),
    }
}
