//! Processor time, of the machine and of processes.
//!
//! What the kernel does for packets happens in softirqs, in the time of whoever happens to run: it belongs to no process
//! and no namespace. So only the machine's time is the truth; what a router costs is a difference of two of them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// What the machine's processors have done since it started, all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// They worked.
    pub(super) busy: Duration,
    /// They had nothing to do.
    idle: Duration,
    /// They were not there: the host of this virtual machine had other work for them.
    stolen: Duration,
}

impl Times {
    /// Until now.
    pub(super) fn now() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        Self::parse(&text, ticks_per_second()).ok_or_else(|| unreadable("/proc/stat"))
    }

    /// The first line: `cpu  user nice system idle iowait irq softirq steal guest guest_nice` (proc_stat(5)).
    fn parse(text: &str, ticks_per_second: u32) -> Option<Self> {
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let [user, nice, system, idle, iowait, irq, softirq, stolen, ..] = ticks[..] else { return None };
        let time = |ticks| time(ticks, ticks_per_second);
        Some(Self { busy: time(user + nice + system + irq + softirq), idle: time(idle + iowait), stolen: time(stolen) })
    }

    /// What they did since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        // The kernel's idle times are known to run backwards at times.
        Self {
            busy: self.busy.saturating_sub(earlier.busy),
            idle: self.idle.saturating_sub(earlier.idle),
            stolen: self.stolen.saturating_sub(earlier.stolen),
        }
    }

    /// The share of the time in which they worked, or were not there.
    pub(super) fn taken_share(self) -> f64 {
        self.share(self.busy + self.stolen)
    }

    /// The share of the time in which they were not there.
    pub(super) fn stolen_share(self) -> f64 {
        self.share(self.stolen)
    }

    fn share(self, part: Duration) -> f64 {
        let all = self.busy + self.idle + self.stolen;
        if all.is_zero() { 0.0 } else { part.as_secs_f64() / all.as_secs_f64() }
    }
}

/// The time that the process of this id and its descendants took until now.
pub(super) fn of_process(id: u32) -> io::Result<Duration> {
    let mut children = BTreeMap::<u32, Vec<u32>>::new();
    let mut times = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // It may have ended meanwhile.
        let Ok(text) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let (parent, ticks) = parse_process(&text).ok_or_else(|| unreadable("/proc/PID/stat"))?;
        children.entry(parent).or_default().push(id);
        times.insert(id, ticks);
    }
    let mut sum = *times.get(&id).ok_or(io::ErrorKind::NotFound)?;
    let mut parents = vec![id];
    while let Some(parent) = parents.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            sum += times[&child];
            parents.push(child);
        }
    }
    Ok(time(sum, ticks_per_second()))
}

/// Its parent, and the ticks of itself and of children that it has waited for: fields 4 and 14 to 17 of
/// proc_pid_stat(5). The second field is a name in parentheses, with whatever in it.
fn parse_process(text: &str) -> Option<(u32, u64)> {
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map(|ticks| ticks.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some((fields.get(1)?.parse().ok()?, ticks))
}

fn time(ticks: u64, ticks_per_second: u32) -> Duration {
    Duration::from_secs(ticks) / ticks_per_second
}

fn ticks_per_second() -> u32 {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u32::try_from(ticks).ok());
    ticks.filter(|&ticks| ticks > 0).unwrap_or(100)
}

fn unreadable(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{path} is not as proc(5) says"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_of_all_processors() {
        let text = "cpu  200 10 50 700 40 0 40 60 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let times = Times::parse(text, 100).unwrap();
        let seconds = Duration::from_secs_f64;
        assert_eq!(times, Times { busy: seconds(3.0), idle: seconds(7.4), stolen: seconds(0.6) });
        assert_eq!(Times::parse("cpu0 1 2 3\n", 100), None);

        let earlier = Times { busy: seconds(2.0), idle: seconds(7.0), stolen: seconds(0.0) };
        assert_eq!(format!("{:.2}", times.since(earlier).taken_share()), "0.80");
        assert_eq!(format!("{:.2}", times.since(earlier).stolen_share()), "0.30");
    }

    #[test]
    fn a_process_may_have_any_name() {
        let text = "77 (a) b (c) S 12 77 77 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 555 0 0\n";
        assert_eq!(parse_process(text), Some((12, 127)));
        assert_eq!(parse_process("77 (a) S 12 77"), None);
    }

    #[test]
    fn this_process_takes_time() {
        let own = || of_process(std::process::id()).unwrap();
        while own().is_zero() {
            std::hint::black_box((0..1_000_000).map(std::hint::black_box).sum::<u64>());
        }
    }
}
