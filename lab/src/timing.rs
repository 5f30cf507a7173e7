//! How long things took when nodes were lost, and whether that was too long.

use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::Serialize;

use crate::scenario::Budget;

/// A machine on which the lab's own timers were later than this cannot be blamed on HaloD: what took too long there is
/// no failure, but cannot be judged.
pub const LATE_BOUND: Duration = Duration::from_millis(5);

/// The times of one loss of a node. All are counted from the kill or the cut, but for the failover after a kill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LossTimes {
    /// The step that it was lost in.
    pub step: String,
    /// Its name.
    pub node: String,
    /// Until its first FIN or RST reached the router, if its process was killed. This is its kernel's time.
    #[serde(rename = "first_fin_ms", serialize_with = "milliseconds_if_any")]
    pub first_closing: Option<Duration>,
    /// Until a node knew a table in which its routes have another owner: from its first FIN or RST if its process was
    /// killed. `None` if nobody took over.
    #[serde(rename = "failover_ms", serialize_with = "milliseconds_if_any")]
    pub failover: Option<Duration>,
    /// Until each browser that it served lost its connection.
    #[serde(rename = "reset_ms")]
    pub resets: Spread,
    /// Until each browser that it served had the first byte from another node; until that node served it where a
    /// transport sends nothing at once.
    #[serde(rename = "outage_ms")]
    pub outages: Spread,
}

/// Some times, shortest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spread(Vec<Duration>);

impl Spread {
    /// All of them.
    pub fn times(&self) -> &[Duration] {
        &self.0
    }

    /// The time that `percent` in 100 do not exceed (nearest rank); `None` without times.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied()
    }
}

impl FromIterator<Duration> for Spread {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort_unstable();
        Self(times)
    }
}

impl Serialize for Spread {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Figures {
            count: usize,
            p50: Option<f64>,
            p99: Option<f64>,
            max: Option<f64>,
        }
        let at = |percent| self.percentile(percent).map(milliseconds);
        Figures { count: self.0.len(), p50: at(50), p99: at(99), max: at(100) }.serialize(serializer)
    }
}

/// What a load came to, from the first event of the first one to the last of the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoadTimes {
    /// From the first event until nothing more came of any.
    #[serde(rename = "duration_ms", serialize_with = "milliseconds_of")]
    pub duration: Duration,
    /// How long each event took that was shown, from the time at which it fell due.
    #[serde(rename = "delivery_ms")]
    pub deliveries: Spread,
    /// What the router took of a core in that time, where HaloD is a process.
    #[serde(flatten)]
    pub router_cpu: Option<RouterCpu>,
}

/// For how long the router used a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RouterCpu {
    /// HaloD's process, to a hundredth of a second. That is also where the kernel forwards a packet after its verdict.
    #[serde(rename = "router_cpu_ms", serialize_with = "milliseconds_of")]
    pub process: Duration,
    /// The kernel, with the packets that it got from the router's links, until they were queued to HaloD, forwarded or dropped.
    #[serde(rename = "router_kernel_ms", serialize_with = "milliseconds_of")]
    pub kernel: Duration,
}

impl RouterCpu {
    /// What was added since then.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { process: self.process.saturating_sub(before.process), kernel: self.kernel.saturating_sub(before.kernel) }
    }
}

/// A `wait`, and what HaloD's process used of a core meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestTimes {
    /// The step.
    pub step: String,
    /// How long it was.
    #[serde(rename = "duration_ms", serialize_with = "milliseconds_of")]
    pub duration: Duration,
    /// See [`RouterCpu::process`].
    #[serde(rename = "router_cpu_ms", serialize_with = "milliseconds_of")]
    pub router_cpu: Duration,
}

impl RestTimes {
    /// Of one core.
    fn share(&self) -> f64 {
        self.router_cpu.as_secs_f64() / self.duration.as_secs_f64()
    }
}

impl fmt::Display for LoadTimes {
    /// In a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { duration, deliveries, router_cpu } = self;
        write!(f, "{} events in {:.1} s", deliveries.0.len(), duration.as_secs_f64())?;
        for (what, percent) in [("p50", 50), ("p99", 99), ("max", 100)] {
            if let Some(time) = deliveries.percentile(percent) {
                write!(f, ", {what} {}", exact(time))?;
            }
        }
        match router_cpu {
            Some(RouterCpu { process, kernel }) => {
                let [process, kernel] = [process, kernel].map(Duration::as_secs_f64);
                write!(f, "; halod took {process:.2} s of a core, the kernel {kernel:.2} s to forward")
            }
            None => Ok(()),
        }
    }
}

