//! The membership state machine: what goes in, and exactly what comes out.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod bench;
mod drains;
mod greetings;
mod heartbeats;
mod looks;
mod losses;
mod membership;
mod recovery;
mod suspicion;
