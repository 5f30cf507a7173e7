//! An actor for tests of drivers: does what it is told, and tells what it sees.

use std::collections::VecDeque;
use std::net::SocketAddr;

use halod_core::time::Instant;
use serde::{Deserialize, Serialize};

use crate::actors::{Actor, ConnId, Input, Output};
use crate::observation::Observation;

/// What a puppet is told. Connections go by their numbers; those that it accepts count from 0.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    Dial(u64, SocketAddr),
    Send(u64, String),
    Finish(u64),
    Abort(u64),
    /// To be sent before the FIN that answers a FIN.
    Goodbye(String),
    SendDatagram(SocketAddr, String),
}

/// Answers FIN with FIN, and otherwise does nothing by itself.
#[derive(Default)]
pub(crate) struct Puppet {
    outputs: VecDeque<Output>,
    accepted: u64,
    goodbye: String,
}

/// What a puppet said.
pub(crate) fn said(observation: Observation) -> String {
    match observation {
        Observation::Garbled { why, .. } => why,
        other => panic!("a puppet does not say {other:?}"),
    }
}

impl Puppet {
    fn say(&mut self, why: String) {
        self.outputs.push_back(Output::Observe(Observation::Garbled { user: String::new(), why }));
    }
}

impl Actor for Puppet {
    type Command = Order;

    fn command(&mut self, _now: Instant, order: Order) {
        self.outputs.push_back(match order {
            Order::Dial(id, to) => Output::Dial(ConnId(id), to),
            Order::Send(id, text) => Output::Send(ConnId(id), text.into_bytes()),
            Order::Finish(id) => Output::Finish(ConnId(id)),
            Order::Abort(id) => Output::Abort(ConnId(id)),
            Order::Goodbye(text) => return self.goodbye = text,
            Order::SendDatagram(to, text) => Output::SendDatagram(to, text.into_bytes()),
        });
    }

    fn accept(&mut self, _now: Instant, local: SocketAddr, peer: SocketAddr) -> ConnId {
        let id = ConnId(self.accepted);
        self.accepted += 1;
        self.say(format!("accept {} at {} from {}", id.0, local, peer.ip()));
        id
    }

    fn handle(&mut self, _now: Instant, input: Input<'_>) {
        self.say(match input {
            Input::Connected(id) => format!("{} connected", id.0),
            Input::Received(id, bytes) => format!("{} received {}", id.0, String::from_utf8_lossy(bytes)),
            Input::Acked(id, offset) => format!("{} acked {offset}", id.0),
            Input::PeerFinished(id) => format!("{} peer finished", id.0),
            Input::Ended(id, end) => format!("{} ended {end:?}", id.0),
            Input::Datagram(from, bytes) => format!("datagram from {}: {}", from.ip(), String::from_utf8_lossy(bytes)),
            Input::Timeout => "timeout".into(),
        });
        if let Input::PeerFinished(id) = input {
            if !self.goodbye.is_empty() {
                self.outputs.push_back(Output::Send(id, self.goodbye.clone().into_bytes()));
            }
            self.outputs.push_back(Output::Finish(id));
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}
