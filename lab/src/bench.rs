//! Measurements that repeat one thing often: `lab bench`. They judge HaloD in their short forms only, by generous budgets.

mod distribution;
pub mod failover;
pub mod router;
pub mod sim;

pub use distribution::Distribution;
