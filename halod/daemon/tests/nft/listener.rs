//! Who listens to the queue: packets come out of it one by one, and the test decides about them.

use std::io;

use nix::libc;

use crate::QUEUE;

/// What becomes of queued packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// They end here.
    Drop,
    /// They go on, with the mark that they have.
    Pass,
    /// They go on with this mark.
    Mark(u32),
}

/// Where a packet was queued, by its number in `linux/netfilter.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Prerouting,
    Input,
    Output,
    Postrouting,
}

/// A packet as it was queued.
pub(crate) struct Queued {
    pub(crate) hook: Hook,
    pub(crate) mark: u32,
    pub(crate) packet: Vec<u8>,
}

/// The listener of a queue of this thread's namespace, until this is dropped.
pub(crate) struct Listener(nfq::Queue);

impl Listener {
    pub(crate) fn bind() -> Self {
        Self::bind_to(QUEUE)
    }

    pub(crate) fn bind_to(number: u16) -> Self {
        let mut queue = nfq::Queue::open().unwrap();
        queue.bind(number).unwrap();
        queue.set_nonblocking(true);
        Self(queue)
    }

    /// Decides about all that is queued, and what of it is queued once more.
    pub(crate) fn take(&mut self, decision: Decision) -> Vec<Queued> {
        let mut taken = Vec::new();
        loop {
            let mut queued = match self.0.recv() {
                Ok(queued) => queued,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return taken,
                Err(error) => panic!("the queue: {error}"),
            };
            taken.push(Queued {
                hook: hook(queued.get_hook()),
                mark: queued.get_nfmark(),
                packet: queued.get_payload().to_vec(),
            });
            if let Decision::Mark(mark) = decision {
                queued.set_nfmark(mark);
            }
            queued.set_verdict(if decision == Decision::Drop { nfq::Verdict::Drop } else { nfq::Verdict::Accept });
            self.0.verdict(queued).unwrap();
        }
    }
}

fn hook(number: u8) -> Hook {
    match i32::from(number) {
        libc::NF_INET_PRE_ROUTING => Hook::Prerouting,
        libc::NF_INET_LOCAL_IN => Hook::Input,
        libc::NF_INET_LOCAL_OUT => Hook::Output,
        libc::NF_INET_POST_ROUTING => Hook::Postrouting,
        other => panic!("no rule is at hook {other}"),
    }
}
