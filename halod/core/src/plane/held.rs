//! SYNs for a suspect node's routes: they wait until it is known whether the node is alive.
//!
//! Bounded; a SYN that finds no room is dropped, and its client sends it again.

use std::collections::BTreeMap;

use crate::flow::FlowKey;

/// SYNs that wait, at most. All browsers of a node that died come back at once.
const HELD_MAX: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct HeldSyns {
    by_flow: BTreeMap<FlowKey, Vec<u8>>,
}

impl HeldSyns {
    /// Keeps a copy of `syn`; a retransmission takes the place of the former one.
    pub(super) fn hold(&mut self, key: FlowKey, syn: &[u8]) {
        if self.by_flow.len() < HELD_MAX || self.by_flow.contains_key(&key) {
            self.by_flow.insert(key, syn.to_vec());
        }
    }

    /// All of them; none is held any more.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Vec<u8>> + use<> {
        std::mem::take(&mut self.by_flow).into_values()
    }
}
