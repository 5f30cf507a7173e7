//! What netfilter provides: rules that queue packets, and the queue itself.

use std::fs;
use std::io;

use halod_core::plane::PlaneKind;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

use super::Finding;
use crate::config::Config;
use crate::kernel::Kernel;
use crate::queue::QueueStatus;

/// Installs the rules of the daemon's plane in a network namespace that ends with its thread.
pub(super) fn rules(config: &Config) -> Finding {
    let cannot = |error: String| {
        Finding::fail(
            error,
            "use a kernel with NF_TABLES_INET, NFT_FIB_INET and NFT_QUEUE (or NFT_COMPAT and XT_TARGET_NFQUEUE)",
        )
    };
    match (config.plane, try_plane(config.plane, config)) {
        (plane, Ok(Ok(()))) => {
            Finding::ok(format!("nf_tables takes those of `{plane}`, in a network namespace of its own"))
        }
        (PlaneKind::Rewrite, Ok(Err(error))) => cannot(error),
        (PlaneKind::Steer, Ok(Err(error))) => match try_plane(PlaneKind::Rewrite, config) {
            Ok(Ok(())) => Finding::warn(
                format!("the plane `steer` is not possible, `rewrite` would take its place: {error}"),
                "use a kernel with NFT_NAT, NFT_MASQ, NFT_CT and NF_CT_NETLINK, or set router.plane = \"rewrite\"",
            ),
            _ => cannot(error),
        },
        (_, Err(error)) => Finding::warn(
            format!("not tried: no network namespace of its own ({})", error.desc()),
            "run the check as root (CAP_SYS_ADMIN)",
        ),
    }
}

/// What a plane lacks, if a namespace could be made to try it in.
fn try_plane(kind: PlaneKind, config: &Config) -> Result<Result<(), String>, Errno> {
    let config = config.clone();
    let attempt = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let outcome = Kernel::install(kind, &config).and_then(|(kernel, _)| kernel.remove());
        Ok(outcome.map_err(|error| format!("{error:#}")))
    });
    attempt.join().expect("installing rules does not panic")
}

/// How many connections the kernel tracks, for all network namespaces together.
pub(super) fn conntrack(config: &Config) -> Finding {
    const ENOUGH: u64 = 65_536;
    if config.plane == PlaneKind::Rewrite {
        return Finding::ok("not needed by `rewrite`");
    }
    let max = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").ok();
    match max.and_then(|max| max.trim().parse::<u64>().ok()) {
        Some(max) if max >= ENOUGH => Finding::ok(format!("up to {max} connections")),
        Some(max) => Finding::warn(
            format!("up to {max} connections only; a new one is dropped when they are taken"),
            "sysctl -w net.netfilter.nf_conntrack_max=262144",
        ),
        None => Finding::warn("net.netfilter.nf_conntrack_max cannot be read", "modprobe nf_conntrack"),
    }
}

/// Binds each queue for a moment, unless it has an owner.
pub(super) fn queue(config: &Config) -> Finding {
    let queues = config.queues_of(config.plane);
    let free = match queues.numbers().into_inner() {
        (first, last) if first == last => format!("queue {first} is free"),
        (first, last) => format!("queues {first} to {last} are free"),
    };
    queues.numbers().find_map(taken).unwrap_or(Finding::ok(free))
}

/// What is to be said of a queue that cannot be had.
fn taken(number: u16) -> Option<Finding> {
    if let Some(QueueStatus { listener, .. }) = QueueStatus::of(number) {
        return Some(Finding::fail(
            format!("queue {number} is in use (netlink port {listener})"),
            "stop its owner, or give another number as router.queue",
        ));
    }
    let error = nfq::Queue::open().and_then(|mut queue| queue.bind(number)).err()?;
    let cure = match error.kind() {
        io::ErrorKind::PermissionDenied => "run as root (CAP_NET_ADMIN)",
        _ => "modprobe nfnetlink_queue, or use a kernel with NETFILTER_NETLINK_QUEUE",
    };
    Some(Finding::fail(format!("queue {number} cannot be bound: {error}"), cure))
}
