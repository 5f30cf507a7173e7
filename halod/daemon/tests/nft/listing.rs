//! What an operator sees of the rules: `nft` of nftables has to be able to read them, and to say what they are.

use std::process::Command;

use halod::nft::{LastRules, Rules, SteerRules};

use crate::changes::{mark_means, node, port_leads_to, watched};
use crate::loopback::{V4, V6};
use crate::{Test, spec};

pub(crate) const TESTS: &[Test] = &[
    ("the_table_of_steer_can_be_listed", steer_can_be_listed),
    ("the_table_of_rewrite_can_be_listed", rewrite_can_be_listed),
];

/// Whether nftables is installed.
pub(crate) fn nft_is_there() -> Result<(), String> {
    let asked = Command::new("nft").arg("--version").output();
    asked.map(|_| ()).map_err(|error| format!("no nft (apt-get install nftables): {error}"))
}

fn steer_can_be_listed() {
    let mut rules = SteerRules::install(&spec(&[V4, V6]), LastRules::default()).unwrap();
    for address in [V4, V6] {
        rules.apply(port_leads_to(8001, (address, 80).into())).unwrap();
        rules.apply(mark_means(5, (address, 80).into())).unwrap();
        rules.apply(node((address, 80).into(), true)).unwrap();
    }
    rules.apply(watched(8001, true)).unwrap();
    let listed = list();
    for part in [
        "elements = { 8001 : 0x48463e82 }",
        "elements = { 0x48463e82 : 127.0.0.1 . 80 }",
        "elements = { 0x48463e82 : ::1 . 80 }",
        "elements = { 0x48440005 : 127.0.0.1 . 80 }",
        "tcp dport 8001-8024 dnat ip to meta mark map @marks4",
        "tcp dport 8001-8024 meta mark set tcp dport map @owners dnat ip to meta mark map @holders4",
        "tcp dport 9001-9024 meta mark set tcp dport map @owners dnat ip6 to meta mark map @holders6",
        "elements = { 8001 }",
    ] {
        assert!(listed.contains(part), "{part} is not in\n{listed}");
    }
}

fn rewrite_can_be_listed() {
    let mut rules = Rules::install(&spec(&[V4, V6])).unwrap();
    rules.set_nodes(&[(V4, 80).into(), (V6, 80).into()].into()).unwrap();
    let listed = list();
    for part in [
        "elements = { 127.0.0.1 . 80 }",
        "elements = { ::1 . 80 }",
        "ip daddr 127.0.0.1 tcp dport 8001-8024",
        "ip6 saddr . tcp sport @nodes6",
    ] {
        assert!(listed.contains(part), "{part} is not in\n{listed}");
    }
}

fn list() -> String {
    let listed = Command::new("nft").args(["list", "table", "inet", "halod-7"]).output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    String::from_utf8(listed.stdout).unwrap()
}
