//! What a driver has told the core, as lines of text: enough to make the core decide the same once more.
//!
//! A record is made of lines of JSON. The first is a [`Head`]; each that follows is a pair of a time, in nanoseconds, and
//! an [`Input`], in the order in which the core saw them; the last says how the record [`End`]s, unless its writer was
//! killed. Several records may stand one after another in a file.
//!
//! ```text
//! {"halod_record":3,"by":"0.1.0","at":61204,"cluster":{"routes":24,...},"kind":"rewrite","plane":{...}}
//! [8120553,{"cluster":{"opened":{"conn":1,"peer":"10.1.0.1","token":"1f0c..."}}}]
//! [8431007,{"publish":{"epoch":1,"masquerades":{}}}]
//! [9120018,{"packet":{"stage":"ingress","headers":"45000028...","payload":517}}]
//! {"end":"stopped"}
//! ```
//!
//! Nothing here reads or writes files. Packets that the core passes or drops for their form alone (fragments, other
//! protocols, malformed ones) leave nothing behind in it, and are not recorded.

mod packet;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::packet::PacketHeaders;
use crate::cluster::{self, Cluster, ClusterConfig};
use crate::flow::{FlowKey, Toward};
use crate::ids::Epoch;
use crate::last_table::LastTable;
use crate::plane::steer::Entry;
use crate::plane::{Plane, PlaneConfig, PlaneKind, Seen};
use crate::time::Instant;
use crate::wire::Checksum;

/// The version of the format that this crate reads and writes.
pub const RECORD_VERSION: u64 = 3;

/// What the core was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The version of the format, [`RECORD_VERSION`].
    halod_record: u64,
    /// The version of HaloD that wrote it.
    pub by: String,
    /// When the cluster began.
    pub at: Instant,
    /// The policy of the cluster.
    pub cluster: ClusterConfig,
    /// Which plane.
    pub kind: PlaneKind,
    /// The config of the plane.
    pub plane: PlaneConfig,
    /// The table of a former daemon that both go on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastTable>,
    /// The kernel tracks connections to service ports that a former daemon has steered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_former_flows: bool,
}

/// One thing that the core was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Something happened at the control port.
    Cluster(cluster::Input),
    /// First [`Plane::timeout`](crate::plane::Plane::timeout), then
    /// [`Cluster::timeout`](crate::cluster::Cluster::timeout).
    Timeout,
    /// [`Plane::expire`](crate::plane::Plane::expire)
    Expire,
    /// The plane was given the next routing that the cluster had put out. What it is follows from the inputs before; the
    /// line says when that was among the packets.
    Publish {
        /// Its epoch.
        epoch: Epoch,
        /// The router's own address towards each node host, if masquerading.
        masquerades: BTreeMap<IpAddr, IpAddr>,
    },
    /// The plane was told to end the next flow that the cluster wanted ended, likewise.
    End {
        /// Which.
        flow: FlowKey,
        /// Who is told.
        toward: Toward,
    },
    /// [`Plane::handle`](crate::plane::Plane::handle)
    Packet(PacketHeaders),
    /// [`Cluster::begin_look`](crate::cluster::Cluster::begin_look), and at once
    /// [`Cluster::look`](crate::cluster::Cluster::look): the plane knew its flows.
    Look,
    /// [`Cluster::begin_look`](crate::cluster::Cluster::begin_look) and [`Steer::ask`](crate::plane::Steer::ask).
    Ask,
    /// [`Steer::survey`](crate::plane::Steer::survey), and [`Cluster::look`](crate::cluster::Cluster::look).
    Survey {
        /// What the kernel answered.
        entries: Vec<Entry>,
    },
}

/// Why nothing follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The driver has stopped.
    Stopped,
    /// The driver has panicked.
    Panicked,
    /// Inputs came faster than they could be written.
    Overflow,
}

/// A line of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A record begins.
    Head(Head),
    /// The core was told something.
    Input(Instant, Input),
    /// The record is over.
    End(End),
}

/// Why a line is none of a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Not JSON, or not of this shape.
    #[error("{what}")]
    Malformed {
        /// What was found and what was expected.
        what: String,
        /// Where in the line, in bytes from 1; 0 if that is not known.
        column: usize,
    },
    /// A head of another version, whose other fields nobody here can judge.
    #[error("a record of version {0}; this is a reader of version {RECORD_VERSION}")]
    WrongVersion(u64),
}

