//! One direction of a link: decides when a packet arrives, if it does.
//!
//! It holds no packets; who does must call [`Link::release`] for each that leaves.

use std::time::Duration;

use halod_core::time::Instant;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Packets that may be under way on one direction of a link; more are dropped, as by a full interface queue.
pub const QUEUE_LENGTH_MAX: usize = 4096;

/// How a link treats packets, in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LinkConfig {
    /// The shortest time a packet is under way.
    pub delay_min: Duration,
    /// The longest; delays are spread evenly between the two.
    pub delay_max: Duration,
    /// Whether a packet may arrive before one that was sent earlier.
    pub reorders: bool,
    /// The probability that a packet is lost, 0.0 to 1.0.
    pub loss: f64,
    /// The probability that a packet arrives twice, each with a delay of its own.
    pub duplicates: f64,
    /// How long UDP datagrams are under way, if not as long as other packets.
    pub datagram_delay: Option<Duration>,
    /// The largest IP packet that passes, in bytes; `None` for no limit.
    pub mtu: Option<u16>,
}

/// What a packet is to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A UDP datagram, such as a heartbeat.
    Datagram,
    /// Anything else.
    Other,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// It leaves the link at this time; never before one that was admitted earlier, unless the link reorders or the
    /// earlier one is a datagram with a delay of its own, which holds up nothing but its like.
    DeliverAt(Instant),
    /// It is lost, by chance or because the link is cut.
    Lost,
    /// It is larger than the link's MTU, in bytes.
    TooBig {
        /// The largest packet that would pass.
        mtu: u16,
    },
    /// The queue is full: dropped.
    Full,
}

/// One direction of a link.
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    random: StdRng,
    last_delivery: Instant,
    /// Of datagrams with a delay of their own.
    last_late: Instant,
    under_way: usize,
    is_cut: bool,
}

