//! Which plane is in force, and how much the daemon sees with it.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;

use crate::Test;
use crate::flow::{Flow, packets_queued};
use crate::halod::{Halod, config};
use crate::namespace::tables;

pub(crate) const TESTS: &[Test] = &[
    ("steer_sees_nothing_of_a_flow_once_it_has_begun", steer_sees_nothing_of_a_flow_once_it_has_begun),
    ("with_every_packet_steer_sees_all_of_a_flow", with_every_packet_steer_sees_all_of_a_flow),
    ("rewrite_takes_the_place_of_steer_where_that_is_not_possible", rewrite_takes_the_place_of_steer),
];

fn steer_sees_nothing_of_a_flow_once_it_has_begun() {
    let halod = Halod::start(&config(4));
    assert_eq!(packets_of_exchanges(10), 0);
    halod.end_well();
}

fn with_every_packet_steer_sees_all_of_a_flow() {
    let halod = Halod::start(&config(4).replace("queue = 7", "queue = 7\nevery_packet = true"));
    assert!(packets_of_exchanges(10) >= 20);
    halod.end_well();
}

fn rewrite_takes_the_place_of_steer() {
    hide_connection_tracking();
    let halod = Halod::start(&config(4));
    assert!(packets_of_exchanges(10) >= 20);
    let (status, log) = halod.end(Signal::SIGTERM);
    let warning = "WARN halod::run: the plane `steer` is not possible here, `rewrite` takes its place: \
                   the packet rules cannot be installed (try `halod check`): connection tracking cannot be reached: \
                   No such file or directory";
    assert!(log.contains(warning), "{log}");
    // The rules of `rewrite` end with the daemon; those of `steer` would stay.
    assert!(status.success() && !log.contains("ERROR"), "{status}: {log}");
    assert_eq!(tables(), [""; 0]);
}

/// How many packets the daemon is given, at least while bytes go to and fro on a flow that is established.
fn packets_of_exchanges(exchanges: u64) -> u64 {
    let mut flow = Flow::begin();
    let before = packets_queued();
    (0..exchanges).for_each(|_| flow.exchange());
    packets_queued() - before
}

/// From this thread and the processes that it starts: the kernel's settings of connection tracking are not there, as if it
/// were built without it.
fn hide_connection_tracking() {
    const NOTHING: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING).unwrap();
    mount(Some("nothing"), "/proc/sys/net/netfilter", Some("tmpfs"), MsFlags::MS_RDONLY, NOTHING).unwrap();
}
