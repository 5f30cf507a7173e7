//! What is expected of a step: conditions that can come true, and the times that they may take.

use std::time::Duration;

use super::steps::Walk;
use crate::scenario::file::{self, Names};
use crate::scenario::located::{At, Unit};
use crate::scenario::span::{Measures, Within};
use crate::scenario::{Condition, Expectation, Node, Ref, WITHIN_DEFAULT};

impl Walk<'_> {
    /// What is expected, that all comes to rest among it, unless the step says that it does not wait for that.
    pub(super) fn expectations(&mut self, expect: &[file::Expect]) -> Vec<Expectation> {
        let mut expectations = Vec::new();
        for file::Expect { head, rest } in expect {
            for condition in self.conditions(head) {
                let (not_before, within) = self.times(condition, rest.within.as_ref());
                expectations.push(Expectation { condition, within, not_before });
            }
        }
        let says_settled = |expect: &file::Expect| matches!(expect.head, file::Condition::Settled(_));
        if !expect.iter().any(says_settled) {
            expectations.push(Expectation::SETTLED);
        }
        expectations
    }

    /// The earliest and the latest time at which a condition may come true.
    fn times(&mut self, condition: Condition, within: Option<&Unit<Within>>) -> (Duration, Duration) {
        let fallback = (Duration::ZERO, WITHIN_DEFAULT);
        let Some(unit) = within else { return fallback };
        let Some(within) = self.mistakes.quantity(unit) else { return fallback };
        let span = &unit.text.span;
        let failover_of = match condition {
            Condition::Failover(node) => Some(node),
            _ => None,
        };
        if failover_of.is_none() && within.min.is_some() {
            self.mistakes.add(span, "only a failover can come too early", "a single time");
        }
        if failover_of.is_none() && within.max.counts_round_trips() {
            self.mistakes.add(span, "round trips are those of a node that is lost", "heartbeats or plain time");
        }
        let round_trip = failover_of.map_or(Duration::ZERO, |node| self.hosts.nodes[node].link.round_trip());
        let measures = Measures { heartbeat: self.router.heartbeat, round_trip };
        let not_before = within.min.map_or(Duration::ZERO, |min| min.length(measures));
        let latest = within.max.length(measures);
        if not_before > latest {
            self.mistakes.add(span, "this range is empty", "the shorter time comes first, as in 3hb..5hb");
        }
        (not_before, latest)
    }

    fn conditions(&mut self, condition: &file::Condition) -> Vec<Condition> {
        match condition {
            file::Condition::Connected(count) => {
                let groups = self.connected.iter().map(|&group| u64::from(self.hosts.browsers[group].count));
                let most = groups.sum();
                self.at_most(count, most, "browsers are told to connect");
                vec![Condition::Connected(count.value)]
            }
            file::Condition::Delivered(count) => {
                self.at_most(count, self.events, "events are dispatched");
                vec![Condition::Delivered(count.value)]
            }
            file::Condition::FlowsAnswered(count) => {
                let most = self.flows_by_app.values().map(|&flows| u64::from(flows)).sum();
                self.at_most(count, most, "flows are held");
                vec![Condition::FlowsAnswered(count.value)]
            }
            file::Condition::Active(names) => self.present_nodes(names).map(Condition::Active).collect(),
            file::Condition::Reserve(names) => self.present_nodes(names).map(Condition::Reserve).collect(),
            file::Condition::Held(names) => self.present_nodes(names).map(Condition::Held).collect(),
            file::Condition::Failover(names) => self.lost_nodes(names).map(Condition::Failover).collect(),
            file::Condition::Settled(true) => vec![Condition::Settled],
            file::Condition::Settled(false) => Vec::new(),
        }
    }

    fn at_most(&mut self, count: &At<u32>, most: u64, what: &str) {
        if u64::from(count.value) > most {
            let message = format!("{} can never be reached", count.value);
            self.mistakes.add(&count.span, message, format!("up to this step {most} {what}"));
        }
    }

    fn present_nodes(&mut self, names: &Names) -> impl Iterator<Item = Ref<Node>> + use<> {
        let nodes = self.nodes(names);
        for (node, span) in &nodes {
            if let Err((what, _)) = self.presence.in_touch(*node) {
                let message = format!("node \"{}\" is not there to be expected", self.hosts.nodes[*node].name);
                self.mistakes.add(span, message, format!("it {what}"));
            }
        }
        nodes.into_iter().map(|(node, _)| node)
    }

    fn lost_nodes(&mut self, names: &Names) -> impl Iterator<Item = Ref<Node>> + use<> {
        let nodes = self.nodes(names);
        for (node, span) in &nodes {
            if !self.lost_now.contains(node) {
                let message = format!("node \"{}\" is not lost in this step", self.hosts.nodes[*node].name);
                self.mistakes.add(span, message, "nobody has to take over");
            }
        }
        nodes.into_iter().map(|(node, _)| node)
    }
}
