//! When nodes were lost, when their routes had other owners, and when their browsers were served again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use halod_core::ids::{Epoch, RouteId};
use halod_core::time::Instant;

use crate::engine::{Seen, Witness};
use crate::observation::Observation;
use crate::orbited::Transport;
use crate::scenario::{Node, Ref, Scenario};
use crate::timing::LossTimes;

/// All losses so far.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    losses: Vec<Loss>,
    /// Users that the lost node served and nobody serves since. Whose next node is lost as well is counted from the
    /// first.
    unserved: BTreeMap<String, Unserved>,
}

#[derive(Debug)]
struct Loss {
    step: String,
    node: Ref<Node>,
    at: Instant,
    /// What it owned.
    routes: BTreeSet<RouteId>,
    /// The last epoch that any node knew before.
    epoch: Epoch,
    first_closing: Option<Instant>,
    taken_over: Option<Instant>,
    disconnected: Vec<Instant>,
    served: Vec<Instant>,
}

#[derive(Debug)]
struct Unserved {
    /// The number of the loss.
    loss: usize,
    /// Its transport sends nothing at once: the node's word counts.
    is_silent: bool,
    is_disconnected: bool,
    /// When a node that is in touch began to serve the user.
    attached: Option<Instant>,
    /// When the browser last had the first byte of a connection.
    first_byte: Option<Instant>,
}

impl Unserved {
    /// When the user was served again. A browser does not know which node sends it a byte: one that came before a node
    /// in touch began to serve it is of the node that was lost, under way or from a process that hung and went on.
    fn served(&self) -> Option<Instant> {
        let attached = self.attached?;
        if self.is_silent { Some(attached) } else { self.first_byte.filter(|&first_byte| first_byte >= attached) }
    }
}

/// A node that is lost now.
pub(crate) struct NewLoss<'a> {
    pub(crate) step: &'a str,
    pub(crate) node: Ref<Node>,
    pub(crate) at: Instant,
    pub(crate) routes: BTreeSet<RouteId>,
    pub(crate) epoch: Epoch,
    /// The users that it served.
    pub(crate) users: Vec<(String, Transport)>,
}

impl Loss {
    /// After a kill HaloD can know of it when the kernel has said so, not before.
    fn failover(&self) -> Option<Duration> {
        Some(self.taken_over?.since(self.first_closing.unwrap_or(self.at)))
    }
}

impl Losses {
    /// A node is lost.
    pub(crate) fn begin(&mut self, new: NewLoss<'_>) {
        let NewLoss { step, node, at, routes, epoch, users } = new;
        let loss = self.losses.len();
        for (user, transport) in users {
            let is_silent = matches!(transport, Transport::Raw | Transport::Xhr);
            let fresh = Unserved { loss, is_silent, is_disconnected: false, attached: None, first_byte: None };
            self.unserved.entry(user).or_insert(fresh).attached = None;
        }
        self.losses.push(Loss {
            step: step.to_owned(),
            node,
            at,
            routes,
            epoch,
            first_closing: None,
            taken_over: None,
            disconnected: Vec::new(),
            served: Vec::new(),
        });
    }

    /// When the first node was lost.
    pub(super) fn first(&self) -> Option<Instant> {
        self.losses.first().map(|loss| loss.at)
    }

    /// Whether a node, when it was lost last, had routes to be taken over.
    pub(super) fn owned_routes(&self, node: Ref<Node>) -> bool {
        self.last(node).is_some_and(|loss| !loss.routes.is_empty())
    }

    fn last(&self, node: Ref<Node>) -> Option<&Loss> {
        self.losses.iter().rev().find(|loss| loss.node == node)
    }

    /// The first FIN or RST of a killed process reached the router.
    pub(super) fn see_closing(&mut self, node: Ref<Node>, at: Instant) {
        if let Some(loss) = self.losses.iter_mut().rev().find(|loss| loss.node == node) {
            loss.first_closing.get_or_insert(at);
        }
    }

    /// Takes in what was seen by anyone who is in touch.
    pub(crate) fn see(&mut self, seen: &Seen) {
        let at = seen.at;
        match &seen.observation {
            Observation::Welcomed { routes, epoch, .. } | Observation::Assigned { routes, epoch, .. } => {
                for loss in &mut self.losses {
                    if *epoch > loss.epoch && routes.iter().any(|route| loss.routes.contains(route)) {
                        // Reports of several nodes may cross.
                        loss.taken_over = Some(loss.taken_over.map_or(at, |before| before.min(at)));
                    }
                }
            }
            Observation::Disconnected { user } => {
                if let Some(unserved) = self.unserved.get_mut(user).filter(|unserved| !unserved.is_disconnected) {
                    unserved.is_disconnected = true;
                    self.losses[unserved.loss].disconnected.push(at);
                }
            }
            Observation::FirstByte { user } => self.serve(at, user, |unserved| &mut unserved.first_byte),
            Observation::Attached { user, .. } if matches!(seen.by, Witness::Node(_)) => {
                self.serve(at, user, |unserved| &mut unserved.attached);
            }
            _ => {}
        }
    }

    /// Notes a sign that a user is served again. With the other sign, which may be reported before it, it is.
    fn serve(&mut self, at: Instant, user: &str, sign: impl FnOnce(&mut Unserved) -> &mut Option<Instant>) {
        let Some(unserved) = self.unserved.get_mut(user) else { return };
        let loss = &mut self.losses[unserved.loss];
        if at > loss.at {
            *sign(unserved) = Some(at);
        }
        if let Some(at) = unserved.served() {
            loss.served.push(at);
            self.unserved.remove(user);
        }
    }

    /// The scenario does not want these users to be served any more.
    pub(super) fn dismiss(&mut self, is_dismissed: impl Fn(&str) -> bool) {
        self.unserved.retain(|user, _| !is_dismissed(user));
    }

    /// Whether everyone is served again for whom there is a node.
    pub(crate) fn check_served(&self, has_node: impl Fn(&str) -> bool) -> Result<(), String> {
        match self.unserved.keys().find(|user| has_node(user)) {
            Some(user) => Err(format!("{user} has had no byte since its node was lost")),
            None => Ok(()),
        }
    }

    /// Whether the routes of a node, when it was lost last, have other owners.
    pub(super) fn check_taken_over(&self, node: Ref<Node>) -> Result<(), String> {
        match self.last(node) {
            Some(loss) if loss.taken_over.is_none() => Err("no node was told that it owns one of its routes".into()),
            Some(_) => Ok(()),
            None => Err("it is not lost".into()),
        }
    }

    /// How long that took.
    pub(super) fn failover(&self, node: Ref<Node>) -> Option<Duration> {
        self.last(node)?.failover()
    }

    /// The times of all losses, in order.
    pub(crate) fn times(&self, scenario: &Scenario) -> Vec<LossTimes> {
        let of_one = |loss: &Loss| {
            let since = |start: Instant| move |at: &Instant| at.since(start);
            LossTimes {
                step: loss.step.clone(),
                node: scenario.nodes[loss.node].name.clone(),
                first_closing: loss.first_closing.as_ref().map(since(loss.at)),
                failover: loss.failover(),
                resets: loss.disconnected.iter().map(since(loss.at)).collect(),
                outages: loss.served.iter().map(since(loss.at)).collect(),
            }
        };
        self.losses.iter().map(of_one).collect()
    }
}