/// The times of all losses, for people and for a snapshot: exact to the microsecond, the resolution of the smallest
/// clock among the simulator's. Empty without losses.
pub fn table(losses: &[LossTimes]) -> String {
    let mut text = String::new();
    for LossTimes { step, node, first_closing, failover, resets, outages } in losses {
        let _ = writeln!(text, "{node}, by {step}");
        let mut line = |what: &str, time: String| {
            let _ = writeln!(text, "   {what:<13} {time}");
        };
        if let Some(time) = first_closing {
            line("first FIN", exact(*time));
        }
        line("failover", failover.map_or("none".to_owned(), exact));
        for (what, spread) in [("disconnected", resets), ("outage", outages)] {
            if let (Some(p50), Some(p99), Some(max)) =
                (spread.percentile(50), spread.percentile(99), spread.percentile(100))
            {
                let count = spread.0.len();
                line(what, format!("p50 {}  p99 {}  max {}  of {count}", exact(p50), exact(p99), exact(max)));
            }
        }
    }
    text
}

fn exact(time: Duration) -> String {
    format!("{:.3} ms", milliseconds(time))
}

/// What of all losses together took longer than it may.
pub(crate) fn over_budget(budget: Budget, losses: &[LossTimes]) -> Vec<String> {
    let mut over = Vec::new();
    let slowest = losses.iter().filter_map(|loss| Some((loss.failover?, loss))).max_by_key(|(time, _)| *time);
    if let (Some(most), Some((time, loss))) = (budget.failover, slowest)
        && time > most
    {
        over.push(format!("budget: the failover of {} took {time:?}, at most {most:?}", loss.node));
    }
    let outages: Spread = losses.iter().flat_map(|loss| loss.outages.0.iter().copied()).collect();
    if let (Some(most), Some(p99)) = (budget.outage_p99, outages.percentile(99))
        && p99 > most
    {
        over.push(format!("budget: 99 in 100 outages took up to {p99:?}, at most {most:?}"));
    }
    over
}

/// What events that were dispatched after the first loss took longer than they may, compared with those before it.
pub(crate) fn over_ratio(budget: Budget, (steady, disturbed): &(Spread, Spread)) -> Option<String> {
    let (most, steady, disturbed) = (budget.delivery_ratio?, steady.percentile(99)?, disturbed.percentile(99)?);
    (disturbed > steady * most).then(|| {
        format!(
            "budget: after the first loss 99 in 100 events took up to {disturbed:?}, more than {most} times {steady:?}"
        )
    })
}

/// What events took longer than they may.
pub(crate) fn over_delivery(budget: Budget, deliveries: &Spread) -> Option<String> {
    let (most, p99) = (budget.delivery_p99?, deliveries.percentile(99)?);
    (p99 > most).then(|| format!("budget: 99 in 100 events took up to {p99:?}, at most {most:?}"))
}

/// What HaloD's process used more of a core than it may while nothing happened.
pub(crate) fn over_rest(budget: Budget, rests: &[RestTimes]) -> Vec<String> {
    let Some(most) = budget.router_cpu else { return Vec::new() };
    let over = rests.iter().filter(|rest| rest.share() > most.fraction());
    over.map(|rest| {
        let (share, most) = (rest.share() * 100.0, most.fraction() * 100.0);
        format!("budget: {}: halod took {share:.1}% of a core, at most {most}%", rest.step)
    })
    .collect()
}

/// Why nothing can be said about times; `None` if the lab's own timers and heartbeats were on time.
pub(crate) fn invalid(late_max: Duration, overtime: &[String]) -> Option<String> {
    let reasons = overtime.join("; ");
    (late_max > LATE_BOUND).then(|| {
        format!(
            "{reasons}; but the lab's own timers or heartbeats were up to {late_max:?} late, more than {LATE_BOUND:?}"
        )
    })
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn milliseconds_of<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    milliseconds(*duration).serialize(serializer)
}