impl Head {
    /// The head of a record that begins when a cluster with this config does.
    pub fn new(at: Instant, cluster: ClusterConfig, kind: PlaneKind, plane: PlaneConfig) -> Self {
        Self {
            halod_record: RECORD_VERSION,
            by: env!("CARGO_PKG_VERSION").into(),
            at,
            cluster,
            kind,
            plane,
            last: None,
            has_former_flows: false,
        }
    }

    /// The core that the record begins with.
    pub fn core(&self) -> (Cluster, Plane) {
        let mut cluster = Cluster::new(self.at, self.cluster.clone());
        let mut plane = Plane::new(self.kind, self.plane.clone());
        if let Some(last) = &self.last {
            cluster.resume(self.at, last);
            plane.resume(self.at, last);
        }
        if self.has_former_flows {
            plane.expect_flows();
        }
        (cluster, plane)
    }

    /// Appends the line to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_line(out, self);
    }

    /// Whether the core can be made from it.
    fn is_possible(&self) -> bool {
        let Self { cluster, plane, last, .. } = self;
        let nodes = last.as_ref().map_or(0, |last| last.holders.len());
        nodes <= usize::from(cluster.routes)
            && cluster.routes == plane.ports.routes()
            && cluster.pace > 0
            && !cluster.heartbeat.is_zero()
    }
}

impl Input {
    /// Appends the line to `out`.
    pub fn write(&self, at: Instant, out: &mut Vec<u8>) {
        write_line(out, &(at, self));
    }
}

impl End {
    /// Appends the line to `out`.
    pub fn write(self, out: &mut Vec<u8>) {
        write_line(out, &EndLine { end: self });
    }
}

/// Appends the line of an [`Input::Cluster`] to `out`.
pub fn write_cluster_input(at: Instant, input: &cluster::Input, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Tagged<'a> {
        cluster: &'a cluster::Input,
    }
    write_line(out, &(at, Tagged { cluster: input }));
}

/// Appends the line of an [`Input::Packet`] to `out`, unless it is a packet that leaves nothing behind in the core. The
/// packet is not changed.
pub fn write_packet(at: Instant, stage: Seen, checksum: Checksum, packet: &mut [u8], out: &mut Vec<u8>) {
    if let Some(headers) = PacketHeaders::of(stage, checksum, packet) {
        Input::Packet(headers).write(at, out);
    }
}

impl Line {
    /// Reads a line; its newline may be there or not.
    ///
    /// # Errors
    ///
    /// [`LineError`]
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        if line.first() == Some(&b'[') {
            let (at, input) = serde_json::from_slice(line).map_err(malformed)?;
            return Ok(Line::Input(at, input));
        }
        let value: Value = serde_json::from_slice(line).map_err(malformed)?;
        match value.get("halod_record").map(Value::as_u64) {
            Some(Some(RECORD_VERSION)) => {
                let head: Head = serde_json::from_slice(line).map_err(malformed)?;
                if head.is_possible() { Ok(Line::Head(head)) } else { Err(wrong("a config that HaloD refuses")) }
            }
            Some(Some(version)) => Err(LineError::WrongVersion(version)),
            Some(None) => Err(wrong("the version of a record is a number")),
            None => match serde_json::from_value(value) {
                Ok(EndLine { end }) => Ok(Line::End(end)),
                Err(_) => Err(wrong("neither an input nor the head or the end of a record")),
            },
        }
    }
}

#[derive(Serialize, Deserialize)]
struct EndLine {
    end: End,
}

fn write_line(out: &mut Vec<u8>, line: &impl Serialize) {
    serde_json::to_writer(&mut *out, line).expect("a vector takes everything, and lines have string keys only");
    out.push(b'\n');
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn malformed(error: serde_json::Error) -> LineError {
    let text = error.to_string();
    // The line is always the first one.
    let what = text.split(" at line ").next().unwrap_or_default().to_owned();
    LineError::Malformed { what, column: error.column() }
}

fn wrong(what: &str) -> LineError {
    LineError::Malformed { what: what.into(), column: 0 }
}
