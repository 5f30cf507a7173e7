//! What stands between browsers and nodes, as a process of its own in the router's namespace: the real `halod`, or what it
//! is compared with.

mod haproxy;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

use super::netns::Netns;
use super::process::command;
use crate::addresses;
use crate::cast;
use crate::scenario::Scenario;

pub use haproxy::version as haproxy_version;

/// The first word of the command line that makes this executable the daemon.
pub const SUBCOMMAND: &str = "halod";

/// Lines of its log that are kept, to be shown if something fails.
const LOG_LINES_MAX: usize = 40;
/// How long it may take to be ready, and to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balancer {
    /// HaloD.
    #[default]
    Halod,
    /// Debian's HAProxy. It knows nothing of nodes that join; it has them all in its config.
    Haproxy,
}

impl Balancer {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Balancer::Halod => "halod",
            Balancer::Haproxy => "haproxy",
        }
    }
}

/// A running daemon, killed and reaped when dropped.
#[derive(Debug)]
pub struct Daemon {
    balancer: Balancer,
    process: std::process::Child,
    log: Arc<Mutex<VecDeque<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Starts `balancer` and waits until it takes connections. On the main thread only, as [`command`] says. `ended` is
    /// called when it ends. With `record` HaloD appends to that file what it is told.
    ///
    /// # Errors
    ///
    /// It could not be started or ended at once; with its log.
    pub fn start(
        balancer: Balancer,
        netns: &Netns,
        scenario: &Scenario,
        record: Option<&Path>,
        ended: impl FnOnce() + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (mut command, config, answers_at) = match balancer {
            Balancer::Halod => {
                let mut halod = command(netns, "/proc/self/exe")?;
                halod.args([SUBCOMMAND, "run", "--config", "-"]);
                if let Some(record) = record {
                    halod.arg("--record").arg(record);
                }
                (halod, cast::daemon_config(&scenario.router), addresses::control())
            }
            Balancer::Haproxy => {
                let mut haproxy = command(netns, haproxy::PROGRAM)?;
                haproxy.args(haproxy::ARGUMENTS);
                (haproxy, haproxy::config(scenario), haproxy::answers_at(scenario))
            }
        };
        command.env("NO_COLOR", "1").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("{} cannot be started", balancer.name()))?;
        let stderr = process.stderr.take().expect("stderr is a pipe");
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let lines = Arc::clone(&log);
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                if lines.len() == LOG_LINES_MAX {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
            ended();
        });
        let mut daemon = Self { balancer, process, log, reader: Some(reader) };
        let mut stdin = daemon.process.stdin.take().expect("stdin is a pipe");
        stdin.write_all(config.as_bytes()).with_context(|| daemon.log())?;
        drop(stdin);
        daemon.await_ready(netns, answers_at)?;
        Ok(daemon)
    }

    fn await_ready(&mut self, netns: &Netns, answers_at: SocketAddr) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let name = self.balancer.name();
        loop {
            if netns.run(|| TcpStream::connect(answers_at))?.is_ok() {
                let log = self.log();
                // What is to be seen of one plane must not be shown by the other.
                anyhow::ensure!(!log.contains("takes its place"), "{name} took another plane than it was told: {log}");
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                self.reader.take().map(JoinHandle::join);
                anyhow::bail!("{name} ended with {status}: {}", self.log());
            }
            anyhow::ensure!(Instant::now() < deadline, "{name} is not ready after {PATIENCE:?}: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        let lines = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// How long its threads have used a core so far, for themselves and within system calls (proc_pid_stat(5): utime and
    /// stime).
    ///
    /// # Errors
    ///
    /// It is gone.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        let ticks = cpu_ticks(&stat).with_context(|| format!("its times are not in {stat:?}"))?;
        let per_second = sysconf(SysconfVar::CLK_TCK)?.context("the length of a tick is unknown")?;
        Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill(Pid::from_raw(self.process.id().cast_signed()), signal)?)
    }

    /// Asks it to stop and waits for its end. Nothing is left of its rules.
    ///
    /// # Errors
    ///
    /// It does not stop in time, or not with the exit status of a good end; with its log to the end.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let name = self.balancer.name();
        let signal = match self.balancer {
            Balancer::Halod => Signal::SIGINT,
            Balancer::Haproxy => Signal::SIGTERM,
        };
        self.signal(signal)?;
        // One that was stopped hears nothing.
        self.signal(Signal::SIGCONT)?;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.process.try_wait()? {
                break status;
            }
            anyhow::ensure!(Instant::now() < deadline, "{name} does not stop on {signal}: {}", self.log());
            thread::sleep(Duration::from_millis(2));
        };
        self.reader.take().map(JoinHandle::join);
        let is_well = match self.balancer {
            Balancer::Halod => status.success(),
            Balancer::Haproxy => status.signal() == Some(signal as i32),
        };
        anyhow::ensure!(is_well, "{name} ended with {status} on {signal}: {}", self.log());
        Ok(())
    }
}

/// The 14th and the 15th field together. The second is the program's name, which may have anything in it.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, from_third) = stat.rsplit_once(") ")?;
    let mut fields = from_third.split(' ').skip(14 - 3);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.reader.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_that_of_user_and_system_whatever_the_program_is_called() {
        let stat = "7 (a) b 1 (c) S 1 2 3 4 5 6 7 8 9 10 21 300 13 14 20 0";
        assert_eq!(cpu_ticks(stat), Some(321));
        assert_eq!(cpu_ticks("7 (halod) S 1 2"), None);
    }
}
