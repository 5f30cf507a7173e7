//! What netfilter provides: rules that queue packets, and the queue itself.

use std::fs;
use std::io;

use halod_core::ids::Side;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

use super::Finding;
use crate::config::Config;
use crate::nft::{Rules, RulesSpec};

/// Installs the daemon's own rules in a network namespace that ends with its thread.
pub(super) fn rules(config: &Config) -> Finding {
    let spec = RulesSpec {
        queue: config.queue,
        addresses: config.addresses.clone(),
        browser_ports: config.ports.range(Side::Browser),
        app_ports: config.ports.range(Side::App),
        masquerade: config.masquerade,
    };
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
    if let Some(owner) = owner(number) {
        return Finding::fail(
            format!("queue {number} is in use (netlink port {owner})"),
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

/// The netlink port that listens to queue `number`. The file is absent until the kernel's module is loaded.
fn owner(number: u16) -> Option<u32> {
    let queues = fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue").ok()?;
    owner_in(&queues, number)
}

fn owner_in(queues: &str, number: u16) -> Option<u32> {
    queues.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let queue: u16 = fields.next()?.parse().ok()?;
        let owner = fields.next()?.parse().ok()?;
        (queue == number).then_some(owner)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_queue_is_its_second_field() {
        let queues =
            "    0   1234     0 2 65531     0     0        0  1\n    7  99999     0 2 65531     0     0        0  1\n";
        assert_eq!([0, 7, 1].map(|number| owner_in(queues, number)), [Some(1234), Some(99999), None]);
    }
}
