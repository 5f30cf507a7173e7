//! `--keep`: the hosts stay, can be entered, and go when they are asked to.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Test, lab};

pub(crate) const TESTS: &[Test] = &[
    ("a_kept_host_can_be_entered", Some("nsenter"), a_kept_host_can_be_entered),
    ("a_kept_run_ends_on_sigterm", None, a_kept_run_ends_on_sigterm),
];

/// A lab whose scenario has ended and whose hosts are kept.
struct Kept {
    lab: Child,
    stdout: BufReader<ChildStdout>,
    /// The line that enters each host, the host's name first.
    entrances: Vec<String>,
}

impl Kept {
    fn new(stdin: Stdio) -> Self {
        let mut lab = lab(&["run", "first-node", "--keep"]).stdin(stdin).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(lab.stdout.take().unwrap());
        let mut next = || {
            let mut line = String::new();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the lab says no more");
            line.trim().to_owned()
        };
        assert_eq!(next(), "the hosts are kept; to enter one:");
        let entrances = std::iter::from_fn(|| Some(next()).filter(|line| line != "Enter ends them.")).collect();
        Self { lab, stdout, entrances }
    }
}

fn a_kept_host_can_be_entered() {
    let mut kept = Kept::new(Stdio::piped());
    let addresses = [("router", "192.0.2.1"), ("n1", "10.2.1.1"), ("a", "10.1.0.17")];
    assert_eq!(kept.entrances.len(), addresses.len());
    for (entrance, (host, address)) in kept.entrances.iter().zip(addresses) {
        let (name, command) = entrance.split_once(' ').unwrap();
        // The local addresses of whatever namespace the "shell" is in.
        let shell = Command::new("sh").args(["-c", command]).env("SHELL", "cat /proc/net/fib_trie").output().unwrap();
        let seen = String::from_utf8(shell.stdout).unwrap();
        assert!(name == host && seen.lines().any(|line| line.ends_with(&format!(" {address}"))), "{entrance}: {seen}");
    }
    kept.lab.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(kept.lab.wait().unwrap().success());
    let table: Vec<String> = kept.stdout.lines().map(Result::unwrap).collect();
    assert_eq!(table.last().map(String::as_str), Some("1 passed, 0 failed, 0 skipped"));
}

fn a_kept_run_ends_on_sigterm() {
    let mut kept = Kept::new(Stdio::null());
    kill(Pid::from_raw(kept.lab.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(kept.lab.wait().unwrap().signal(), Some(Signal::SIGTERM as i32));
}
