//! The kernel engine: real processes in network namespaces, real time, and an emulated network between them.
//!
//! This module and those below it are its parts. They hold namespaces, interfaces and processes as values that clean
//! up when dropped, and that the kernel cleans up when the lab is killed. Nothing outside namespaces that the lab made
//! is touched.

mod busy;
pub mod clock;
pub mod daemon;
pub mod fabric;
mod faults;
pub mod hosts;
mod inbox;
mod netlink;
pub mod netns;
pub mod pcap;
mod play;
pub mod privileges;
pub mod process;
pub mod sockets;
pub mod tun;
pub mod wire;
pub mod world;

pub use netlink::{InterfaceConfig, Route};
