//! Nothing is left behind, also by a lab that was killed, and nothing is shared that two labs could fight over.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::{Test, lab};

pub(crate) const TESTS: &[Test] = &[
    ("a_killed_lab_leaves_nothing_behind", None, a_killed_lab_leaves_nothing_behind),
    ("a_killed_lab_takes_its_commands_along", None, a_killed_lab_takes_its_commands_along),
    ("two_labs_run_side_by_side", None, two_labs_run_side_by_side),
];

/// For what the kernel does by itself soon.
const PATIENCE: Duration = Duration::from_secs(20);

/// Three nodes, an app and the daemon are processes of their own; the load keeps them busy until long after the test.
const BUSY: &str = "
scenario: busy
about: It is killed in the middle.
router: {routes: 24, reserve: 0}
nodes: {n: 3}
browsers: {b: {count: 24}}
apps: {a: {}}
steps:
  - join: n1..n3
  - connect: b
    expect: [{connected: 24}]
  - load: {app: a, events: 4000, rate: 100/s, wait: true}
";
const BUSY_PROCESSES: usize = 5;
/// One for the router, one for each node and app.
const BUSY_NAMESPACES: usize = 5;

/// A shell and two processes of it, all of which would outlive the test.
const COMMAND: &str = "
scenario: command
about: It is killed while it runs a command.
router: {routes: 24}
nodes: {n: 1}
steps:
  - run: {on: router, command: 'sleep 1000 & sleep 1001; true'}
";

fn a_killed_lab_takes_its_commands_along() {
    prctl::set_child_subreaper(true).unwrap();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("command.yaml");
    fs::write(&file, COMMAND).unwrap();
    let mut lab = lab(&["run", file.to_str().unwrap()]).stdout(Stdio::null()).spawn().unwrap();
    eventually("the command runs", || {
        assert_eq!(lab.try_wait().unwrap(), None, "the lab ended by itself");
        let sleeps = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
        let is_command_of_lab = |pid| parent(pid).and_then(parent) == Some(lab.id());
        pids().into_iter().filter(sleeps).filter(|&pid| is_command_of_lab(pid)).count() == 2
    });
    lab.kill().unwrap();
    lab.wait().unwrap();
    all_have_ended();
    prctl::set_child_subreaper(false).unwrap();
    fs::remove_file(file).unwrap();
}

fn a_killed_lab_leaves_nothing_behind() {
    let before = surroundings();
    // Who outlives the lab becomes a child of this process, so that none can hide.
    prctl::set_child_subreaper(true).unwrap();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("busy.yaml");
    fs::write(&file, BUSY).unwrap();
    let mut busy = lab(&["run", file.to_str().unwrap()]).stdout(Stdio::null()).spawn().unwrap();
    eventually("the scenario is in the middle", || {
        assert_eq!(busy.try_wait().unwrap(), None, "the lab ended by itself");
        processes_of(&busy) == BUSY_PROCESSES
    });
    let own = namespace_of(Path::new("/proc/self/ns/net")).unwrap();
    let namespaces: BTreeSet<String> = namespaces_in_use()
        .into_iter()
        .filter(|(pid, netns)| is_family(*pid, busy.id()) && *netns != own)
        .map(|(_, netns)| netns)
        .collect();
    assert_eq!(namespaces.len(), BUSY_NAMESPACES, "{namespaces:?}");

    busy.kill().unwrap();
    busy.wait().unwrap();
    all_have_ended();
    eventually("all namespaces are gone", || {
        namespaces_in_use().into_iter().all(|(_, netns)| !namespaces.contains(&netns))
    });
    assert_eq!(surroundings(), before);
    prctl::set_child_subreaper(false).unwrap();
    fs::remove_file(file).unwrap();
}

fn two_labs_run_side_by_side() {
    let start = |scenario| lab(&["run", scenario]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let labs = ["first-node", "reserve-policy"].map(start);
    for lab in labs {
        let output = lab.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// Every process that outlived the lab has ended; they are children of this one.
fn all_have_ended() {
    eventually("all processes have ended", || match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        Err(Errno::ECHILD) => true,
        Ok(WaitStatus::StillAlive) => false,
        // One that was reaped.
        Ok(_) => false,
        Err(error) => panic!("{error}"),
    });
}

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The processes that the lab has started.
fn processes_of(lab: &Child) -> usize {
    pids().into_iter().filter(|&pid| parent(pid) == Some(lab.id())).count()
}

fn is_family(pid: u32, lab: u32) -> bool {
    pid == lab || parent(pid) == Some(lab)
}

fn pids() -> Vec<u32> {
    entries(Path::new("/proc")).iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
}

/// From /proc/PID/stat, where the name before it may hold anything but ends at the last parenthesis.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Every network namespace that a thread is in or that a descriptor refers to, with the process.
fn namespaces_in_use() -> Vec<(u32, String)> {
    let of_process = |pid: u32| {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let threads = entries(&process.join("task")).into_iter().map(|task| task.join("ns/net"));
        let paths: Vec<PathBuf> = threads.chain(entries(&process.join("fd"))).collect();
        paths.into_iter().filter_map(move |path| Some((pid, namespace_of(&path)?)))
    };
    pids().into_iter().flat_map(of_process).collect()
}

/// `net:[INODE]` if that is what the link says.
fn namespace_of(link: &Path) -> Option<String> {
    let target = fs::read_link(link).ok()?.to_str()?.to_owned();
    target.starts_with("net:").then_some(target)
}

/// What is in a directory; nothing if it is gone or another user's.
fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}

/// The interfaces, queues and mounts around the lab, and how often a packet rule was ever changed.
#[derive(Debug, PartialEq, Eq)]
struct Surroundings {
    interfaces: Vec<String>,
    queues: String,
    mounts: String,
    rule_changes: Vec<u8>,
}

fn surroundings() -> Surroundings {
    let read = |path| fs::read_to_string(path).unwrap();
    let devices = read("/proc/self/net/dev");
    let interfaces = devices.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    Surroundings {
        interfaces: interfaces.collect(),
        queues: read("/proc/self/net/netfilter/nfnetlink_queue"),
        mounts: read("/proc/self/mountinfo"),
        rule_changes: ruleset_generation(),
    }
}

/// The attribute NFTA_GEN_ID of nf_tables, which grows with every change of its rules in this namespace.
fn ruleset_generation() -> Vec<u8> {
    const NFT_MSG_GETGEN: u16 = 16;
    let netlink =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter).unwrap();
    bind(netlink.as_raw_fd(), &NetlinkAddr::new(0, 0)).unwrap();
    let kind = ((libc::NFNL_SUBSYS_NFTABLES as u16) << 8) | NFT_MSG_GETGEN;
    let mut request = 20_u32.to_ne_bytes().to_vec();
    request.extend([kind, libc::NLM_F_REQUEST as u16].into_iter().flat_map(u16::to_ne_bytes));
    request.extend([0; 12]); // sequence, port, struct nfgenmsg
    send(netlink.as_raw_fd(), &request, MsgFlags::empty()).unwrap();
    let mut answer = [0; 256];
    recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty()).unwrap();
    // The first attribute follows both headers.
    answer[20..28].to_vec()
}
