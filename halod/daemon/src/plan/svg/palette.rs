//! Colours that people with any kind of colour vision can tell apart, and how to extend them to many nodes.

use std::fmt;

use halod_core::ids::NodeId;

/// The palette of Okabe and Ito ("Color Universal Design", 2008), with a grey instead of black.
const BASE: [Colour; 8] = [
    Colour(0x00, 0x72, 0xb2),
    Colour(0xe6, 0x9f, 0x00),
    Colour(0x00, 0x9e, 0x73),
    Colour(0xd5, 0x5e, 0x00),
    Colour(0x56, 0xb4, 0xe9),
    Colour(0xcc, 0x79, 0xa7),
    Colour(0xf0, 0xe4, 0x42),
    Colour(0x80, 0x80, 0x80),
];

const WHITE: Colour = Colour(0xff, 0xff, 0xff);
const INK: Colour = Colour(0x1f, 0x23, 0x28);

/// Red, green and blue of sRGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colour(u8, u8, u8);

impl Colour {
    /// Where there is no node.
    pub(super) const NOBODY: Self = Self(0xe5, 0xe7, 0xeb);

    /// The colour of `node`: the eight, then the same darker, lighter and darkest; ids 32 apart share one.
    pub(super) fn of(node: NodeId) -> Self {
        let base = BASE[node.index() % BASE.len()];
        match node.index() / BASE.len() % 4 {
            0 => base,
            1 => base.mixed(INK, 0.35),
            2 => base.mixed(WHITE, 0.4),
            _ => base.mixed(INK, 0.6),
        }
    }

    /// The same hue, less of it.
    pub(super) fn paler(self) -> Self {
        self.mixed(WHITE, 0.62)
    }

    /// The colour of text on this one: whichever of black and white has the higher contrast (WCAG 2.2).
    pub(super) fn readable_ink(self) -> Self {
        let contrast = |other: Colour| {
            let (a, b) = (self.luminance(), other.luminance());
            (a.max(b) + 0.05) / (a.min(b) + 0.05)
        };
        if contrast(WHITE) > contrast(INK) { WHITE } else { INK }
    }

    fn mixed(self, other: Colour, share: f64) -> Self {
        let mix = |a: u8, b: u8| (f64::from(a) * (1.0 - share) + f64::from(b) * share).round() as u8;
        Self(mix(self.0, other.0), mix(self.1, other.1), mix(self.2, other.2))
    }

    fn luminance(self) -> f64 {
        let linear = |channel: u8| {
            let value = f64::from(channel) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(self.0) + 0.7152 * linear(self.1) + 0.0722 * linear(self.2)
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_first_32_nodes_have_colours_of_their_own() {
        let colours: BTreeSet<String> =
            (0..32).map(|index| Colour::of(NodeId::from_index(index)).to_string()).collect();
        assert_eq!(colours.len(), 32);
    }

    #[test]
    fn text_is_dark_on_light_and_light_on_dark() {
        assert_eq!(Colour(0xf0, 0xe4, 0x42).readable_ink(), INK);
        assert_eq!(Colour(0x00, 0x20, 0x60).readable_ink(), WHITE);
    }
}
