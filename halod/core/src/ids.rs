//! Numbers with a meaning: routes, node ids, epochs, sides.

use std::fmt;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

/// One of the N slots of the route table, numbered 1..=N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RouteId(NonZeroU16);

impl RouteId {
    /// Route number `number`; `None` for 0, which is no route.
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The route at position `index` of a table, counted from 0.
    pub fn from_index(index: usize) -> Self {
        u16::try_from(index + 1).ok().and_then(Self::new).expect("a table has at most 65,535 routes")
    }

    /// The number, 1..=N.
    pub const fn number(self) -> u16 {
        self.0.get()
    }

    /// The position in a table, 0..N.
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// The place of an active node in the table, 1..=M. The proposal calls it "id".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(NonZeroU16);

impl NodeId {
    /// Node id `number`; `None` for 0, which is no node.
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The id at position `index` of a list of nodes, counted from 0.
    pub fn from_index(index: usize) -> Self {
        u16::try_from(index + 1).ok().and_then(Self::new).expect("there are at most 65,535 nodes")
    }

    /// The number, 1..=M.
    pub const fn number(self) -> u16 {
        self.0.get()
    }

    /// The position in a list of nodes, 0..M.
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// The version of the route table: every change of the table or of its holders makes the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Who a service port is for: browsers, which receive events, or applications, which dispatch them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Traffic to the browser ports.
    Browser,
    /// Traffic to the app ports.
    App,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Browser, Self::App];
}

macro_rules! display_as_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display_as_number!(RouteId, NodeId, Epoch);

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Browser => "browser",
            Side::App => "app",
        })
    }
}
