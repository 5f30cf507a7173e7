//! Losing nodes: several at once are one change, and a name that keeps dying has to wait.

use std::collections::BTreeMap;
use std::time::Duration;

use super::change::Change;
use super::session::Place;
use super::{Cluster, Loss, Note, Output};
use crate::flow::{FlowPhase, Flows, Toward};
use crate::ids::Side;
use crate::routing::SessionId;
use crate::time::Instant;

/// A name that is lost again within this time has to wait.
const MEMORY: Duration = Duration::from_secs(600);
/// The first wait, doubled by each further loss, and the longest.
const HOLD_FIRST: Duration = Duration::from_secs(1);
const HOLD_MAX: Duration = Duration::from_secs(60);
/// Names that are remembered, at most: those lost longest ago are forgotten first.
const NAMES_MAX: usize = 8192;

/// Which names were lost of late.
#[derive(Debug, Default)]
pub(super) struct Losses {
    by_name: BTreeMap<String, Record>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    at: Instant,
    /// How long the name waits when it registers again.
    hold: Duration,
}

impl Losses {
    /// A node of this name was lost.
    pub(super) fn note(&mut self, now: Instant, name: &str) {
        self.by_name.retain(|_, record| now.since(record.at) < MEMORY);
        let hold = match self.by_name.get(name) {
            None => Duration::ZERO,
            Some(record) => (record.hold * 2).clamp(HOLD_FIRST, HOLD_MAX),
        };
        if self.by_name.len() >= NAMES_MAX && !self.by_name.contains_key(name) {
            let oldest = self.by_name.iter().min_by_key(|(_, record)| record.at).map(|(name, _)| name.clone());
            self.by_name.remove(&oldest.expect("a full map has an oldest entry"));
        }
        self.by_name.insert(name.to_owned(), Record { at: now, hold });
    }

    /// How long a node of this name has to wait if it registers now.
    pub(super) fn hold(&self, now: Instant, name: &str) -> Duration {
        let record = self.by_name.get(name).filter(|record| now.since(record.at) < MEMORY);
        record.map_or(Duration::ZERO, |record| record.hold)
    }
}

impl Cluster {
    pub(super) fn lose(&mut self, now: Instant, node: SessionId, how: Loss) {
        self.lose_all(now, vec![(node, how)]);
    }

    /// Takes nodes out of the cluster that are gone: one change of the table, however many they are. Reserves go to
    /// the lowest ids; ids without one are then removed, highest first.
    pub(super) fn lose_all(&mut self, now: Instant, nodes: Vec<(SessionId, Loss)>) {
        let mut vacated = Vec::new();
        let mut newcomers = Vec::new();
        for (node, how) in nodes {
            let Some(session) = self.forget(node) else { continue };
            let name = session.member.name.clone();
            if let Place::Active(id) = session.place {
                vacated.push((id, name.clone()));
            }
            let toward = if session.place == Place::Leaving {
                self.note(Note::Left { name });
                // Its process may live on without a session, and has to learn of the end of its flows too.
                Toward::Both
            } else {
                self.losses.note(now, &name);
                self.note(Note::Lost { name, how });
                Toward::Client
            };
            self.outputs.extend(session.conn.map(Output::Close));
            self.looks.bereave(node, toward);
            newcomers.extend(self.parked.remove(&node));
        }
        // A newcomer of the same name is a reserve by now when its id is given away.
        let welcomes: Vec<_> =
            newcomers.into_iter().filter_map(|(conn, hello)| self.register(now, conn, hello)).collect();
        let mut change = Change::default();
        vacated.sort();
        let mut orphaned = Vec::new();
        for (id, name) in vacated {
            match self.next_reserve(Some(&name)) {
                Some(successor) => self.succeed(&mut change, id, successor),
                None => orphaned.push(id),
            }
        }
        for id in orphaned.into_iter().rev() {
            self.close_up(&mut change, id);
        }
        for &(_, node) in &welcomes {
            self.place_newcomer(&mut change, node);
        }
        self.settle(now, change);
        for (conn, node) in welcomes {
            self.send_welcome(conn, node);
        }
        self.look_now(now);
    }

    /// Ends the flows of nodes that were lost: those of apps at once, those of browsers at the pace.
    pub(super) fn end_flows_of_the_lost(&mut self, flows: &dyn Flows) {
        for (node, toward) in self.looks.take_bereaved() {
            let mut browsers = Vec::new();
            flows.visit_node(node, &mut |flow| match (flow.phase, flow.side) {
                // A half-open one is decided anew at its next SYN.
                (FlowPhase::HalfOpen | FlowPhase::Ended, _) => {}
                (FlowPhase::Established, Side::App) if mutant!(AppFlowsNotReset) => {}
                (FlowPhase::Established, Side::Browser) if mutant!(BrowserFlowsNotReset) => {}
                (FlowPhase::Established, Side::App) => {
                    self.outputs.push_back(Output::End(flow.key, toward));
                }
                (FlowPhase::Established, Side::Browser) => browsers.push(flow),
            });
            browsers.sort_by_key(|flow| (std::cmp::Reverse(flow.last_active), flow.key));
            self.endings.extend(browsers.into_iter().map(|flow| (flow.key, toward)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_with_each_loss_and_is_forgotten_after_ten_minutes() {
        let mut losses = Losses::default();
        let mut now = Instant::ORIGIN;
        let mut waits = Vec::new();
        for _ in 0..9 {
            losses.note(now, "n1");
            waits.push(losses.hold(now, "n1").as_secs());
            now = now + Duration::from_secs(599);
        }
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(losses.hold(now, "n2"), Duration::ZERO);
        assert_eq!(losses.hold(now + Duration::from_secs(1), "n1"), Duration::ZERO);
        losses.note(now + Duration::from_secs(1), "n1");
        assert_eq!(losses.hold(now + Duration::from_secs(1), "n1"), Duration::ZERO);
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut losses = Losses::default();
        for number in 0..NAMES_MAX + 10 {
            losses.note(Instant::from_nanos(number as u64), &format!("n{number}"));
        }
        assert_eq!(losses.by_name.len(), NAMES_MAX);
        assert!(!losses.by_name.contains_key("n9") && losses.by_name.contains_key("n10"));
    }
}
