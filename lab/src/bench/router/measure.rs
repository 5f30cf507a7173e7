//! What is told of a contender: its rates, its latencies and what they cost.
//!
//! Processor time is told in three ways. *Machine* is all that the machine's processors worked while the load was on,
//! client and server included. *Router* is that less what the same load takes, in the same round, where client and server are
//! connected without a router: so the kernel's work for packets counts, wherever it was done. *Process* is what the
//! router's process took by the kernel's books, in which softirqs belong to whoever was running.

use super::load::{Cost, Sample};

/// A figure that a contender has in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Connections that were made, answered and ended, in a second.
    ConnsPerS,
    /// Requests that were answered in a second, on connections that stay.
    ReqsPerS,
    /// How long half of these requests take at most, in microseconds.
    P50,
    /// How long 99 in 100 of them take at most, in microseconds.
    P99,
    /// How long half of the requests take at most where nobody waits for a processor, in microseconds.
    LightP50,
    /// How long 99 in 100 of those take at most, in microseconds.
    LightP99,
    /// Payload that arrives at the server in a second, in units of 10^9 bits.
    BulkGbitS,
    /// Processor seconds of the router, for 10^9 bytes of bulk.
    RouterPerGb,
    /// Processor seconds of the router, for a million requests.
    RouterPerMillion,
    /// The same of the whole machine.
    MachinePerGb,
    /// The same of the whole machine.
    MachinePerMillion,
    /// The same of the router's process.
    ProcessPerGb,
    /// The same of the router's process.
    ProcessPerMillion,
}

impl Measure {
    /// Loads that a contender's measures come from.
    pub(super) const LOADS: usize = 4;

    /// How fast a contender is.
    pub const SPEED: [Measure; 7] = [
        Measure::ConnsPerS,
        Measure::ReqsPerS,
        Measure::P50,
        Measure::P99,
        Measure::LightP50,
        Measure::LightP99,
        Measure::BulkGbitS,
    ];

    /// What that costs.
    pub const COST: [Measure; 6] = [
        Measure::RouterPerGb,
        Measure::MachinePerGb,
        Measure::ProcessPerGb,
        Measure::RouterPerMillion,
        Measure::MachinePerMillion,
        Measure::ProcessPerMillion,
    ];

    /// Its name in JSON, with its unit.
    pub fn key(self) -> &'static str {
        match self {
            Measure::ConnsPerS => "conns_per_s",
            Measure::ReqsPerS => "reqs_per_s",
            Measure::P50 => "p50_us",
            Measure::P99 => "p99_us",
            Measure::LightP50 => "light_p50_us",
            Measure::LightP99 => "light_p99_us",
            Measure::BulkGbitS => "bulk_gbit_s",
            Measure::RouterPerGb => "cpu_s_per_gb",
            Measure::RouterPerMillion => "cpu_s_per_million_requests",
            Measure::MachinePerGb => "machine_cpu_s_per_gb",
            Measure::MachinePerMillion => "machine_cpu_s_per_million_requests",
            Measure::ProcessPerGb => "process_cpu_s_per_gb",
            Measure::ProcessPerMillion => "process_cpu_s_per_million_requests",
        }
    }

    /// Its heading in a table.
    pub fn heading(self) -> &'static str {
        match self {
            Measure::ConnsPerS => "new conns/s",
            Measure::ReqsPerS => "requests/s",
            Measure::P50 => "p50 us",
            Measure::P99 => "p99 us",
            Measure::LightP50 => "light p50",
            Measure::LightP99 => "light p99",
            Measure::BulkGbitS => "bulk Gbit/s",
            Measure::RouterPerGb | Measure::RouterPerMillion => "router",
            Measure::MachinePerGb | Measure::MachinePerMillion => "machine",
            Measure::ProcessPerGb | Measure::ProcessPerMillion => "process",
        }
    }

    /// Digits after the point that mean something.
    pub(super) fn digits(self) -> usize {
        match self {
            Measure::ConnsPerS
            | Measure::ReqsPerS
            | Measure::P50
            | Measure::P99
            | Measure::LightP50
            | Measure::LightP99 => 0,
            Measure::RouterPerMillion | Measure::MachinePerMillion | Measure::ProcessPerMillion => 1,
            Measure::BulkGbitS | Measure::RouterPerGb | Measure::MachinePerGb | Measure::ProcessPerGb => 2,
        }
    }

    /// What a round says of it; `direct` is the same round without a router.
    pub(super) fn of(self, sample: &Sample, direct: Option<&Sample>) -> Option<f64> {
        let per_gb = |sample: &Sample, seconds: fn(Cost) -> Option<f64>| {
            let bulk = sample.bulk?;
            Some(seconds(bulk.cost)? / bulk.got.gb)
        };
        let per_million = |sample: &Sample, seconds: fn(Cost) -> Option<f64>| {
            let requests = sample.requests?;
            Some(seconds(requests.cost)? / (requests.got.count as f64 / 1e6))
        };
        let machine: fn(Cost) -> Option<f64> = |cost| Some(cost.machine_s);
        let process: fn(Cost) -> Option<f64> = |cost| cost.process_s;
        match self {
            Measure::ConnsPerS => Some(sample.connections?.got.per_s),
            Measure::ReqsPerS => Some(sample.requests?.got.per_s),
            Measure::P50 => Some(sample.requests?.got.p50_us),
            Measure::P99 => Some(sample.requests?.got.p99_us),
            Measure::LightP50 => Some(sample.light?.got.p50_us),
            Measure::LightP99 => Some(sample.light?.got.p99_us),
            Measure::BulkGbitS => Some(sample.bulk?.got.gbit_s),
            Measure::RouterPerGb => Some(per_gb(sample, machine)? - per_gb(direct?, machine)?),
            Measure::RouterPerMillion => Some(per_million(sample, machine)? - per_million(direct?, machine)?),
            Measure::MachinePerGb => per_gb(sample, machine),
            Measure::MachinePerMillion => per_million(sample, machine),
            Measure::ProcessPerGb => per_gb(sample, process),
            Measure::ProcessPerMillion => per_million(sample, process),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::router::load::{Bulk, Costed};

    #[test]
    fn a_router_costs_what_the_machine_takes_beyond_the_load_itself() {
        let sample = |machine_s, gb, process_s| Sample {
            bulk: Some(Costed { got: Bulk { gbit_s: gb * 8.0, gb }, cost: Cost { machine_s, process_s } }),
            ..Sample::default()
        };
        let (direct, proxied) = (sample(2.0, 4.0, None), sample(2.0, 0.5, Some(0.75)));
        let check = |measure: Measure, wanted| assert_eq!(measure.of(&proxied, Some(&direct)), wanted);
        check(Measure::BulkGbitS, Some(4.0));
        check(Measure::MachinePerGb, Some(4.0));
        check(Measure::RouterPerGb, Some(3.5));
        check(Measure::ProcessPerGb, Some(1.5));
        check(Measure::RouterPerMillion, None);
        assert_eq!(Measure::RouterPerGb.of(&proxied, None), None);
        assert_eq!(Measure::ProcessPerGb.of(&direct, None), None);
    }
}
