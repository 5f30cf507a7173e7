//! `--pcap`: captures that tshark dissects, and what it sees in them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Test, lab};

pub(crate) const TESTS: &[Test] = &[
    ("tshark_finds_no_checksum_error", Some("tshark"), tshark_finds_no_checksum_error),
    ("tshark_sees_stray_packets_reset", Some("tshark"), tshark_sees_stray_packets_reset),
];

/// TCP has two exceptions. Of what an ICMP error quotes, tshark computes the checksum over the part that is quoted. And
/// where a sum is 0x0000, Linux writes its other form 0xffff (`skb_checksum_help`), which receivers take for the same and
/// tshark does not. What is malformed counts up to TCP and UDP: above, tshark guesses the protocol from random ports.
const WRONG: &str = "(_ws.malformed && !tcp.payload && !udp.payload) || ip.checksum.status == 0 \
                     || udp.checksum.status == 0 || icmp.checksum.status == 0 || icmpv6.checksum.status == 0 \
                     || (tcp.checksum.status == 0 && !(tcp.checksum == 0xffff) && !icmp && !icmpv6)";

/// The captures of a run, removed when dropped.
struct Captures(PathBuf);

impl Captures {
    fn of(scenario: &str) -> Self {
        let directory =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("captures-{scenario}-{}", std::process::id()));
        let run = lab(&["run", scenario, "--pcap"]).arg(&directory).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
        Self(directory)
    }

    /// The captures of a scenario, which are these.
    fn files(&self, scenario: &str, expected: &[&str]) -> Vec<PathBuf> {
        let directory = fs::read_dir(self.0.join(scenario)).unwrap();
        let files: BTreeSet<PathBuf> = directory.map(|entry| entry.unwrap().path()).collect();
        assert!(
            files.iter().map(|file| file.file_stem().unwrap().to_str().unwrap()).eq(expected.iter().copied()),
            "{files:?}"
        );
        files.into_iter().collect()
    }
}

impl Drop for Captures {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The packets that a display filter holds for, a line each.
fn tshark(file: &Path, filter: &str) -> Vec<String> {
    let mut tshark = Command::new("tshark");
    for check in ["ip", "tcp", "udp"] {
        tshark.args(["-o", &format!("{check}.check_checksum:TRUE")]);
    }
    let output = tshark.arg("-n").arg("-r").arg(file).args(["-Y", filter]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn tshark_finds_no_checksum_error() {
    // Small packets and large ones, both IP versions, ICMP errors, a client with a TCP of the kernel.
    let scenarios: [(&str, &[&str]); 3] = [
        ("small-mtu", &["a", "b", "n1", "n2", "router-lan", "router-wan", "six"]),
        ("ipv6", &["a", "b", "n1", "n2", "old", "router-lan", "router-wan"]),
        ("client-on-the-nodes-subnet", &["a", "b", "n1", "n2", "neighbour", "router-lan", "router-wan"]),
    ];
    for (scenario, hosts) in scenarios {
        let captures = Captures::of(scenario);
        for file in captures.files(scenario, hosts) {
            assert_eq!(tshark(&file, WRONG), [""; 0], "{}", file.display());
            assert!(tshark(&file, "tcp.checksum.status == 1").len() >= 10, "{}", file.display());
        }
    }
}

fn tshark_sees_stray_packets_reset() {
    let captures = Captures::of("stray-packets");
    let directory = captures.0.join("stray-packets");
    let to_client = "tcp.flags.reset == 1 && ip.src == 192.0.2.1 && tcp.checksum.status == 1";
    assert_eq!(tshark(&directory.join("c1.pcap"), to_client).len(), 5);
    let to_node = "tcp.flags.reset == 1 && ip.src == 10.1.0.129 && tcp.checksum.status == 1";
    assert_eq!(tshark(&directory.join("n1.pcap"), to_node).len(), 2);
    // Some were broken on purpose by the client; nothing that the router sends is.
    let from_router = format!("!(ip.src == 10.1.0.129) && ({WRONG})");
    for file in captures.files("stray-packets", &["a", "b", "c1", "n1", "router-lan", "router-wan"]) {
        assert_eq!(tshark(&file, &from_router), [""; 0], "{}", file.display());
    }
}
