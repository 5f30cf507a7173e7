//! The rules in a real kernel: each test in a network namespace of its own, with real packets.
//!
//! Packets of this host itself go over its loopback; those that it forwards come from a TUN interface, of which the test is
//! the other end. Without the right to make a namespace, without TUN or without `nft`, the tests that need it are ignored, and
//! say why.

#![allow(clippy::unwrap_used, reason = "these are tests, though without libtest clippy cannot see it")]

use std::net::IpAddr;
use std::process::ExitCode;

use halod::nft::RulesSpec;
use halod::queue::Queues;
use libtest_mimic::Arguments;

#[path = "nft/changes.rs"]
mod changes;
#[path = "nft/conntrack.rs"]
mod conntrack;
#[path = "nft/listener.rs"]
mod listener;
#[path = "nft/listing.rs"]
mod listing;
#[path = "nft/loopback.rs"]
mod loopback;
#[path = "support/namespace.rs"]
mod namespace;
#[path = "nft/rewrite.rs"]
mod rewrite;
#[path = "nft/router.rs"]
mod router;
#[path = "nft/segment.rs"]
mod segment;
#[path = "nft/steer_flows.rs"]
mod steer_flows;
#[path = "nft/steer_own.rs"]
mod steer_own;
#[path = "nft/steer_strays.rs"]
mod steer_strays;
#[path = "nft/steer_table.rs"]
mod steer_table;

/// A test that panics when it fails.
type Test = (&'static str, fn());

const QUEUE: u16 = 7;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let over_loopback = [rewrite::TESTS, steer_own::TESTS, steer_table::TESTS, conntrack::TESTS].concat();
    let over_tun = [steer_flows::TESTS, steer_strays::TESTS, steer_own::TESTS_OVER_TUN].concat();
    let mut trials = namespace::trials(&over_loopback);
    trials.extend(namespace::trials_that_need(router::tun_is_there, &over_tun));
    trials.extend(namespace::trials_that_need(listing::nft_is_there, listing::TESTS));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The rules for 24 routes at these service addresses.
fn spec(addresses: &[IpAddr]) -> RulesSpec {
    RulesSpec {
        queues: Queues::one(QUEUE),
        addresses: addresses.to_vec(),
        browser_ports: 8001..=8024,
        app_ports: 9001..=9024,
        masquerade: false,
        every_packet: false,
    }
}
