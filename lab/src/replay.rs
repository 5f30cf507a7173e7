//! A record of a daemon, fed to a core of its own: what happened there happens here once more, under the eyes of the
//! simulator's monitor.
//!
//! Nodes, browsers and the kernel are not played: what they sent is in the record. What the core wants to send is not
//! sent anywhere. A core that decides otherwise than the recorded one did, because it is of another version, is fed all
//! the same; that it does is said.

mod lines;
mod summary;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use halod_core::cluster::{Cluster, Output};
use halod_core::flow::{FlowKey, Toward};
use halod_core::plane::steer::{IpVersion, Known, Mark, Tracking};
use halod_core::plane::{Plane, Seen, Stage, Verdict};
use halod_core::record::{Head, Input, PacketHeaders};
use halod_core::routing::Routing;
use halod_core::time::Instant;
use halod_core::wire::{Checksum, Packet};

pub use self::lines::{Lines, RecordError};
pub use self::summary::{Divergence, Summary};
use self::words::{InputWords, NoteWords};
use crate::monitor::{self, Broken, Monitor};

/// Where what happens is told, a line at a time.
pub type Listener<'a> = &'a mut dyn FnMut(Instant, &dyn fmt::Display);

/// A core, and how far it has been told what its record says.
#[derive(Debug)]
pub struct Replay {
    cluster: Cluster,
    plane: Plane,
    /// What the rules of the `steer` plane would know.
    rules: Known,
    monitor: Monitor,
    /// What the cluster wants the plane to be told, and the record has not come to yet.
    wanted: VecDeque<Wanted>,
    masquerades: BTreeMap<IpAddr, IpAddr>,
    summary: Summary,
}

#[derive(Debug)]
enum Wanted {
    Publish(Arc<Routing>),
    End(FlowKey, Toward),
}

impl Replay {
    /// A core as the daemon made it.
    pub fn new(head: &Head) -> Self {
        let (cluster, plane) = head.core();
        Self {
            monitor: Monitor::new(&head.cluster, head.kind, &head.plane),
            summary: Summary::new(head),
            cluster,
            plane,
            rules: Known::default(),
            wanted: VecDeque::new(),
            masquerades: BTreeMap::new(),
        }
    }

    /// Tells the core what line number `line` of the record says.
    pub fn feed(&mut self, line: u64, at: Instant, input: Input, listener: Listener<'_>) {
        // What the core wanted from the beginning.
        self.take_outputs(at, listener);
        listener(at, &InputWords(&input));
        self.summary.count(at, &input);
        match input {
            Input::Cluster(input) => {
                // The daemon tells the cluster all that has come, and only then carries out what the cluster wants.
                input.tell(at, &mut self.cluster);
            }
            Input::Timeout => {
                self.settle(line, at);
                self.plane.timeout(at);
                self.cluster.timeout(at);
            }
            Input::Look => {
                self.settle(line, at);
                self.cluster.begin_look(at);
                self.cluster.look(at, &self.plane);
            }
            Input::Ask => {
                self.settle(line, at);
                self.cluster.begin_look(at);
                if let Some(steer) = self.plane.as_steer() {
                    steer.ask();
                }
            }
            Input::Expire => {
                self.settle(line, at);
                self.plane.expire(at);
            }
            Input::Publish { epoch, masquerades } => {
                self.masquerades = masquerades;
                let is_next = |next: &Wanted| matches!(next, Wanted::Publish(routing) if routing.epoch == epoch);
                self.carry_out_next(line, at, is_next, || format!("epoch {epoch} came into force"));
            }
            Input::End { flow, toward } => {
                let is_next = |next: &Wanted| matches!(next, Wanted::End(key, to) if (*key, *to) == (flow, toward));
                let words = || format!("the flow from {} to {} was ended", flow.client, flow.service);
                self.carry_out_next(line, at, is_next, words);
            }
            Input::Packet(headers) => self.show(at, &headers),
            Input::Survey { entries } => {
                self.settle(line, at);
                if let Some(steer) = self.plane.as_steer() {
                    steer.survey(at, &entries);
                }
                self.cluster.look(at, &self.plane);
            }
        }
        self.take_outputs(at, listener);
        while let Some(mut transmit) = self.plane.poll_transmit() {
            self.monitor.see_sent(at, &mut transmit.packet);
            self.summary.packets_sent += 1;
        }
        self.note_changes();
        self.summary.see_flows(self.monitor.flows_begun(), self.plane.flow_count());
        // The kernel may have tracked flows before the record began.
        let flow_count = if self.plane.as_steer().is_some() { 0 } else { self.plane.flow_count() };
        self.monitor.see_time(at, flow_count);
    }

