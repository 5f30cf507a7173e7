//! Everything that is reported, by whomever, in one queue.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use super::process::{Report, Said};
use super::wire::Stamped;
use crate::engine::{Seen, Witness};
use crate::scenario::{App, Node, Ref};
use crate::stacks::Observed;

/// Something that arrived.
#[derive(Debug)]
pub(super) enum Incoming {
    /// An actor saw something.
    Seen(Seen),
    /// A host's process said something that is no observation, or has ended.
    Trouble(Witness, Trouble),
    /// The daemon has ended.
    DaemonEnded,
}

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
    /// An empty queue, and where the browsers' observations go.
    pub(super) fn new() -> io::Result<(Self, Sender<Observed>)> {
        let (sender, receiver) = mpsc::channel();
        let inbox = Self { sender, receiver };
        let observed = inbox.forward(|Observed { at, observation, .. }| {
            Incoming::Seen(Seen { at, by: Witness::Browser, observation })
        })?;
        Ok((inbox, observed))
    }

    pub(super) fn sender(&self) -> Sender<Incoming> {
        self.sender.clone()
    }

    /// Where a node's process reports to.
    pub(super) fn node_reports(&self, node: Ref<Node>) -> io::Result<Sender<Report<Stamped>>> {
        self.reports(Witness::Node(node))
    }

    /// Where an app's process reports to.
    pub(super) fn app_reports(&self, app: Ref<App>) -> io::Result<Sender<Report<Stamped>>> {
        self.reports(Witness::App(app))
    }

    /// The next thing that arrives within `time`.
    pub(super) fn next(&self, time: Duration) -> Option<Incoming> {
        self.receiver.recv_timeout(time).ok()
    }

    fn reports(&self, by: Witness) -> io::Result<Sender<Report<Stamped>>> {
        self.forward(move |report: Report<Stamped>| match report.said {
            Said::Line(stamped) => Incoming::Seen(Seen { at: stamped.at(), by, observation: stamped.observation }),
            Said::Garbled(line) | Said::Logged(line) => Incoming::Trouble(by, Trouble::Garbled(line)),
            Said::Ended => Incoming::Trouble(by, Trouble::Ended),
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
