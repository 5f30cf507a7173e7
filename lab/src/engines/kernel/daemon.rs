//! The real daemon, as a process of its own in the router's namespace.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::netns::Netns;
use super::process::command;
use crate::addresses;
use crate::cast;
use crate::scenario::Router;

/// The first word of the command line that makes this executable the daemon.
pub const SUBCOMMAND: &str = "halod";

/// Lines of its log that are kept, to be shown if something fails.
const LOG_LINES_MAX: usize = 40;
/// How long it may take to be ready, and to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running daemon, killed and reaped when dropped.
#[derive(Debug)]
pub struct Daemon {
    process: std::process::Child,
    log: Arc<Mutex<VecDeque<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Starts it and waits until it takes connections of nodes. On the main thread only, as [`command`] says. `ended`
    /// is called when it ends. With `record` it appends to that file what it is told.
    ///
    /// # Errors
    ///
    /// It could not be started or ended at once; with its log.
    pub fn start(
        netns: &Netns,
        router: &Router,
        record: Option<&Path>,
        ended: impl FnOnce() + Send + 'static,
    ) -> anyhow::Result<Self> {
        let mut command = command(netns, "/proc/self/exe")?;
        command.args([SUBCOMMAND, "run", "--config", "-"]).env("NO_COLOR", "1");
        if let Some(record) = record {
            command.arg("--record").arg(record);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().context("halod cannot be started")?;
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
        let mut daemon = Self { process, log, reader: Some(reader) };
        let mut stdin = daemon.process.stdin.take().expect("stdin is a pipe");
        stdin.write_all(cast::daemon_config(router).as_bytes()).with_context(|| daemon.log())?;
        drop(stdin);
        daemon.await_ready(netns)?;
        Ok(daemon)
    }

    fn await_ready(&mut self, netns: &Netns) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if netns.run(|| TcpStream::connect(addresses::control()))?.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                self.reader.take().map(JoinHandle::join);
                anyhow::bail!("halod ended with {status}: {}", self.log());
            }
            anyhow::ensure!(Instant::now() < deadline, "halod is not ready after {PATIENCE:?}: {}", self.log());
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

    /// Asks it to stop, with SIGTERM, and waits for its end.
    ///
    /// # Errors
    ///
    /// It does not stop in time, or not with exit status 0; with its log to the end.
    pub fn stop(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM)?;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.process.try_wait()? {
                break status;
            }
            anyhow::ensure!(Instant::now() < deadline, "halod does not stop on SIGTERM: {}", self.log());
            thread::sleep(Duration::from_millis(2));
        };
        self.reader.take().map(JoinHandle::join);
        anyhow::ensure!(status.success(), "halod ended with {status} on SIGTERM: {}", self.log());
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.reader.take().map(JoinHandle::join);
    }
}
