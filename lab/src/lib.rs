//! The test lab of HaloD: fake nodes, apps and browsers, scenarios of joins and leaves, and the engines that run them.

pub mod actors;
pub mod addresses;
pub mod bench;
pub mod cast;
pub mod catalogue;
pub mod cli;
pub mod engine;
pub mod engines;
pub mod expected;
pub mod fuzz;
pub mod ledger;
pub mod monitor;
pub mod network;
pub mod observation;
pub mod orbited;
mod outbox;
#[cfg(test)]
mod puppet;
pub mod replay;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod snapshot;
pub mod stacks;
pub mod stray;
pub mod timing;
