//! What runs a scenario.

pub mod kernel;
pub mod sim;
