//! iperf3: one connection that carries as much as it can.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use crate::bench::router::program::{self, Program};
use crate::engines::kernel::netns::Netns;

/// How much longer than told it may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it may find the server still busy with the test before.
const TRIES: usize = 3;

/// What iperf3 says of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::bench::router) struct Bulk {
    pub(in crate::bench::router) gbit_s: f64,
    /// Payload that the server received, in units of 10^9 bytes.
    pub(in crate::bench::router) gb: f64,
}

/// Sends to the server for so many seconds.
pub(super) fn run(netns: &Netns, server: SocketAddr, seconds: u32) -> anyhow::Result<Bulk> {
    let mut failure = String::new();
    for _ in 0..TRIES {
        let mut iperf3 = Program::IPERF3.command(netns)?;
        iperf3.args(["--json", "--interval", "0", "--connect-timeout", "5000"]);
        iperf3.args(["-c", &server.ip().to_string(), "-p", &server.port().to_string(), "-t", &seconds.to_string()]);
        let output = program::run(&mut iperf3, Duration::from_secs(seconds.into()) + PATIENCE)?;
        match Bulk::parse(&output.stdout)? {
            Ok(bulk) => return Ok(bulk),
            Err(error) => failure = error,
        }
    }
    anyhow::bail!("iperf3: {failure}")
}

impl Bulk {
    /// Its figures, or the error that it tells.
    fn parse(json: &[u8]) -> anyhow::Result<Result<Self, String>> {
        #[derive(Deserialize)]
        struct Said {
            end: End,
            error: Option<String>,
        }
        #[derive(Deserialize)]
        struct End {
            sum_received: Option<Sum>,
        }
        #[derive(Deserialize)]
        struct Sum {
            bytes: f64,
            bits_per_second: f64,
        }
        let said: Said = serde_json::from_slice(json).context("iperf3 says what is not understood")?;
        if let Some(error) = said.error {
            return Ok(Err(error));
        }
        let Sum { bytes, bits_per_second } = said.end.sum_received.context("iperf3 tells no sum")?;
        Ok(Ok(Self { gbit_s: bits_per_second / 1e9, gb: bytes / 1e9 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_received_counts() {
        // iperf 3.12, less what does not matter.
        let json = br#"{
            "start": {"connected": [{"socket": 5, "local_host": "10.1.0.2", "local_port": 58684}], "version": "iperf 3.12"},
            "intervals": [],
            "end": {
                "sum_sent": {"seconds": 1.000132, "bytes": 1141768192, "bits_per_second": 9132939987.9215946},
                "sum_received": {"seconds": 1.0007, "bytes": 1134297088, "bits_per_second": 9068029083.64145, "sender": true},
                "cpu_utilization_percent": {"host_total": 19.900379269780846, "remote_total": 74.0917689358245}
            }
        }"#;
        let wanted = Bulk { gbit_s: 9.06802908364145, gb: 1.134297088 };
        assert_eq!(Bulk::parse(json).unwrap(), Ok(wanted));
    }

    #[test]
    fn an_error_is_told() {
        let json =
            br#"{"start": {"connected": []}, "intervals": [], "end": {}, "error": "unable to connect to server"}"#;
        assert_eq!(Bulk::parse(json).unwrap(), Err("unable to connect to server".to_owned()));
        assert!(Bulk::parse(b"").is_err());
    }
}
