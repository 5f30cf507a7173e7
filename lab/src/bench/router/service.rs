//! A server or router that runs in the background, with its log in a file, and the folder for such files.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, mkdtemp};

use super::processor;
use crate::engines::kernel::process::spawn_with_descendants;

/// How long it may take to stop.
const PATIENCE: Duration = Duration::from_secs(5);
/// Lines of a log that are shown if something fails.
const LOG_LINES_MAX: usize = 20;

/// A folder for config and log files, removed when dropped.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> anyhow::Result<Self> {
        let template = std::env::temp_dir().join("lab-bench-XXXXXX");
        Ok(Self(mkdtemp(&template).with_context(|| template.display().to_string())?))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and returns where it is.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover below /tmp is no reason to fail.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running process and all that it has started; ended and reaped when dropped.
#[derive(Debug)]
pub(super) struct Service {
    name: &'static str,
    process: Child,
    log: PathBuf,
}

impl Service {
    /// Starts it, with `input` as its standard input. On the main thread only, as
    /// [`command`](crate::engines::kernel::process::command) says.
    pub(super) fn start(name: &'static str, command: Command, input: &str, folder: &Folder) -> anyhow::Result<Self> {
        Self::spawn(name, command, input, folder, Command::spawn)
    }

    /// As [`Service::start`], for a program that starts processes of its own: they end with it, however it ends. Not for
    /// all, because the first process of a PID namespace is deaf to signals that it does not handle.
    pub(super) fn start_with_workers(
        name: &'static str,
        command: Command,
        input: &str,
        folder: &Folder,
    ) -> anyhow::Result<Self> {
        Self::spawn(name, command, input, folder, spawn_with_descendants)
    }

    fn spawn(
        name: &'static str,
        mut command: Command,
        input: &str,
        folder: &Folder,
        spawn: impl FnOnce(&mut Command) -> io::Result<Child>,
    ) -> anyhow::Result<Self> {
        let log = folder.path().join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        command.env("NO_COLOR", "1").stdin(as_input(input)?).stdout(file.try_clone()?).stderr(file);
        let process = spawn(&mut command).with_context(|| format!("{name} cannot be started"))?;
        Ok(Self { name, process, log })
    }

    /// The processor time that it and all that it has started took until now.
    pub(super) fn processor_time(&self) -> anyhow::Result<Duration> {
        processor::of_process(self.process.id()).with_context(|| format!("processor time of {}", self.name))
    }

    /// Waits until `is_ready`.
    pub(super) fn await_ready(&mut self, is_ready: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let name = self.name;
        let deadline = Instant::now() + PATIENCE;
        while !is_ready()? {
            if let Some(status) = self.process.try_wait()? {
                anyhow::bail!("{name} ended with {status}: {}", self.log());
            }
            anyhow::ensure!(Instant::now() < deadline, "{name} is not ready after {PATIENCE:?}: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Asks it to stop, with SIGTERM, and waits for its end.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.stop_by(Signal::SIGTERM)
    }

    /// The same with another signal.
    pub(super) fn stop_by(mut self, signal: Signal) -> anyhow::Result<()> {
        if let Some(status) = self.process.try_wait()? {
            anyhow::bail!("{} ended with {status}: {}", self.name, self.log());
        }
        anyhow::ensure!(self.terminate(signal)?, "{} does not stop on {signal}: {}", self.name, self.log());
        Ok(())
    }

    /// Sends the signal unless it has ended. Returns whether it ends in time.
    fn terminate(&mut self, signal: Signal) -> anyhow::Result<bool> {
        if self.process.try_wait()?.is_some() {
            return Ok(true);
        }
        kill(Pid::from_raw(self.process.id().cast_signed()), signal)?;
        let deadline = Instant::now() + PATIENCE;
        while self.process.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(true)
    }

    /// The last lines of its log.
    pub(super) fn log(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Asked first: without a PID namespace its workers would outlive it. It may have ended already.
        let _ = self.terminate(Signal::SIGTERM);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A standard input that reads as `text`, from a file without a name.
fn as_input(text: &str) -> anyhow::Result<Stdio> {
    let mut file: File = nix::sys::memfd::memfd_create(c"input", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?.into();
    file.write_all(text.as_bytes())?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file.into())
}
