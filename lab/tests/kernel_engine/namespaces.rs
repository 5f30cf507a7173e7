//! Namespaces and processes in them.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc;
use std::thread;

use lab::engines::kernel::netns::Netns;
use lab::engines::kernel::process::{self, Child, Report, Said, Stderr};

use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    ("a_sysctl_is_set_inside_and_not_outside", a_sysctl_is_set_inside_and_not_outside),
    ("only_sysctls_of_the_network_can_be_named", only_sysctls_of_the_network_can_be_named),
    ("a_command_runs_in_its_namespace", a_command_runs_in_its_namespace),
    ("a_child_says_what_went_wrong", a_child_says_what_went_wrong),
    ("a_child_dies_with_the_thread_that_started_it", a_child_dies_with_the_thread_that_started_it),
];

fn a_sysctl_is_set_inside_and_not_outside() {
    let read = || fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap();
    let outside = read();
    let netns = Netns::new().unwrap();
    netns.set_sysctl("ipv4.ip_default_ttl", "77").unwrap();
    assert_eq!(netns.run(read).unwrap(), "77\n");
    assert_eq!(read(), outside);
}

fn only_sysctls_of_the_network_can_be_named() {
    let error = Netns::new().unwrap().set_sysctl("../kernel/hostname", "x").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

fn a_command_runs_in_its_namespace() {
    let netns = Netns::new().unwrap();
    let inode = fs::metadata(format!("/proc/self/fd/{}", netns.as_fd().as_raw_fd())).unwrap().ino();
    let output = process::command(&netns, "readlink").unwrap().arg("/proc/self/ns/net").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("net:[{inode}]\n"));
}

fn a_child_says_what_went_wrong() {
    let netns = Netns::new().unwrap();
    let (sender, reports) = mpsc::channel::<Report<()>>();
    let arguments = ["--puppet", "192.0.2.1:80"];
    let mut child = Child::spawn("n1", &netns, &arguments, Stderr::Report, sender).unwrap();
    assert!(!child.wait().unwrap().success());
    let logged: Vec<String> = reports
        .iter()
        .filter_map(|report| match report.said {
            Said::Logged(line) => Some(line),
            _ => None,
        })
        .collect();
    assert!(logged.iter().any(|line| line.contains("listen on 192.0.2.1:80")), "{logged:?}");
}

fn a_child_dies_with_the_thread_that_started_it() {
    let netns = Netns::new().unwrap();
    let (sender, reports) = mpsc::channel::<Report<()>>();
    let spawn = || Child::spawn("n1", &netns, &["--puppet"], Stderr::Inherit, sender).unwrap();
    let mut child = thread::scope(|scope| scope.spawn(spawn).join().unwrap());
    assert_eq!(reports.recv().unwrap(), Report { from: "n1".into(), said: Said::Ended });
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}
