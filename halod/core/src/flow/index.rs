//! Where each flow is in the table, by the two ends that a packet shows.
//!
//! The ends are in the flows; here are their places only, found by a hash. That takes far less room than maps with keys do,
//! and a look at the flow, which who asks for it will have anyway.

use std::hash::BuildHasher;
use std::net::SocketAddr;

use foldhash::quality::SeedableRandomState;
use hashbrown::HashTable;
use slab::Slab;

use super::entry::Flow;

#[derive(Debug)]
pub(super) struct Index {
    /// By what a client sends: (client, service).
    by_client: HashTable<u32>,
    /// By what a node sends: (peer, node), and (transit, node) where that differs.
    by_node: HashTable<SeenByNode>,
    hasher: SeedableRandomState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SeenByNode {
    place: u32,
    in_transit: bool,
}

impl SeenByNode {
    fn ends(self, flows: &Slab<Flow>) -> (SocketAddr, SocketAddr) {
        let flow = &flows[self.place as usize];
        (if self.in_transit { flow.transit() } else { flow.peer() }, flow.node)
    }
}

impl Index {
    /// `seed` keeps others from predicting the hashes.
    pub(super) fn new(seed: u64) -> Self {
        let hasher = SeedableRandomState::with_seed(seed, foldhash::SharedSeed::global_fixed());
        Self { by_client: HashTable::new(), by_node: HashTable::new(), hasher }
    }

    /// The hash of two ends.
    pub(super) fn hash(&self, ends: (SocketAddr, SocketAddr)) -> u64 {
        self.hasher.hash_one(ends)
    }

    /// The flow between a client and a service address.
    pub(super) fn sent_by_client(&self, flows: &Slab<Flow>, client: SocketAddr, service: SocketAddr) -> Option<usize> {
        let is_it = |&place: &u32| {
            let flow = &flows[place as usize];
            flow.client == client && flow.service == service
        };
        self.by_client.find(self.hash((client, service)), is_it).map(|&place| place as usize)
    }

    /// The flow between `peer`, a client as the node sees it or as it is in transit, and `node`.
    pub(super) fn seen_by_node(&self, flows: &Slab<Flow>, peer: SocketAddr, node: SocketAddr) -> Option<usize> {
        let is_it = |seen: &SeenByNode| seen.ends(flows) == (peer, node);
        self.by_node.find(self.hash((peer, node)), is_it).map(|seen| seen.place as usize)
    }

    /// Takes in the flow at `place`; no other has its ends.
    pub(super) fn insert(&mut self, flows: &Slab<Flow>, place: usize) {
        let hasher = &self.hasher;
        let flow = &flows[place];
        let place = u32::try_from(place).expect("fewer flows than that");
        let of_client = |&place: &u32| {
            let flow = &flows[place as usize];
            hasher.hash_one((flow.client, flow.service))
        };
        self.by_client.insert_unique(of_client(&place), place, of_client);
        for seen in views(flow, place) {
            let of_node = |seen: &SeenByNode| hasher.hash_one(seen.ends(flows));
            self.by_node.insert_unique(of_node(&seen), seen, of_node);
        }
    }

    /// Forgets `flow`, which was at `place`.
    pub(super) fn remove(&mut self, flow: &Flow, place: usize) {
        let hash = self.hash((flow.client, flow.service));
        if let Ok(entry) = self.by_client.find_entry(hash, |&other| other as usize == place) {
            entry.remove();
        }
        for seen in views(flow, place as u32) {
            let end = if seen.in_transit { flow.transit() } else { flow.peer() };
            let hash = self.hash((end, flow.node));
            if let Ok(entry) = self.by_node.find_entry(hash, |&other| other == seen) {
                entry.remove();
            }
        }
    }
}

/// As what the node's packets of a flow may appear.
fn views(flow: &Flow, place: u32) -> impl Iterator<Item = SeenByNode> + use<> {
    let is_disguised = flow.peer() != flow.transit();
    [false, true]
        .into_iter()
        .take(1 + usize::from(is_disguised))
        .map(move |in_transit| SeenByNode { place, in_transit })
}
