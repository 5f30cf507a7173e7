//! What came of a replay, for a person.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use halod_core::cluster::{self, Loss, Note};
use halod_core::record::{Head, Input};
use halod_core::routing::Routing;
use halod_core::time::Instant;

use super::words::LossWords;
use crate::snapshot::write_table;

/// Losses that are listed; more are only counted.
const LOSSES_SHOWN: usize = 20;

/// What has happened so far.
#[derive(Debug)]
pub struct Summary {
    by: String,
    began: Instant,
    last: Instant,
    inputs: BTreeMap<&'static str, u64>,
    nodes: BTreeSet<String>,
    losses: Vec<(Instant, String, Loss)>,
    flows_begun: usize,
    flows_max: usize,
    pub(super) packets_sent: u64,
    pub(super) routing: Arc<Routing>,
    divergence: Option<Divergence>,
}

/// Where the core first decided otherwise than the recorded one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    /// The line of the record.
    pub line: u64,
    /// What was different.
    pub what: String,
}

impl Summary {
    pub(super) fn new(head: &Head) -> Self {
        Self {
            by: head.by.clone(),
            began: head.at,
            last: head.at,
            inputs: BTreeMap::new(),
            nodes: BTreeSet::new(),
            losses: Vec::new(),
            flows_begun: 0,
            flows_max: 0,
            packets_sent: 0,
            routing: Arc::default(),
            divergence: None,
        }
    }

    /// Time from the daemon's start to the last input.
    pub fn duration(&self) -> Duration {
        self.last.since(self.began)
    }

    /// The routing in force.
    pub fn routing(&self) -> &Routing {
        &self.routing
    }

    /// Where the core first decided otherwise than the recorded one.
    pub fn divergence(&self) -> Option<&Divergence> {
        self.divergence.as_ref()
    }

    pub(super) fn count(&mut self, at: Instant, input: &Input) {
        // The daemon's threads read its clock a moment before they write.
        self.last = self.last.max(at);
        *self.inputs.entry(kind(input)).or_default() += 1;
    }

    pub(super) fn note(&mut self, at: Instant, note: &Note) {
        match note {
            Note::Joined { name, .. } => drop(self.nodes.insert(name.clone())),
            Note::Lost { name, how } => self.losses.push((at, name.clone(), *how)),
            _ => {}
        }
    }

    pub(super) fn see_flows(&mut self, begun: usize, now: usize) {
        self.flows_begun = begun;
        self.flows_max = self.flows_max.max(now);
    }

    pub(super) fn diverge(&mut self, line: u64, what: impl FnOnce() -> String) {
        self.divergence.get_or_insert_with(|| Divergence { line, what: what() });
    }
}

fn kind(input: &Input) -> &'static str {
    match input {
        Input::Cluster(cluster::Input::Received { .. }) => "messages",
        Input::Cluster(cluster::Input::Datagram { .. }) => "datagrams",
        Input::Cluster(_) => "connections opened and ended",
        Input::Timeout | Input::Look | Input::Ask | Input::Expire => "ticks",
        Input::Publish { .. } => "routings",
        Input::End { .. } => "flows ended",
        Input::Packet(_) => "packets",
        Input::Survey { .. } => "surveys of the kernel",
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "recorded by  halod {}, {} routes", self.by, self.routing.owners.len())?;
        writeln!(f, "duration     {:.3} s", self.duration().as_secs_f64())?;
        let inputs = self.inputs.iter().map(|(kind, count)| format!("{count} {kind}"));
        writeln!(f, "inputs       {}: {}", self.inputs.values().sum::<u64>(), list(inputs))?;
        writeln!(f, "nodes        {}", list(self.nodes.iter().cloned()))?;
        for (at, name, how) in self.losses.iter().take(LOSSES_SHOWN) {
            let at = at.since(Instant::ORIGIN).as_secs_f64();
            writeln!(f, "lost         {name} at {at:.6} s: {}", LossWords(*how))?;
        }
        if let Some(more @ 1..) = self.losses.len().checked_sub(LOSSES_SHOWN) {
            writeln!(f, "lost         and {more} more")?;
        }
        let Self { flows_begun, flows_max, packets_sent, .. } = self;
        writeln!(f, "flows        {flows_begun} begun, {flows_max} at most at a time")?;
        writeln!(f, "own packets  {packets_sent} that the plane had to send by itself")?;
        match &self.divergence {
            None => writeln!(f, "decisions    as they were recorded")?,
            Some(Divergence { line, what }) => writeln!(f, "decisions    others from line {line} on: {what}")?,
        }
        writeln!(f, "table        of epoch {}", self.routing.epoch)?;
        write_table(f, &self.routing.owners)?;
        let holders = self.routing.holders.iter().enumerate();
        let holders = holders.map(|(index, member)| format!("{}={}", index + 1, member.name));
        writeln!(f, "   holders: {}", holders.collect::<Vec<_>>().join(" "))
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let list = items.collect::<Vec<_>>().join(", ");
    if list.is_empty() { "none".into() } else { list }
}
