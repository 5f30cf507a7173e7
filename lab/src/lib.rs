
pub mod actors;
pub mod network;
pub mod observation;
pub mod orbited;
mod outbox;
#[cfg(test)]
mod puppet;
pub mod stacks;
