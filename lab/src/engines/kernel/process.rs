//! A process of a host: started in the host's namespace, spoken to by lines, killed with the lab.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::netns::Netns;

mod in_namespace;

/// What happens to a process's stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stderr {
    /// It goes where the lab's goes.
    Inherit,
    /// It is reported line by line, as [`Said::Logged`].
    Report,
}

/// Something that a process said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<T> {
    /// The name that the process was started under.
    pub from: Arc<str>,
    /// What it said.
    pub said: Said<T>,
}

/// A line of a process, or its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said<T> {
    /// A line of stdout that was understood.
    Line(T),
    /// A line of stdout that was not.
    Garbled(String),
    /// A line of stderr.
    Logged(String),
    /// It closed its stdout: it has ended or is about to.
    Ended,
}

/// A running process, killed and reaped when dropped.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    stdin: Option<ChildStdin>,
    readers: Vec<JoinHandle<()>>,
}

impl Child {
    /// Starts this same executable with `arguments` inside `netns`; its lines arrive at `reports`.
    ///
    /// To be called on the main thread only: the kernel kills the process when the *thread* that started it ends.
    ///
    /// # Errors
    ///
    /// If there can be no process.
    pub fn spawn<T: DeserializeOwned + Send + 'static>(
        name: &str,
        netns: &Netns,
        arguments: &[impl AsRef<OsStr>],
        stderr: Stderr,
        reports: Sender<Report<T>>,
    ) -> io::Result<Self> {
        let mut command = command(netns, "/proc/self/exe")?;
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        if stderr == Stderr::Report {
            command.stderr(Stdio::piped());
        }
        let mut process = command.spawn()?;
        let name: Arc<str> = name.into();
        let mut readers = Vec::new();
        if let Some(stderr) = process.stderr.take() {
            let (name, reports) = (Arc::clone(&name), reports.clone());
            let report = move |line| reports.send(Report { from: Arc::clone(&name), said: Said::Logged(line) }).is_ok();
            readers.push(thread::spawn(move || each_line(stderr, report)));
        }
        let stdout = process.stdout.take().expect("stdout is a pipe");
        readers.push(thread::spawn(move || report_stdout(stdout, &name, &reports)));
        Ok(Self { stdin: process.stdin.take(), process, readers })
    }

    /// Sends a command. Blocks while the process does not read its stdin and the pipe is full.
    ///
    /// # Errors
    ///
    /// EPIPE if the process has closed its stdin.
    pub fn send(&mut self, command: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        self.write(&line)
    }

    /// Writes to its stdin. Blocks as [`Child::send`] does.
    ///
    /// # Errors
    ///
    /// As [`Child::send`].
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write_all(bytes)
    }

    /// Tells the process to end, by the end of its stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// What kill(2) says.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill(Pid::from_raw(self.process.id().cast_signed()), signal)?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// What waitpid(2) says.
    pub fn wait(&mut self) -> io::Result<std::process::ExitStatus> {
        self.stdin = None;
        self.process.wait()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stdin = None;
        // An error means that it has been waited for already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

/// Starts `command` in a PID namespace of its own: whatever it starts ends when it does, however that comes. In a user
/// namespace, from which there is no way back into the lab's PID namespace, it is started without one: then only the
/// command itself is sure to end with the lab.
///
/// To be called on the main thread only, as [`Child::spawn`].
///
/// # Errors
///
/// If there can be no such namespace or no process.
pub fn spawn_with_descendants(command: &mut Command) -> io::Result<std::process::Child> {
    let own = File::open("/proc/self/ns/pid")?;
    if setns(&own, CloneFlags::CLONE_NEWPID) == Err(nix::Error::EPERM) {
        return command.spawn();
    }
    // This moves only what is started from here on; its first process is the one whose end is the end of all.
    unshare(CloneFlags::CLONE_NEWPID)?;
    let child = command.spawn();
    setns(own, CloneFlags::CLONE_NEWPID)?;
    child
}

/// A command that runs any program inside `netns`, and dies with the thread that starts it.
///
/// # Errors
///
/// If no more files can be opened.
pub fn command(netns: &Netns, program: impl AsRef<OsStr>) -> io::Result<Command> {
    let mut command = Command::new(program);
    in_namespace::enter_before_exec(&mut command, netns.as_fd().try_clone_to_owned()?);
    Ok(command)
}

fn report_stdout<T: DeserializeOwned>(stdout: impl io::Read, name: &Arc<str>, reports: &Sender<Report<T>>) {
    let report = |said| reports.send(Report { from: Arc::clone(name), said }).is_ok();
    each_line(stdout, |line| {
        report(match serde_json::from_str(&line) {
            Ok(value) => Said::Line(value),
            Err(_) => Said::Garbled(line),
        })
    });
    report(Said::Ended);
}

/// Reads lines until the end, or until `take` wants no more.
fn each_line(input: impl io::Read, mut take: impl FnMut(String) -> bool) {
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        if !take(String::from_utf8_lossy(&line).trim_end().to_owned()) {
            break;
        }
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_stdout_are_parsed_or_reported_as_they_are() {
        let (sender, reports) = std::sync::mpsc::channel();
        report_stdout(b"[1,2]\nnot json\n".as_slice(), &"n1".into(), &sender);
        let said: Vec<Said<Vec<u8>>> = reports.try_iter().map(|report| report.said).collect();
        assert_eq!(said, [Said::Line(vec![1, 2]), Said::Garbled("not json".into()), Said::Ended]);
    }
}
