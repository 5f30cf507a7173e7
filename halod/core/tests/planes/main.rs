//! The data planes: packets in, packets and verdicts out. Every packet that leaves has right checksums.
//!
//! Both serve 4 routes (browser ports 8001-8004, app ports 9001-9004) in front of nodes n1, n2 and so on.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod rewrite;
mod steer;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use halod_core::flow::SourcePorts;
use halod_core::ids::{Epoch, NodeId};
use halod_core::plane::{PlaneConfig, Verdict};
use halod_core::protocol::Endpoints;
use halod_core::routing::{Member, Routing, SessionId};
use halod_core::service::ServicePorts;
use halod_core::wire::{Packet, TcpFlags, TcpSegment};

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const RST: TcpFlags = TcpFlags::RST;
const SYN_ACK: TcpFlags = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);
const FIN_ACK: TcpFlags = TcpFlags(TcpFlags::FIN.0 | TcpFlags::ACK.0);

fn config() -> PlaneConfig {
    PlaneConfig {
        ports: ServicePorts::new(4, 8001..=8004, 9001..=9004).unwrap(),
        addresses: vec![ip("192.0.2.1"), ip("2001:db8::1")],
        source_ports: SourcePorts::new(&(20_000..=20_009)).unwrap(),
        seed: 1,
    }
}

/// The table `owners` of nodes, the first of which hold the ids in order. Nobody is suspect.
fn routing(owners: &[u16], members: Vec<Member>) -> Routing {
    let members: Vec<Arc<Member>> = members.into_iter().map(Arc::new).collect();
    Routing {
        epoch: Epoch(1),
        owners: owners.iter().map(|&owner| NodeId::new(owner)).collect(),
        holders: members.clone(),
        members: members.into_iter().map(|member| (member.session, member)).collect(),
        suspects: BTreeSet::new(),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn member(number: u8) -> Member {
    let both = |port: u16| {
        let v4 = SocketAddr::new(ip(&format!("10.0.0.{number}")), port);
        let v6 = SocketAddr::new(ip(&format!("fd00::{number}")), port);
        Endpoints::try_from(vec![v4, v6]).unwrap()
    };
    Member { session: SessionId(number.into()), name: format!("n{number}"), browser: both(8000), app: both(9000) }
}

fn segment(from: &str, to: &str, flags: TcpFlags) -> TcpSegment<'static> {
    TcpSegment {
        source: at(from),
        destination: at(to),
        sequence: 1000,
        acknowledgement: if flags.contains(ACK) { 2000 } else { 0 },
        flags,
        window: 1024,
        payload: if flags == ACK { b"odd" } else { b"" },
    }
}

fn describe(verdict: &Verdict, packet: &mut [u8]) -> String {
    match verdict {
        Verdict::Accept => "untouched".into(),
        Verdict::Drop => "dropped".into(),
        Verdict::Rewritten => ends(packet),
        Verdict::Marked(mark) => format!("{mark}"),
        Verdict::Doubt(doubt) => format!("{} to {}: RST?", doubt.source, doubt.destination),
        Verdict::Answer(reset) => format!("RST {}", ends(&mut reset.to_vec())),
    }
}

fn ends(packet: &mut [u8]) -> String {
    let Ok(Packet::Tcp(packet)) = Packet::parse(packet) else { panic!("not a TCP packet any more") };
    assert!(packet.checksum_ok());
    format!("{} > {}", packet.source(), packet.destination())
}
