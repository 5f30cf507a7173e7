//! Programs of other projects: whether they are installed, and how they are run.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::engines::kernel::netns::Netns;
use crate::engines::kernel::process::command;

/// Where Debian puts servers, which is not in every user's `PATH`.
const SBIN: [&str; 2] = ["/usr/sbin", "/sbin"];
/// How often it is looked whether a program has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A program, and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// The name of its file.
    pub name: &'static str,
    package: &'static str,
    version: &'static str,
}

impl Program {
    /// Makes HTTP requests.
    pub const WRK: Program = Program { name: "wrk", package: "wrk", version: "-v" };
    /// Sends as much as it can.
    pub const IPERF3: Program = Program { name: "iperf3", package: "iperf3", version: "--version" };
    /// Answers HTTP requests; with a module, forwards connections.
    pub const NGINX: Program = Program { name: "nginx", package: "nginx-light", version: "-v" };
    /// Forwards connections.
    pub const HAPROXY: Program = Program { name: "haproxy", package: "haproxy", version: "-v" };
    /// Gives rules to nf_tables.
    pub const NFT: Program = Program { name: "nft", package: "nftables", version: "--version" };
    /// All of them.
    pub const ALL: [Program; 5] = [Self::WRK, Self::IPERF3, Self::NGINX, Self::HAPROXY, Self::NFT];

    /// Its file; `None` if it is not installed.
    pub fn path(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(SBIN.map(PathBuf::from));
        folders.map(|folder| folder.join(self.name)).find(|file| file.is_file())
    }

    /// What to do about it, if it is not installed.
    pub fn missing(self) -> Option<Missing> {
        self.path().is_none().then_some(Missing { what: self.name, package: self.package })
    }

    /// What it says of its version; `None` if it is not installed.
    pub fn version(self) -> Option<String> {
        let output = Command::new(self.path()?).arg(self.version).output().ok()?;
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).lines().next().map(str::to_owned)
    }

    /// A command that runs it inside `netns`. On the main thread only, as [`command`] says.
    ///
    /// # Errors
    ///
    /// It is not installed, or no more files can be opened.
    pub(super) fn command(self, netns: &Netns) -> anyhow::Result<Command> {
        let path = self.path().with_context(|| format!("{} is not installed", self.name))?;
        let mut command = command(netns, path)?;
        command.env("LC_ALL", "C");
        Ok(command)
    }
}

/// What is not installed, and how it would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    pub(super) what: &'static str,
    pub(super) package: &'static str,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not installed: apt-get install {}", self.what, self.package)
    }
}

/// Runs a command to its end, and kills it if that takes longer than `limit`. For commands that write less than a pipe holds.
///
/// # Errors
///
/// It cannot be started or does not end.
pub(super) fn run(command: &mut Command, limit: Duration) -> anyhow::Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
    let deadline = Instant::now() + limit;
    while child.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            anyhow::bail!("{name} has not ended after {limit:?}");
        }
        thread::sleep(LOOK);
    }
    Ok(child.wait_with_output()?)
}
