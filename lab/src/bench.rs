//! Measurements that repeat one thing often: `lab bench`. They judge nothing; scenarios and their budgets do.

mod distribution;
pub mod failover;
pub mod router;
pub mod sim;

pub use distribution::Distribution;