fn milliseconds_if_any<S: serde::Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(milliseconds).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: impl IntoIterator<Item = u64>) -> Spread {
        millis.into_iter().map(Duration::from_millis).collect()
    }

    fn loss(node: &str, failover: u64, outages: Spread) -> LossTimes {
        LossTimes {
            step: format!("crash: {node}"),
            node: node.into(),
            first_closing: None,
            failover: Some(Duration::from_millis(failover)),
            resets: Spread::default(),
            outages,
        }
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let spread = ms((1..=200).rev());
        let at = |percent| spread.percentile(percent).map(|time| time.as_millis());
        assert_eq!([at(50), at(99), at(100)], [Some(100), Some(198), Some(200)]);
        assert_eq!(ms([7]).percentile(50), Some(Duration::from_millis(7)));
        assert_eq!(ms([]).percentile(99), None);
        assert_eq!(serde_json::to_string(&ms([1, 2, 3])).unwrap(), r#"{"count":3,"p50":2.0,"p99":3.0,"max":3.0}"#);
    }

    #[test]
    fn a_budget_is_of_the_slowest_failover_and_of_all_outages_together() {
        let losses = [loss("n1", 9, ms([30; 99])), loss("n2", 11, ms([80]))];
        let check = |failover: u64, outage: u64| {
            let [failover, outage] = [failover, outage].map(|millis| Some(Duration::from_millis(millis)));
            over_budget(Budget { failover, outage_p99: outage, ..Budget::default() }, &losses)
        };
        assert_eq!(check(11, 30), [""; 0]);
        assert_eq!(
            check(10, 29),
            [
                "budget: the failover of n2 took 11ms, at most 10ms",
                "budget: 99 in 100 outages took up to 30ms, at most 29ms"
            ]
        );
        assert_eq!(over_budget(Budget::default(), &losses), [""; 0]);
    }

    #[test]
    fn the_table_names_each_loss_and_what_it_has() {
        let losses = [loss("n1", 9, ms([30, 31])), LossTimes { failover: None, ..loss("n2", 0, ms([])) }];
        let expected = "\
n1, by crash: n1
   failover      9.000 ms
   outage        p50 30.000 ms  p99 31.000 ms  max 31.000 ms  of 2
n2, by crash: n2
   failover      none
";
        assert_eq!(table(&losses), expected);
    }

    #[test]
    fn a_ratio_compares_a_run_with_itself() {
        let check = |most| {
            let budget = Budget { delivery_ratio: Some(most), ..Budget::default() };
            over_ratio(budget, &(ms([4; 100]), ms([12])))
        };
        assert_eq!(check(3), None);
        assert_eq!(
            check(2).as_deref(),
            Some("budget: after the first loss 99 in 100 events took up to 12ms, more than 2 times 4ms")
        );
        assert_eq!(over_ratio(Budget::default(), &(ms([1]), ms([1_000]))), None);
    }

    #[test]
    fn events_are_held_to_their_own_budget() {
        let budget = Budget { delivery_p99: Some(Duration::from_millis(4)), ..Budget::default() };
        let check = |slow: usize| over_delivery(budget, &ms((0..100).map(|rank| if rank < slow { 5 } else { 4 })));
        assert_eq!(check(1), None);
        assert_eq!(check(2).as_deref(), Some("budget: 99 in 100 events took up to 5ms, at most 4ms"));
        assert_eq!(over_delivery(Budget::default(), &ms([1_000])), None);
    }

    #[test]
    fn a_load_is_told_in_a_line_with_what_halod_took() {
        let [duration, process, kernel] = [30_040, 710, 1_250].map(Duration::from_millis);
        let router_cpu = Some(RouterCpu { process, kernel });
        let mut load = LoadTimes { duration, deliveries: ms([1, 2, 30]), router_cpu };
        let line = "3 events in 30.0 s, p50 2.000 ms, p99 30.000 ms, max 30.000 ms";
        assert_eq!(load.to_string(), format!("{line}; halod took 0.71 s of a core, the kernel 1.25 s to forward"));
        load.router_cpu = None;
        assert_eq!(load.to_string(), line);
    }

    #[test]
    fn each_rest_is_held_to_its_share_of_a_core() {
        let rest = |millis| RestTimes {
            step: "wait: 10s".into(),
            duration: Duration::from_secs(10),
            router_cpu: Duration::from_millis(millis),
        };
        let source =
            "scenario: x\nabout: x\nrouter: {routes: 1}\nnodes: {n: 1}\nsteps: []\nbudget: {router-cpu: 25%}\n";
        let budget = crate::scenario::Scenario::parse("x.yaml", source).unwrap().budget;
        assert_eq!(
            over_rest(budget, &[rest(2_500), rest(2_510)]),
            ["budget: wait: 10s: halod took 25.1% of a core, at most 25%"]
        );
        assert_eq!(over_rest(Budget::default(), &[rest(9_000)]), [""; 0]);
    }

    #[test]
    fn late_timers_leave_times_unjudged() {
        let overtime = ["too slow".to_owned()];
        assert_eq!(invalid(LATE_BOUND, &overtime), None);
        assert_eq!(
            invalid(Duration::from_millis(6), &overtime).as_deref(),
            Some("too slow; but the lab's own timers or heartbeats were up to 6ms late, more than 5ms")
        );
    }
}
