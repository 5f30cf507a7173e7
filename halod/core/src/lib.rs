//! The routing, membership and packet logic of HaloD, without I/O.
//!
//! Nothing in this crate reads a clock, opens a socket, starts a thread or awaits: time and bytes come in as
//! arguments, decisions go out as values. The daemon drives it with the kernel's packets; a simulator can drive it
//! with its own.

// What iterates over a hash table has no order; clippy.toml bans the methods, this the loops.
#![deny(clippy::iter_over_hash_type)]

/// Whether the core is broken on purpose in this way: never, unless it was built with the feature `mutants`.
#[cfg(not(feature = "mutants"))]
macro_rules! mutant {
    ($mutant:ident) => {
        false
    };
}
#[cfg(feature = "mutants")]
macro_rules! mutant {
    ($mutant:ident) => {
        crate::mutant::is_made(crate::mutant::Mutant::$mutant)
    };
}

pub mod cluster;
pub mod flow;
pub mod ids;
pub mod last_table;
#[cfg(feature = "mutants")]
pub mod mutant;
pub mod plane;
pub mod protocol;
pub mod record;
pub mod route_table;
pub mod routing;
pub mod service;
pub mod time;
pub mod user;
pub mod wire;
