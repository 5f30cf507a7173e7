//! The test lab of HaloD: fake nodes, apps and browsers, scenarios of joins and leaves, and the engines that run them.

pub mod actors;
pub mod engines;
pub mod network;
pub mod observation;
pub mod orbited;
mod outbox;
#[cfg(test)]
mod puppet;
pub mod stacks;
