//! A running daemon.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::thread::{self, JoinHandle};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Where the daemon of [`config`] listens for nodes.
pub(crate) const CONTROL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7000);

/// A config of as many routes, whose nodes need no heartbeats for minutes.
///
/// Its service ports must stay below those that this host takes for its own connections: 12,383 routes at most.
pub(crate) fn config(routes: u16) -> String {
    let (browser_last, app_first, app_last) = (8000 + routes, 8001 + routes, 8000 + 2 * routes);
    format!(
        "[router]\n\
         routes = {routes}\n\
         addresses = [\"127.0.0.1\"]\n\
         browser_ports = \"8001-{browser_last}\"\n\
         app_ports = \"{app_first}-{app_last}\"\n\
         control = [\"{CONTROL}\"]\n\
         queue = 7\n\
         [cluster]\n\
         reserve = 0\n\
         heartbeat = \"60s\"\n"
    )
}

/// `halod run`, killed when dropped.
pub(crate) struct Halod {
    process: Child,
    log: Option<JoinHandle<String>>,
}

impl Halod {
    /// Starts it in the namespace of this thread and waits until it is ready.
    pub(crate) fn start(config: &str) -> Self {
        let (process, mut stderr, mut log) = spawn_ready(config);
        let read_on = move || {
            stderr.read_to_string(&mut log).unwrap();
            log
        };
        Self { process, log: Some(thread::spawn(read_on)) }
    }

    /// As [`Halod::start`], but whoever reads its log is gone once it is ready.
    pub(crate) fn start_unread(config: &str) -> Self {
        let (process, ..) = spawn_ready(config);
        Self { process, log: None }
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal and waits for the end: its exit status and its log.
    pub(crate) fn end(mut self, signal: Signal) -> (ExitStatus, String) {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).unwrap();
        let status = self.process.wait().unwrap();
        let log = self.log.take().map(|reader| reader.join().unwrap());
        (status, log.unwrap_or_default())
    }

    /// Ends it as an operator would; it must not have noticed anything wrong with itself.
    pub(crate) fn end_well(self) {
        let (status, log) = self.end(Signal::SIGTERM);
        assert!(status.success() && !log.contains("ERROR") && !log.contains("panicked"), "{status}: {log}");
    }
}

impl Drop for Halod {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs it to its end, which must come by itself.
pub(crate) fn run_to_end(config: &str) -> Output {
    spawn("run", config).wait_with_output().unwrap()
}

/// `halod remove`: its exit status, and what it says.
pub(crate) fn remove(config: &str) -> (Option<i32>, String) {
    let output = spawn("remove", config).wait_with_output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// Starts it and reads its log until it is ready.
fn spawn_ready(config: &str) -> (Child, BufReader<ChildStderr>, String) {
    let mut process = spawn("run", config);
    let mut stderr = BufReader::new(process.stderr.take().unwrap());
    let mut log = String::new();
    while !log.contains(" ready ") {
        assert!(stderr.read_line(&mut log).unwrap() > 0, "halod is not ready: {log}");
    }
    (process, stderr, log)
}

fn spawn(subcommand: &str, config: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halod"));
    command.args([subcommand, "--config", "-"]).env_remove("RUST_LOG");
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
    process
}
