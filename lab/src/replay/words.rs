//! Inputs and notes as text, for whoever follows a replay step by step.

use std::fmt;

use halod_core::cluster::{self, Loss, Note};
use halod_core::plane::steer::Tracking;
use halod_core::plane::{Seen, Stage};
use halod_core::protocol::{DecodeError, FromNode};
use halod_core::record::{Input, PacketHeaders};
use halod_core::wire::{Packet, TcpFlags};
use serde::Serialize;

/// What the core is told.
pub(super) struct InputWords<'a>(pub(super) &'a Input);

/// What the core has to say for the log.
pub(super) struct NoteWords<'a>(pub(super) &'a Note);

/// How the loss of a node was noticed.
pub(super) struct LossWords(pub(super) Loss);

impl fmt::Display for InputWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Input::Cluster(input) => write_cluster_input(f, input),
            Input::Timeout => f.write_str("timeout"),
            Input::Look => f.write_str("the flows are looked at"),
            Input::Ask => f.write_str("the kernel is asked for its connections"),
            Input::Expire => f.write_str("silent flows are dropped"),
            Input::Publish { epoch, .. } => write!(f, "epoch {epoch} comes into force"),
            Input::End { flow, .. } => write!(f, "the flow from {} to {} is ended", flow.client, flow.service),
            Input::Packet(headers) => write_packet(f, headers),
            Input::Survey { entries } => write!(f, "the kernel tracks {} connections to service ports", entries.len()),
        }
    }
}

fn write_cluster_input(f: &mut fmt::Formatter<'_>, input: &cluster::Input) -> fmt::Result {
    use cluster::Input;
    match input {
        Input::Opened { conn, peer, .. } => write!(f, "connection {} from {peer}", conn.0),
        Input::Redialed { node, conn } => write!(f, "connection {} to session {node}", conn.0),
        Input::RedialFailed { node } => write!(f, "no connection to session {node}"),
        Input::Received { conn, message } => write!(f, "from connection {}: {}", conn.0, said(message)),
        Input::Datagram { from, message } => write!(f, "from {from}: {}", said(message)),
        Input::Ended { conn } => write!(f, "connection {} has ended", conn.0),
        Input::GivenUp { conn } => write!(f, "connection {} is not read and given up", conn.0),
    }
}

fn write_packet(f: &mut fmt::Formatter<'_>, headers: &PacketHeaders) -> fmt::Result {
    let stage = match headers.stage {
        Seen::Stage(Stage::Ingress) => "ingress",
        Seen::Stage(Stage::Egress { local: false }) => "egress",
        Seen::Stage(Stage::Egress { local: true }) => "local",
        Seen::Tracking(Tracking::New) => "new",
        Seen::Tracking(Tracking::Known) => "known",
        Seen::Tracking(Tracking::Invalid) => "invalid",
    };
    match Packet::parse(&mut headers.to_packet()) {
        Ok(Packet::Tcp(tcp)) => {
            let flags = Flags(tcp.flags());
            write!(f, "{stage}: {} to {} {flags} {}", tcp.source(), tcp.destination(), tcp.sequence())?;
            write!(f, " with {} bytes{}", headers.payload, if headers.damaged { ", damaged" } else { "" })
        }
        Ok(Packet::IcmpError(error)) => {
            let (from, to) = (error.quoted_source(), error.quoted_destination());
            write!(f, "{stage}: {} says that {from} could not send to {to}", error.outer_source())
        }
        _ => write!(f, "{stage}: not TCP"),
    }
}

struct Flags(TcpFlags);

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (TcpFlags::SYN, "SYN"),
            (TcpFlags::FIN, "FIN"),
            (TcpFlags::RST, "RST"),
            (TcpFlags::PSH, "PSH"),
            (TcpFlags::ACK, "ACK"),
        ];
        let set: Vec<&str> = names.iter().filter(|(flag, _)| self.0.contains(*flag)).map(|&(_, name)| name).collect();
        f.write_str(&set.join("+"))
    }
}

impl fmt::Display for NoteWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Note::Resumed { active } => write!(f, "  the former table is in force, its {active} nodes are awaited"),
            Note::Recovered { missing } => write!(f, "  recovered, {missing} nodes of the former table are missing"),
            Note::Joined { name, id: Some(id) } => write!(f, "  {name} is active as node {id}"),
            Note::Joined { name, id: None } => write!(f, "  {name} waits"),
            Note::Leaving { name } => write!(f, "  {name} leaves"),
            Note::Left { name } => write!(f, "  {name} has left"),
            Note::Cleared { name } => write!(f, "  {name} is in order again"),
            Note::Lost { name, how } => write!(f, "  {name} is lost: {}", LossWords(*how)),
            Note::Changed { epoch, active, moved } => {
                write!(f, "  epoch {epoch} of {active} active nodes, {moved} routes moved")
            }
            Note::Refused { peer, code } => write!(f, "  {peer} is refused: {}", json(code)),
        }
    }
}

impl fmt::Display for LossWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Loss::Refused => "its connection ended and it could not be dialled",
            Loss::NoAnswer => "it did not prove itself in time",
            Loss::Replaced => "another process answered in its place",
            Loss::Unreadable => "it sent what cannot be read",
            Loss::Silent => "it was silent for too long",
            Loss::NotBack => "it did not come back",
        })
    }
}

/// A message as it is on the wire.
pub(super) fn json(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("messages have string keys only")
}

fn said(message: &Result<FromNode, DecodeError>) -> String {
    match message {
        Ok(message) => json(message),
        Err(error) => error.to_string(),
    }
}
