//! The last SYNs that were sent on their way, in case their node is lost before it answers.
//!
//! Bounded, and no more than a courtesy: a SYN that is not here any more its client sends again by itself.

use std::collections::{HashMap, VecDeque};

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

use crate::flow::FlowKey;

/// SYNs at most.
const RECENT_MAX: usize = 16_384;

#[derive(Debug)]
pub(super) struct RecentSyns {
    by_flow: HashMap<FlowKey, RecentSyn, SeedableRandomState>,
    /// The oldest first. May name some that were taken since.
    order: VecDeque<FlowKey>,
}

#[derive(Debug)]
struct RecentSyn {
    publication: u64,
    sequence: u32,
    packet: Vec<u8>,
}

impl RecentSyns {
    /// Nobody who does not know `seed` can have SYNs collide.
    pub(super) fn new(seed: u64) -> Self {
        let by_flow = HashMap::with_hasher(SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()));
        Self { by_flow, order: VecDeque::new() }
    }

    /// Keeps a copy of `syn`, which was decided about by the `publication`th routing. One that is sent again is as old as the
    /// first: that is what the kernel has pinned.
    pub(super) fn keep(&mut self, publication: u64, key: FlowKey, sequence: u32, syn: &[u8]) {
        if let Some(former) = self.by_flow.get_mut(&key) {
            if former.sequence != sequence {
                (former.publication, former.sequence) = (publication, sequence);
            }
            former.packet.clear();
            former.packet.extend_from_slice(syn);
            return;
        }
        let mut packet = self.make_room();
        packet.clear();
        packet.extend_from_slice(syn);
        self.by_flow.insert(key, RecentSyn { publication, sequence, packet });
        self.order.push_back(key);
    }

    /// Where there is no room for another one the oldest goes. Returns the memory that it had, so that none has to be found for
    /// each connection that begins.
    fn make_room(&mut self) -> Vec<u8> {
        let oldest = if self.order.len() < RECENT_MAX { None } else { self.order.pop_front() };
        oldest.and_then(|oldest| self.take(oldest)).unwrap_or_default()
    }

    /// Takes the SYN of a flow, if it is still here.
    pub(super) fn take(&mut self, key: FlowKey) -> Option<Vec<u8>> {
        self.by_flow.remove(&key).map(|syn| syn.packet)
    }

    /// Whether a SYN of this flow is here that was decided about by this routing, or a later one.
    pub(super) fn is_since(&self, publication: u64, key: FlowKey) -> bool {
        self.by_flow.get(&key).is_some_and(|syn| syn.publication >= publication)
    }

    /// Whether a SYN of this flow with this sequence number was sent on its way: the kernel has pinned it.
    pub(super) fn is_repeated(&self, key: FlowKey, sequence: u32) -> bool {
        self.by_flow.get(&key).is_some_and(|syn| syn.sequence == sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u16) -> FlowKey {
        FlowKey { client: ([10, 1, 0, 1], number).into(), service: ([10, 0, 0, 1], 80).into() }
    }

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let mut recent = RecentSyns::new(1);
        (0..=u16::try_from(RECENT_MAX).unwrap()).for_each(|number| recent.keep(1, key(number), 7, &[1]));
        assert_eq!(recent.take(key(0)), None);
        recent.keep(1, key(1), 7, &[2]);
        assert_eq!((recent.take(key(1)), recent.take(key(1))), (Some(vec![2]), None));
        assert_eq!((recent.by_flow.len(), recent.order.len()), (RECENT_MAX - 1, RECENT_MAX));
    }

    #[test]
    fn one_that_comes_again_is_as_old_as_the_first_also_where_it_is_the_oldest() {
        let mut recent = RecentSyns::new(1);
        (0..u16::try_from(RECENT_MAX).unwrap()).for_each(|number| recent.keep(1, key(number), 7, &[1, 2, 3]));
        recent.keep(2, key(0), 7, &[4]);
        assert!(recent.is_repeated(key(0), 7) && !recent.is_since(2, key(0)));
        recent.keep(2, key(1), 8, &[5]);
        assert!(recent.is_repeated(key(1), 8) && recent.is_since(2, key(1)));
        let three = (0..3).map(|number| recent.take(key(number)));
        assert_eq!(three.collect::<Vec<_>>(), [Some(vec![4]), Some(vec![5]), Some(vec![1, 2, 3])], "nobody had to go");
    }
}
