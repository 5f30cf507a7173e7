//! wrk: HTTP requests, each as soon as the one before it is answered.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::Context;

use crate::bench::router::program::{self, Program};
use crate::engines::kernel::netns::Netns;

/// Requests that are under way at a time, enough for all processors to be busy.
const CONNECTIONS: usize = 32;
/// Few enough that nobody waits for a processor: what a request takes then is the way there and back.
const FEW: usize = 2;
/// How much longer than told it may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether a connection outlives its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connections {
    OnePerRequest,
    Kept,
    /// Kept, and few.
    Few,
}

/// What wrk says of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::bench::router) struct Requests {
    pub(in crate::bench::router) per_s: f64,
    pub(in crate::bench::router) p50_us: f64,
    pub(in crate::bench::router) p99_us: f64,
    /// How many were answered.
    pub(in crate::bench::router) count: u64,
    /// Connections that failed or were cut, requests without an answer or with another one than 200.
    errors: u64,
}

/// Makes requests for so many seconds.
pub(super) fn run(
    netns: &Netns,
    server: SocketAddr,
    connections: Connections,
    seconds: u32,
) -> anyhow::Result<Requests> {
    let (count, threads) = match connections {
        Connections::OnePerRequest | Connections::Kept => {
            (CONNECTIONS, thread::available_parallelism()?.get().min(CONNECTIONS))
        }
        Connections::Few => (FEW, 1),
    };
    let mut wrk = Program::WRK.command(netns)?;
    wrk.args(["--latency", "-t", &threads.to_string(), "-c", &count.to_string(), "-d", &seconds.to_string()]);
    if connections == Connections::OnePerRequest {
        wrk.args(["-H", "Connection: close"]);
    }
    wrk.arg(format!("http://{server}/"));
    let output = program::run(&mut wrk, Duration::from_secs(seconds.into()) + PATIENCE)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let requests = Requests::parse(&said)
        .with_context(|| format!("wrk: {}{}", said.trim(), String::from_utf8_lossy(&output.stderr).trim()))?;
    // What is cut off at the end of a run is no error, but what fails all the time leaves a rate of nothing.
    anyhow::ensure!(requests.errors * 100 <= requests.count, "wrk: {}", said.trim());
    Ok(requests)
}

impl Requests {
    fn parse(text: &str) -> Option<Self> {
        let lines = || text.lines().map(str::trim);
        let after = |prefix: &str| lines().find_map(|line| line.strip_prefix(prefix)).map(str::trim);
        let errors = after("Socket errors:").unwrap_or_default().split(", ");
        // "connect 0, read 12, write 0, timeout 0"
        let errors = errors.filter_map(|kind| kind.split_once(' ')?.1.parse::<u64>().ok()).sum::<u64>();
        let refused = after("Non-2xx or 3xx responses:").map_or(Some(0), |count| count.parse().ok())?;
        Some(Self {
            per_s: after("Requests/sec:")?.parse().ok()?,
            p50_us: microseconds(after("50%")?)?,
            p99_us: microseconds(after("99%")?)?,
            count: lines().find_map(|line| line.split_once(" requests in ")?.0.parse().ok())?,
            errors: errors + refused,
        })
    }
}

/// `271.00us`, `8.09ms`, `1.02s` or `1.50m`.
fn microseconds(text: &str) -> Option<f64> {
    let unit = text.find(|character: char| character.is_ascii_alphabetic())?;
    let factor = match &text[unit..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        _ => return None,
    };
    Some(text[..unit].parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// wrk 4.1.0.
    const CLEAN: &str = "\
Running 1s test @ http://10.2.0.2:8080/
  2 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.78ms    2.88ms  17.65ms   83.04%
    Req/Sec     4.26k   802.19     5.97k    70.00%
  Latency Distribution
     50%  519.00us
     75%    0.96ms
     90%    5.51ms
     99%   12.76ms
  8732 requests in 1.04s, 1.21MB read
Requests/sec:   8423.55
Transfer/sec:      1.16MB
";

    #[test]
    fn rate_count_and_latencies_are_read() {
        let wanted = Requests { per_s: 8423.55, p50_us: 519.0, p99_us: 12_760.0, count: 8732, errors: 0 };
        assert_eq!(Requests::parse(CLEAN), Some(wanted));
    }

    #[test]
    fn errors_of_all_kinds_are_counted() {
        let text = CLEAN.replace(
            "Requests/sec",
            "  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 50000\nRequests/sec",
        );
        assert_eq!(Requests::parse(&text).unwrap().errors, 54_321);
    }

    #[test]
    fn what_is_not_the_end_of_a_run_is_nothing() {
        assert_eq!(Requests::parse("unable to connect to 10.2.0.2:80 Connection refused\n"), None);
        assert_eq!(["1.02s", "2.00m", "3.00h", "4"].map(microseconds), [Some(1.02e6), Some(120e6), None, None]);
    }
}
