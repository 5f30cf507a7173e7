//! The simulator: HaloD's core, the fake nodes, the apps and the browsers in one process, on an emulated network, under
//! virtual time.
//!
//! What plays here is what plays on the kernel engine; only what moves bytes and time is another: all hosts have smoltcp
//! stacks, also nodes, apps and HaloD's control port, and a small model of the router's kernel shows the plane its
//! packets. Nothing takes any time but links and timers, so that the same scenario has the same transcript to the byte.

mod conntrack;
mod halod;
mod netfilter;
mod plane;
mod play;
mod router;
mod transcript;
pub mod world;