    /// The first invariant that does not hold.
    pub fn broken(&self) -> Option<&Broken> {
        self.monitor.broken()
    }

    /// What has come of it so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    fn show(&mut self, at: Instant, headers: &PacketHeaders) {
        let mut packet = headers.to_packet();
        let before = monitor::Head::of(&mut packet);
        let verdict = self.plane.handle(at, headers.stage, Checksum::Ready, &mut packet);
        if let Verdict::Marked(mark) = verdict {
            self.translate(mark, &mut packet);
        }
        let goes_on = matches!(verdict, Verdict::Accept | Verdict::Rewritten | Verdict::Marked(_));
        if let Verdict::Answer(reset) = verdict {
            self.monitor.see_answer(&mut reset.to_vec());
        }
        let stage = match headers.stage {
            Seen::Stage(stage) => stage,
            Seen::Tracking(Tracking::New) => Stage::Ingress,
            // What is tracked the kernel translates, out of sight.
            Seen::Tracking(_) => return,
        };
        if let Some(before) = before {
            self.monitor.see_packet(stage, before, goes_on.then_some(&packet));
        }
    }

    /// What the kernel makes of a SYN.
    fn translate(&self, mark: Mark, packet: &mut [u8]) {
        if let Ok(Packet::Tcp(mut tcp)) = Packet::parse(packet)
            && let Some(&node) = self.rules.marks.get(&(IpVersion::of(&tcp.destination()), mark))
        {
            tcp.rewrite_destination(node);
        }
    }

    /// What the daemon would tell the kernel.
    fn note_changes(&mut self) {
        let Some(steer) = self.plane.as_steer() else { return };
        while steer.poll_deletion().is_some() {}
        self.rules.apply(steer.take_changes());
    }

    fn take_outputs(&mut self, at: Instant, listener: Listener<'_>) {
        while let Some(output) = self.cluster.poll() {
            match output {
                Output::Publish(routing) => self.wanted.push_back(Wanted::Publish(routing)),
                Output::End(flow, toward) => self.wanted.push_back(Wanted::End(flow, toward)),
                Output::Note(note) => {
                    listener(at, &NoteWords(&note));
                    self.summary.note(at, &note);
                }
                Output::Send(conn, message) => {
                    listener(at, &format_args!("  to connection {}: {}", conn.0, words::json(&message)));
                }
                Output::Close(conn) => listener(at, &format_args!("  connection {} is closed", conn.0)),
                Output::Redial(node, admin) => listener(at, &format_args!("  session {node} is dialled at {admin}")),
                Output::Beat(..) => {}
            }
        }
    }

    /// What the daemon's loop had done before its timers: all that the cluster wanted. Nothing is left to do if the cluster
    /// wanted the same there.
    fn settle(&mut self, line: u64, at: Instant) {
        while let Some(wanted) = self.wanted.pop_front() {
            self.summary.diverge(line, || match &wanted {
                Wanted::Publish(routing) => format!("here epoch {} came into force before", routing.epoch),
                Wanted::End(flow, _) => {
                    format!("here the flow from {} to {} was ended before", flow.client, flow.service)
                }
            });
            self.carry_out(at, wanted);
        }
    }

    /// The record has come to what the cluster wants next.
    fn carry_out_next(
        &mut self,
        line: u64,
        at: Instant,
        is_next: impl FnOnce(&Wanted) -> bool,
        recorded: impl FnOnce() -> String,
    ) {
        match self.wanted.pop_front_if(|next| is_next(next)) {
            Some(next) => self.carry_out(at, next),
            None => self.summary.diverge(line, || format!("there {}, here it did not", recorded())),
        }
    }

    fn carry_out(&mut self, at: Instant, wanted: Wanted) {
        match wanted {
            Wanted::Publish(routing) => {
                self.plane.publish(at, Arc::clone(&routing), self.masquerades.clone());
                self.monitor.see_routing(at, &routing);
                self.summary.routing = routing;
            }
            Wanted::End(flow, toward) => self.plane.end(at, flow, toward),
        }
    }
}
