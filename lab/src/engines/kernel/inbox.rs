//! Everything that is reported, by whomever, in one queue.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use super::process::{Report, Said};
use super::wire::Stamped;
use crate::engine::{Seen, Witness};
use crate::scenario::{Node, Ref};
use crate::stacks::Observed;

/// Something that arrived.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A browser saw something, or a node without a process of its own.
    Seen(Seen),
    /// A host's process saw something.
    FromProcess(StartId, Seen),
    /// A host's process said something that is no observation, or has ended.
    Trouble(StartId, Witness, Trouble),
    /// The daemon of this start has ended.
    DaemonEnded(StartId),
}

/// Tells the processes of a host apart that run under the same name one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StartId(pub(super) u64);

/// What is wrong with a host's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It wrote a line that is no observation.
    Garbled(String),
    /// It has ended.
    Ended,
}

/// The queue.
pub(super) struct Inbox {
    sender: Sender<Incoming>,
    receiver: Receiver<Incoming>,
}

impl Inbox {
    /// An empty queue, and where the observations of stacks go. The first of these are `nodes`, the others browsers.
    pub(super) fn new(nodes: Vec<Ref<Node>>) -> io::Result<(Self, Sender<Observed>)> {
        let (sender, receiver) = mpsc::channel();
        let inbox = Self { sender, receiver };
        let observed = inbox.forward(move |Observed { at, by, observation }| {
            let by = nodes.get(by.0).map_or(Witness::Browser, |&node| Witness::Node(node));
            Incoming::Seen(Seen { at, by, observation })
        })?;
        Ok((inbox, observed))
    }

    pub(super) fn sender(&self) -> Sender<Incoming> {
        self.sender.clone()
    }

    /// The next thing that arrives within `time`.
    pub(super) fn next(&self, time: Duration) -> Option<Incoming> {
        self.receiver.recv_timeout(time).ok()
    }

    /// Where a process of `by` reports to, the one of this start.
    pub(super) fn reports(&self, start: StartId, by: Witness) -> io::Result<Sender<Report<Stamped>>> {
        self.forward(move |report: Report<Stamped>| match report.said {
            Said::Line(stamped) => {
                let seen = Seen { at: stamped.at(), by, observation: stamped.observation };
                Incoming::FromProcess(start, seen)
            }
            Said::Garbled(line) | Said::Logged(line) => Incoming::Trouble(start, by, Trouble::Garbled(line)),
            Said::Ended => Incoming::Trouble(start, by, Trouble::Ended),
        })
    }

    /// A sender of its own type into this queue, served by a thread until all its copies are gone.
    fn forward<T: Send + 'static>(&self, turn: impl Fn(T) -> Incoming + Send + 'static) -> io::Result<Sender<T>> {
        let (sender, receiver) = mpsc::channel();
        let inbox = self.sender.clone();
        thread::Builder::new().name("inbox".into()).spawn(move || {
            for item in receiver {
                if inbox.send(turn(item)).is_err() {
                    return;
                }
            }
        })?;
        Ok(sender)
    }
}
