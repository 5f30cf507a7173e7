//! `halod`, the daemon: the I/O around `halod-core`.
//!
//! It reads packets from NFQUEUE and messages from nodes, lets the core decide, and carries out what it says. Nothing
//! about routes, membership or rewriting is decided here.

#![deny(unsafe_code)]

pub mod check;
mod cli;
mod clock;
pub mod config;
pub mod conntrack;
mod control;
mod kernel;
mod masquerade;
mod netlink;
pub mod nft;
pub mod plan;
mod plane;
pub mod queue;
mod record;
pub mod run;

pub use cli::{main, main_from};
