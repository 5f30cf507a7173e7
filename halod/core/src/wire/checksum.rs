//! The Internet checksum: in full (RFC 1071) and by difference (RFC 1624).
//!
//! Take the bytes as 16-bit words and add them with end-around carry: what overflows at the top is added at the bottom.
//! That is arithmetic modulo 0xFFFF, in which the complement `!w` is the negative of `w`, and 0x0000 and 0xFFFF are the
//! same number. The checksum is the complement of the sum, so that the sum over words and checksum is 0xFFFF, "zero".
//!
//! Three things follow.
//!
//! * Carries may wait. 2^16 is 1 modulo 0xFFFF, so the words may be added two at a time into a wide number that is folded
//!   to 16 bits once, at the end. No carry has to be tested on the way, and the compiler can use vector instructions.
//! * Byte order does not matter. Swapping the bytes of every word multiplies by 2^8, which is its own inverse modulo
//!   0xFFFF. So the words are added as they lie in memory, and the result is stored as it comes.
//! * A changed word needs no second pass. If `m` becomes `m'`, the sum grows by `m' - m`, so with the checksum `c`
//!   the new one is `!(!c + !m + m')`: equation 3 of RFC 1624. Its authors chose this form over the shorter
//!   `c + m + !m'` because its result is 0xFFFF only if all three terms are zero; a full computation over an IP packet,
//!   which is never all zero, does not yield 0xFFFF either. A checksum that was wrong is wrong afterwards by as much.

use std::ops::{Add, Sub};

/// A sum of 16-bit words, its carries not yet folded in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of `bytes`; an odd one at the end is padded with a zero.
    ///
    /// Sums of pieces may be added if all but the last have an even length.
    pub fn of(bytes: &[u8]) -> Self {
        let (pairs, rest) = bytes.as_chunks::<4>();
        let rest = if mutant!(OddChecksum) { &rest[..rest.len() & !1] } else { rest };
        // A plain loop over whole pairs, which the compiler turns into one over 16 bytes and more at a time.
        let sum: u64 = pairs.iter().map(|pair| u64::from(u32::from_ne_bytes(*pair))).sum();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        Self(sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// The checksum over what was added, as it goes into a header.
    pub fn checksum(self) -> [u8; 2] {
        (!self.folded()).to_ne_bytes()
    }

    /// Whether this sum, over words and their checksum, says that they arrived as they were sent.
    pub fn verifies(self) -> bool {
        self.folded() == 0xFFFF
    }

    fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xFFFF {
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        sum as u16
    }
}

impl Add for Sum {
    type Output = Sum;

    fn add(self, more: Sum) -> Sum {
        Sum(self.0 + more.0)
    }
}

impl Sub for Sum {
    type Output = Sum;

    fn sub(self, less: Sum) -> Sum {
        Sum(self.0 + u64::from(!less.folded()))
    }
}

/// Writes `new` into `field`, which begins at an even offset of what is summed, and returns by how much the sum grew.
pub(super) fn replace<const N: usize>(field: &mut [u8; N], new: [u8; N]) -> Sum {
    let old = std::mem::replace(field, new);
    Sum::of(&new) - Sum::of(&old)
}

/// Brings a checksum up to date after the sum it covers grew by `growth`, and returns by how much the field itself
/// grew, for a checksum around it.
pub(super) fn update(checksum: &mut [u8; 2], growth: Sum) -> Sum {
    let sum = Sum(u64::from(!u16::from_ne_bytes(*checksum)));
    replace(checksum, (sum + growth).checksum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let sum = Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.checksum(), (!0xddf2_u16).to_be_bytes());
    }

    #[test]
    fn the_example_of_rfc_1624() {
        let (mut checksum, mut field) = ([0xdd, 0x2f], [0x55, 0x55]);
        let growth = replace(&mut field, [0x32, 0x85]);
        update(&mut checksum, growth);
        assert_eq!((checksum, field), ([0x00, 0x00], [0x32, 0x85]));
    }

    #[test]
    fn an_odd_byte_is_padded_with_zero() {
        for length in 0..9 {
            let odd = vec![0xab; 2 * length + 1];
            let even = [&odd[..], &[0]].concat();
            assert_eq!(Sum::of(&odd).checksum(), Sum::of(&even).checksum(), "{length}");
        }
    }

    #[test]
    fn the_longest_packet_of_the_largest_words_does_not_overflow() {
        assert_eq!(Sum::of(&[0xff; 65_536]).checksum(), [0, 0]);
    }
}
