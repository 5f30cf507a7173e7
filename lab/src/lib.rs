
pub mod actors;
pub mod network;
pub mod observation;
pub mod orbited;
