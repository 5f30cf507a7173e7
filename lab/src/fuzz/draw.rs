//! Draws a case from a seed. Half of the skill of a search is here: small clusters, faults close together, and every
//! dimension at its edge now and then.

use std::ops::RangeInclusive;

use halod_core::plane::PlaneKind;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::case::{Act, Case, Deed, LinkSpec};
use crate::orbited::Transport;
use crate::scenario::Way;

/// Acts of a case, beside the first joins.
const ACTS: RangeInclusive<usize> = 1..=12;

impl Case {
    /// The case of a seed; always the same one.
    pub fn draw(seed: u64) -> Self {
        Draw { random: StdRng::seed_from_u64(seed) }.case(seed)
    }
}

struct Draw {
    random: StdRng,
}

impl Draw {
    fn case(&mut self, seed: u64) -> Case {
        let nodes = self.pick(&[1, 2, 2, 3, 3, 4, 4, 5, 6, 8]);
        let routes = self.pick(&[1, 2, 3, 5, 8, 13, 24, 24, 24, 60]);
        let misses = self.pick(&[1, 2, 3, 3, 3, 5]);
        let heartbeat = self.pick(&[10, 20, 50, 50, 100]);
        let link = self.base_link(heartbeat, misses);
        // TCP acknowledges for a browser that does not read, on every connection that it has; which of them it reads first
        // when it goes on is its own matter. So there are no events whose order counts where browsers pause.
        let pauses = self.chance(25);
        let (events, rate) = if pauses {
            (0, 1)
        } else if self.chance(70) {
            (self.from(1..=150), self.from(20..=500))
        } else {
            (0, 1)
        };
        Case {
            seed,
            routes,
            reserve: self.pick(&[0, 0, 1, 1, 2]),
            heartbeat,
            misses,
            drain: self.pick(&[0, 50, 500, 2_000, 10_000]),
            pace: if self.chance(40) { Some(self.pick(&[5, 50, 500])) } else { None },
            masquerade: self.chance(20),
            nodes,
            browsers: self.pick(&[1, 2, 3, 5, 8, 16, 30]),
            transports: self.transports(),
            events,
            rate,
            link,
            acts: self.acts(nodes, heartbeat, misses, link, pauses),
            plane: self.pick(&[PlaneKind::Rewrite, PlaneKind::Steer]),
            survey: self.pick(&[0, 1, 10, 10, 50]),
        }
    }

    /// A link on which a cluster can be at rest: no heartbeat is late or lost so often that a node is.
    fn base_link(&mut self, heartbeat: u32, misses: u32) -> LinkSpec {
        let delay_min = self.pick(&[1, 1, 1, 2, 5, 20]);
        let jitter = if self.chance(30) { heartbeat / 5 } else { 0 };
        let loss = if misses >= 3 && self.chance(15) { 1 } else { 0 };
        let duplicates = if self.chance(15) { self.pick(&[1, 10, 100]) } else { 0 };
        LinkSpec { delay_min, delay_max: delay_min + jitter, reorders: self.chance(10), loss, duplicates }
    }

    fn transports(&mut self) -> Vec<Transport> {
        if self.chance(30) {
            return Transport::ALL.to_vec();
        }
        (0..self.random.random_range(1..=3)).map(|_| self.pick(&Transport::ALL)).collect()
    }

    fn acts(&mut self, nodes: u16, heartbeat: u32, misses: u32, link: LinkSpec, pauses: bool) -> Vec<Act> {
        let first = self.random.random_range(1..=nodes);
        let joins = (1..=first).map(|node| Act { after: self.pick(&[0, 0, 0, 1, 30]), deed: Deed::Join(node) });
        let mut acts: Vec<Act> = joins.collect();
        for _ in 0..self.random.random_range(ACTS) {
            let after = self.pause(heartbeat, misses);
            let deed = if pauses && self.chance(15) {
                Deed::Pause(self.from(1..=1_000))
            } else {
                self.deed(nodes, heartbeat, misses, link)
            };
            acts.push(Act { after, deed });
        }
        acts
    }

    /// A time between two acts: none, too little for anything, or about as long as something takes to be noticed.
    fn pause(&mut self, heartbeat: u32, misses: u32) -> u32 {
        match self.random.random_range(0..6) {
            0 => 0,
            1 | 2 => self.from(1..=10),
            3 => self.from(1..=heartbeat * 2),
            4 => heartbeat * misses + self.from(0..=heartbeat),
            _ => self.from(100..=1_500),
        }
    }

    fn deed(&mut self, nodes: u16, heartbeat: u32, misses: u32, link: LinkSpec) -> Deed {
        let node = self.random.random_range(1..=nodes);
        match self.random.random_range(0..100) {
            0..18 => Deed::Join(node),
            18..26 => Deed::Leave(node),
            26..40 => Deed::Crash(node),
            40..46 => Deed::PowerOff(node),
            46..52 => Deed::Restart(node),
            52..58 => Deed::Hang(node),
            58..63 => Deed::Resume(node),
            63..72 => Deed::Cut(node, self.pick(&[Way::Both, Way::Up, Way::Down])),
            72..78 => Deed::Heal(node),
            78..82 => Deed::Flap(node, self.from(1..=heartbeat * misses)),
            82..86 => Deed::RelinkNode(node, self.bad_link(heartbeat, link)),
            86..89 => Deed::RelinkBrowsers(self.bad_link(heartbeat, link)),
            89..91 => Deed::RelinkApp(self.bad_link(heartbeat, link)),
            // Below what loses a node, about that, or so much that it is lost for certain.
            91..94 => Deed::DelayHeartbeats(node, self.from(1..=heartbeat * (misses + 1))),
            94..97 => Deed::Clear,
            _ => Deed::Jump(self.from(1..=heartbeat * misses * 3)),
        }
    }

    fn bad_link(&mut self, heartbeat: u32, link: LinkSpec) -> LinkSpec {
        let delay_max = link.delay_min + self.from(0..=heartbeat * 2);
        let (reorders, loss) = (self.chance(50), self.pick(&[0, 5, 20, 50]));
        LinkSpec { delay_min: link.delay_min, delay_max, reorders, loss, duplicates: self.pick(&[0, 0, 10, 100]) }
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.random.random_range(0..choices.len())]
    }

    fn from(&mut self, range: RangeInclusive<u32>) -> u32 {
        self.random.random_range(range)
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }
}
