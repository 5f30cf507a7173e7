//! What netfilter provides: rules that queue packets, and the queue itself.

use std::io;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

use super::Finding;
use crate::config::Config;
use crate::kernel::rules_spec;
use crate::nft::Rules;
use crate::queue::QueueStatus;

/// Installs the daemon's own rules in a network namespace that ends with its thread.
pub(super) fn rules(config: &Config) -> Finding {
    let spec = rules_spec(config);
    let outcome = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Ok::<_, Errno>(Rules::install(&spec).and_then(Rules::remove))
    });
    match outcome.join().expect("installing rules does not panic") {
        Ok(Ok(())) => Finding::ok("nf_tables takes them, in a network namespace of its own"),
        Ok(Err(error)) => Finding::fail(
            error.to_string(),
            "use a kernel with NF_TABLES_INET, NFT_FIB_INET and NFT_QUEUE (or NFT_COMPAT and XT_TARGET_NFQUEUE)",
        ),
        Err(error) => Finding::warn(
            format!("not tried: no network namespace of its own ({})", error.desc()),
            "run the check as root (CAP_SYS_ADMIN)",
        ),
    }
}

/// Binds the queue for a moment, unless it has an owner.
pub(super) fn queue(config: &Config) -> Finding {
    let number = config.queue;
    if let Some(QueueStatus { listener, .. }) = QueueStatus::of(number) {
        return Finding::fail(
            format!("queue {number} is in use (netlink port {listener})"),
            "stop its owner, or give another number as router.queue",
        );
    }
    match nfq::Queue::open().and_then(|mut queue| queue.bind(number)) {
        Ok(()) => Finding::ok(format!("queue {number} is free")),
        Err(error) => {
            let cure = match error.kind() {
                io::ErrorKind::PermissionDenied => "run as root (CAP_NET_ADMIN)",
                _ => "modprobe nfnetlink_queue, or use a kernel with NETFILTER_NETLINK_QUEUE",
            };
            Finding::fail(format!("queue {number} cannot be bound: {error}"), cure)
        }
    }
}