impl Link {
    /// A link whose decisions follow from `seed` alone: the n-th packet offered has the same fate in every run.
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            config,
            random: StdRng::seed_from_u64(seed),
            last_delivery: Instant::ORIGIN,
            last_late: Instant::ORIGIN,
            under_way: 0,
            is_cut: false,
        }
    }

    /// Offers a packet of `length` bytes.
    pub fn admit(&mut self, now: Instant, kind: Kind, length: usize) -> Admit {
        // Both are drawn for every packet, also on a cut link, so that one packet's fate does not shift the next one's.
        let lost = self.random.random_bool(self.config.loss.clamp(0.0, 1.0));
        let delay = self.draw_delay();
        if self.is_cut {
            return Admit::Lost;
        }
        if let Some(mtu) = self.config.mtu.filter(|mtu| length > usize::from(*mtu)) {
            return Admit::TooBig { mtu };
        }
        if lost {
            return Admit::Lost;
        }
        if self.under_way == QUEUE_LENGTH_MAX {
            return Admit::Full;
        }
        self.under_way += 1;
        let late = self.config.datagram_delay.filter(|_| kind == Kind::Datagram);
        let delivery = now + late.unwrap_or(delay);
        if self.config.reorders {
            return Admit::DeliverAt(delivery);
        }
        let last = if late.is_some() { &mut self.last_late } else { &mut self.last_delivery };
        *last = delivery.max(*last);
        Admit::DeliverAt(*last)
    }

    /// Whether the packet that is offered next is to be offered once more.
    pub fn duplicates(&mut self) -> bool {
        // Nothing is drawn where that never happens.
        self.config.duplicates > 0.0 && self.random.random_bool(self.config.duplicates.clamp(0.0, 1.0))
    }

    /// Treats packets like this from now on. What is under way arrives as it would have.
    pub fn configure(&mut self, config: LinkConfig) {
        self.config = config;
    }

    /// Loses every packet from now on. What is under way is lost as well: who holds it releases it.
    pub fn cut(&mut self) {
        self.is_cut = true;
    }

    /// Ends a cut.
    pub fn heal(&mut self) {
        self.is_cut = false;
    }

    /// A packet that was to be delivered has left the link.
    pub fn release(&mut self) {
        self.under_way = self.under_way.checked_sub(1).expect("only an admitted packet leaves a link");
    }

    fn draw_delay(&mut self) -> Duration {
        let nanos = |delay: Duration| u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let (min, max) = (nanos(self.config.delay_min), nanos(self.config.delay_max));
        Duration::from_nanos(self.random.random_range(min..=max.max(min)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JITTERY: LinkConfig = LinkConfig {
        delay_min: Duration::from_millis(4),
        delay_max: Duration::from_millis(6),
        reorders: false,
        loss: 0.1,
        duplicates: 0.0,
        datagram_delay: None,
        mtu: None,
    };

    /// What becomes of `count` packets of 100 bytes, one every microsecond.
    fn fates(config: LinkConfig, seed: u64, count: u64) -> Vec<Admit> {
        let mut link = Link::new(config, seed);
        (0..count).map(|n| link.admit(Instant::from_nanos(n * 1_000), Kind::Other, 100)).collect()
    }

    #[test]
    fn a_link_without_impairments_delivers_at_once() {
        let now = Instant::from_nanos(7);
        assert_eq!(Link::new(LinkConfig::default(), 1).admit(now, Kind::Other, 65_535), Admit::DeliverAt(now));
    }

    #[test]
    fn the_seed_decides_everything() {
        assert_eq!(fates(JITTERY, 1, 1_000), fates(JITTERY, 1, 1_000));
        assert_ne!(fates(JITTERY, 1, 1_000), fates(JITTERY, 2, 1_000));
    }

    #[test]
    fn packets_keep_their_order_and_delays_stay_in_range() {
        let mut last = Instant::ORIGIN;
        let mut delivered = 0;
        for (n, fate) in (0..).zip(fates(JITTERY, 3, 4_000)) {
            let Admit::DeliverAt(at) = fate else { continue };
            assert!(at >= last);
            let delay = at.since(Instant::from_nanos(n * 1_000));
            assert!(delay >= JITTERY.delay_min && delay <= JITTERY.delay_max, "{delay:?}");
            last = at;
            delivered += 1;
        }
        assert!((3_500..3_700).contains(&delivered), "10% of 4,000 are lost, not {}", 4_000 - delivered);
    }

    #[test]
    fn a_link_that_reorders_delivers_some_packets_before_earlier_ones() {
        let times = |reorders| {
            let fates = fates(LinkConfig { reorders, ..JITTERY }, 4, 100);
            fates.into_iter().filter_map(|fate| if let Admit::DeliverAt(at) = fate { Some(at) } else { None })
        };
        assert!(times(false).is_sorted());
        assert!(!times(true).is_sorted());
    }

    #[test]
    fn some_packets_arrive_twice() {
        let twice = |duplicates| {
            let mut link = Link::new(LinkConfig { duplicates, ..LinkConfig::default() }, 6);
            (0..4_000).filter(|_| link.duplicates()).count()
        };
        assert_eq!([twice(0.0), twice(1.0)], [0, 4_000]);
        assert!((350..450).contains(&twice(0.1)), "10% of 4,000, not {}", twice(0.1));
    }

    #[test]
    fn datagrams_can_be_late_alone_and_hold_up_nothing() {
        let at = |millis| Instant::ORIGIN + Duration::from_millis(millis);
        let ten = Duration::from_millis(10);
        let late =
            LinkConfig { delay_min: ten, delay_max: ten, datagram_delay: Some(ten * 8), ..LinkConfig::default() };
        let mut link = Link::new(late, 1);
        let mut arrival = |kind, now| link.admit(at(now), kind, 100);
        assert_eq!(arrival(Kind::Datagram, 0), Admit::DeliverAt(at(80)));
        assert_eq!(arrival(Kind::Other, 1), Admit::DeliverAt(at(11)));
        assert_eq!(arrival(Kind::Datagram, 2), Admit::DeliverAt(at(82)));
        link.configure(LinkConfig { datagram_delay: None, ..late });
        assert_eq!(link.admit(at(3), Kind::Datagram, 100), Admit::DeliverAt(at(13)));
    }

    #[test]
    fn the_mtu_is_the_largest_packet_that_passes() {
        let mut link = Link::new(LinkConfig { mtu: Some(1_400), ..LinkConfig::default() }, 1);
        assert_eq!(link.admit(Instant::ORIGIN, Kind::Other, 1_400), Admit::DeliverAt(Instant::ORIGIN));
        assert_eq!(link.admit(Instant::ORIGIN, Kind::Other, 1_401), Admit::TooBig { mtu: 1_400 });
    }

    #[test]
    fn a_cut_link_loses_everything_and_the_fates_after_it_are_the_same() {
        let mut link = Link::new(JITTERY, 5);
        let fates_with_a_cut: Vec<Admit> = (0..60)
            .map(|n| {
                match n {
                    20 => link.cut(),
                    40 => link.heal(),
                    _ => {}
                }
                link.admit(Instant::from_nanos(n * 10_000_000), Kind::Other, 100)
            })
            .collect();
        let mut uncut = Link::new(JITTERY, 5);
        let fates: Vec<Admit> =
            (0..60).map(|n| uncut.admit(Instant::from_nanos(n * 10_000_000), Kind::Other, 100)).collect();
        assert_eq!(fates_with_a_cut[..20], fates[..20]);
        assert_eq!(fates_with_a_cut[20..40], [Admit::Lost; 20]);
        assert_eq!(fates_with_a_cut[40..], fates[40..]);
    }

    #[test]
    fn a_full_queue_drops_until_a_packet_leaves() {
        let mut link = Link::new(LinkConfig::default(), 1);
        for _ in 0..QUEUE_LENGTH_MAX {
            assert_eq!(link.admit(Instant::ORIGIN, Kind::Other, 1), Admit::DeliverAt(Instant::ORIGIN));
        }
        assert_eq!(link.admit(Instant::ORIGIN, Kind::Other, 1), Admit::Full);
        link.release();
        assert_eq!(link.admit(Instant::ORIGIN, Kind::Other, 1), Admit::DeliverAt(Instant::ORIGIN));
    }
}
