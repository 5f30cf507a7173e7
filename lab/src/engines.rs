//! What runs a scenario.

pub mod kernel;
