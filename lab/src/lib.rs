//! The test lab of HaloD: fake nodes, apps and browsers, scenarios of joins and leaves, and the engines that run them.

pub mod actors;
pub mod catalogue;
pub mod observation;
pub mod orbited;
pub mod report;
pub mod scenario;
pub mod snapshot;
