//! An actor under test, and what it did as lines of text.

use std::time::Duration;

use halod_core::time::Instant;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Actor, ConnId, End, Input, Output};

/// An actor with a clock that only the test moves.
pub(crate) struct Stage<A> {
    pub(crate) actor: A,
    pub(crate) now: Instant,
}

impl<A: Actor> Stage<A> {
    pub(crate) fn new(actor: A) -> Self {
        Self { actor, now: Instant::from_nanos(1_000_000_000) }
    }

    pub(crate) fn command(&mut self, command: A::Command) -> Vec<String> {
        self.actor.command(self.now, command);
        self.drain()
    }

    pub(crate) fn accept(&mut self, local: &str, peer: &str) -> ConnId {
        self.actor.accept(self.now, local.parse().unwrap(), peer.parse().unwrap())
    }

    pub(crate) fn input(&mut self, input: Input<'_>) -> Vec<String> {
        self.actor.handle(self.now, input);
        self.drain()
    }

    pub(crate) fn received(&mut self, conn: ConnId, bytes: impl AsRef<[u8]>) -> Vec<String> {
        self.input(Input::Received(conn, bytes.as_ref()))
    }

    /// Lets time pass, with every timeout on the way at its time.
    pub(crate) fn pass(&mut self, time: Duration) -> Vec<String> {
        let until = self.now + time;
        let mut lines = Vec::new();
        while let Some(due) = self.actor.deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            lines.extend(self.input(Input::Timeout));
        }
        self.now = until;
        lines
    }

    pub(crate) fn pass_ms(&mut self, ms: u64) -> Vec<String> {
        self.pass(Duration::from_millis(ms))
    }

    /// Feeds random inputs, most of them nonsense; whatever comes out, nothing may panic.
    pub(crate) fn endure(&mut self, seed: u64, locals: &[&str], texts: &[&[u8]]) {
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..2_000 {
            let conn = ConnId(rng.random_range(0..40));
            let mut bytes = texts[rng.random_range(0..texts.len())].to_vec();
            if rng.random_bool(0.3) && !bytes.is_empty() {
                let position = rng.random_range(0..bytes.len());
                bytes[position] = rng.random();
            }
            if rng.random_bool(0.3) {
                bytes.truncate(rng.random_range(0..=bytes.len()));
            }
            match rng.random_range(0..10) {
                0 => drop(self.accept(locals[rng.random_range(0..locals.len())], "10.9.0.1:4000")),
                1 => drop(self.input(Input::Connected(conn))),
                2..5 => drop(self.received(conn, bytes)),
                5 => drop(self.input(Input::Acked(conn, rng.random_range(0..10_000)))),
                6 => drop(self.input(Input::PeerFinished(conn))),
                7 => {
                    let end = [End::Closed, End::Refused, End::Reset][rng.random_range(0..3)];
                    drop(self.input(Input::Ended(conn, end)));
                }
                8 => drop(self.input(Input::Datagram("10.9.0.1:4000".parse().unwrap(), &bytes))),
                _ => drop(self.pass_ms(rng.random_range(0..3_000))),
            }
        }
    }

    pub(crate) fn drain(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.actor.poll()).map(|output| line(&output)).collect()
    }
}

fn line(output: &Output) -> String {
    match output {
        Output::Dial(conn, to) => format!("dial {} {to}", conn.0),
        Output::Send(conn, bytes) => format!("send {} {}", conn.0, String::from_utf8_lossy(bytes)),
        Output::Finish(conn) => format!("finish {}", conn.0),
        Output::Abort(conn) => format!("abort {}", conn.0),
        Output::SendDatagram(to, bytes) => format!("datagram {to} {}", String::from_utf8_lossy(bytes)),
        Output::Observe(observation) => format!("{observation:?}"),
    }
}
