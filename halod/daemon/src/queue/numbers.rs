//! Which queues are one daemon's.

use std::ops::RangeInclusive;

/// The numbers of a daemon's NFQUEUEs: 1, 2, 4, 8 or 16 in a row, each served by a thread of its own.
///
/// Bits of a client's port say which queue a packet goes to, so there is a power of two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    first: u16,
    count: u16,
}

impl Queues {
    /// As many as there may be: 4 MiB of memory for packets each, and up to 32 MiB in the kernel.
    const COUNT_MAX: u16 = 16;

    /// One queue for everything.
    pub const fn one(number: u16) -> Self {
        Self { first: number, count: 1 }
    }

    /// `None` unless `count` is one of those that are possible and all numbers are below 65,536.
    pub fn new(first: u16, count: u16) -> Option<Self> {
        let is_possible = count.is_power_of_two() && count <= Self::COUNT_MAX;
        (is_possible && first.checked_add(count - 1).is_some()).then_some(Self { first, count })
    }

    /// The lowest number. It tells two daemons of one network namespace apart.
    pub fn first(self) -> u16 {
        self.first
    }

    /// How many there are.
    pub fn count(self) -> u16 {
        self.count
    }

    /// All of them.
    pub fn numbers(self) -> RangeInclusive<u16> {
        self.first..=self.first + (self.count - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_of_two_up_to_sixteen() {
        let possible: Vec<u16> = (0..=u16::MAX).filter(|&count| Queues::new(7, count).is_some()).collect();
        assert_eq!(possible, [1, 2, 4, 8, 16]);
    }

    #[test]
    fn numbers_end_with_the_last_that_there_is() {
        assert_eq!(Queues::new(65_532, 4).map(Queues::numbers), Some(65_532..=65_535));
        assert_eq!(Queues::new(65_533, 4), None);
        assert_eq!(Queues::one(65_535).numbers(), 65_535..=65_535);
    }
}
