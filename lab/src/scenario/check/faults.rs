//! What befalls nodes, and who of them is running and in touch after that.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use super::steps::Walk;
use crate::scenario::file::{self, Names};
use crate::scenario::located::{At, Either};
use crate::scenario::{Action, Fault, Flap, Node, Ref};

/// What is the matter with each node. Who is not in it has not joined, or has left or died since.
#[derive(Debug, Default)]
pub(super) struct Presence {
    running: BTreeMap<Ref<Node>, Trouble>,
    /// Whose links are cut although nothing runs there.
    cut_off: BTreeSet<Ref<Node>>,
}

/// What is the matter with a node that runs.
#[derive(Debug, Clone, Copy, Default)]
struct Trouble {
    hangs: bool,
    is_cut: bool,
}

/// Why something cannot be done to a node: what it is, and what to do first.
type Obstacle = (&'static str, &'static str);

const DOWN: Obstacle = ("is not running", "join it first");
const HANGS: Obstacle = ("hangs", "resume it first");
const CUT: Obstacle = ("is cut off", "heal its link first");

impl Presence {
    pub(super) fn is_running(&self, node: Ref<Node>) -> bool {
        self.running.contains_key(&node)
    }

    /// Whether it runs, does not hang and is not cut off.
    pub(super) fn in_touch(&self, node: Ref<Node>) -> Result<(), Obstacle> {
        match self.running.get(&node) {
            None => Err(DOWN),
            Some(Trouble { hangs: true, .. }) => Err(HANGS),
            Some(Trouble { is_cut: true, .. }) => Err(CUT),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn join(&mut self, node: Ref<Node>) -> Result<(), Obstacle> {
        if self.is_running(node) {
            return Err(("joins a second time", "it has not left since"));
        }
        if self.cut_off.contains(&node) {
            return Err(CUT);
        }
        self.running.insert(node, Trouble::default());
        Ok(())
    }

    pub(super) fn leave(&mut self, node: Ref<Node>) -> Result<(), Obstacle> {
        match self.in_touch(node) {
            Err(DOWN) => Err(("leaves before it joins", "join it first")),
            Err(obstacle) => Err(obstacle),
            Ok(()) => {
                self.running.remove(&node);
                Ok(())
            }
        }
    }

    fn befall(&mut self, node: Ref<Node>, fault: Fault) -> Result<(), Obstacle> {
        if fault == Fault::Heal && self.cut_off.remove(&node) {
            return Ok(());
        }
        let trouble = self.running.get_mut(&node).ok_or(DOWN)?;
        match fault {
            Fault::Hang if trouble.hangs => return Err(("hangs already", "resume it first")),
            Fault::Resume if !trouble.hangs => return Err(("does not hang", "nothing to resume")),
            Fault::Cut(_) if trouble.is_cut => return Err(("is cut off already", "heal its link first")),
            Fault::Heal if !trouble.is_cut => return Err(("is not cut off", "nothing to heal")),
            Fault::Restart if trouble.is_cut => return Err(CUT),
            Fault::Hang => trouble.hangs = true,
            Fault::Resume => trouble.hangs = false,
            Fault::Cut(_) => trouble.is_cut = true,
            Fault::Heal => trouble.is_cut = false,
            Fault::Restart => *trouble = Trouble::default(),
            Fault::Crash => {
                if trouble.is_cut {
                    self.cut_off.insert(node);
                }
                self.running.remove(&node);
            }
            // A host that gets its power back has its link back.
            Fault::PowerOff => {
                self.running.remove(&node);
            }
        }
        Ok(())
    }
}

impl Walk<'_> {
    pub(super) fn fault(&mut self, names: &Names, fault: Fault) -> Option<Action> {
        let mut nodes = Vec::new();
        for (node, span) in self.nodes(names) {
            if self.befall(node, &span, fault) {
                nodes.push(node);
            }
        }
        (!nodes.is_empty()).then_some(Action::Fault(fault, nodes))
    }

    pub(super) fn cut(&mut self, cut: &At<Either<String, file::Cut>>) -> Option<Action> {
        let (name, span, way) = match &cut.value {
            Either::Short(name) => (name, &cut.span, None),
            Either::Long(file::Cut { host, way }) => (&host.value, &host.span, *way),
        };
        let node = self.node(name, span)?;
        let fault = Fault::Cut(way.unwrap_or_default());
        self.befall(node, span, fault).then(|| Action::Fault(fault, vec![node]))
    }

    fn befall(&mut self, node: Ref<Node>, span: &Range<usize>, fault: Fault) -> bool {
        let outcome = self.presence.befall(node, fault);
        if outcome.is_ok() && fault.is_loss() {
            self.lost_now.push(node);
        }
        self.allow(node, span, outcome)
    }

    /// Adds a mistake if there is an obstacle.
    pub(super) fn allow(&mut self, node: Ref<Node>, span: &Range<usize>, outcome: Result<(), Obstacle>) -> bool {
        if let Err((what, first)) = outcome {
            self.mistakes.add(span, format!("node \"{}\" {what}", self.hosts.nodes[node].name), first);
        }
        outcome.is_ok()
    }

    pub(super) fn flap(&mut self, flap: &file::Flap) -> Option<Action> {
        self.mistakes.count(&flap.times, "times", 1_000);
        let (down, up) = (self.mistakes.quantity(&flap.down), self.mistakes.quantity(&flap.up));
        let node = self.node(&flap.host.value, &flap.host.span)?;
        let outcome = self.presence.in_touch(node);
        self.allow(node, &flap.host.span, outcome);
        let (down, up) = (down?, up?);
        let loses = self.flap_loses(down, up, &flap.down.text.span)?;
        if loses {
            self.lost_now.push(node);
        }
        Some(Action::Flap(Flap { node, times: flap.times.value, down, up, loses }))
    }

    /// Whether a link that is cut for so long loses its node for certain, or certainly not.
    fn flap_loses(&mut self, down: Duration, up: Duration, span: &Range<usize>) -> Option<bool> {
        let heartbeat = self.router.heartbeat;
        let silence_max = self.router.silence_max();
        if down > silence_max {
            return Some(true);
        }
        // The last heartbeat came up to one interval before the cut, the next comes up to one after it.
        if down + heartbeat * 2 <= silence_max && up >= heartbeat {
            return Some(false);
        }
        let short = silence_max.saturating_sub(heartbeat * 2);
        self.mistakes.add(
            span,
            "whether the node is lost by this is a matter of luck",
            format!("more than {silence_max:?}, or at most {short:?} with at least {heartbeat:?} after it"),
        );
        None
    }
}
