//! A router with one wire, at which clients and nodes are: a TUN interface, whose other end the test holds.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use halod::nft::{LastRules, RulesSpec, SteerRules};
use halod_core::plane::steer::Changes;
use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, setsockopt, socket, sockopt,
};
use tun_tap::{Iface, Mode};

use crate::changes::{mark, mark_means};
use crate::listener::{Decision, Listener};
use crate::namespace::{change_network, set_link};
use crate::segment::{Segment, ack, syn, syn_ack};
use crate::spec;

/// Who is there, of one IP version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hosts {
    /// A client's socket.
    pub(crate) client: SocketAddr,
    /// The service address, which is the router's own.
    pub(crate) service: IpAddr,
    /// The host of nodes.
    pub(crate) nodes: IpAddr,
}

pub(crate) const HOSTS: [Hosts; 2] = [
    Hosts {
        client: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1)), 4000),
        service: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        nodes: IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)),
    },
    Hosts {
        client: SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1)), 4000),
        service: IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
        nodes: IpAddr::V6(Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1)),
    },
];

impl Hosts {
    /// A service port.
    pub(crate) fn service(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.service, port)
    }

    /// A node's address.
    pub(crate) fn node(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.nodes, port)
    }

    /// Another socket of the client's host.
    pub(crate) fn client(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.client.ip(), port)
    }
}

/// The marks by which a packet was queued, each time it was, and what has left by the wire then.
pub(crate) type Fate = (Vec<u32>, Vec<Segment>);

/// Rules of the `steer` plane in force.
pub(crate) struct Router {
    wire: Iface,
    /// Nobody, if the daemon is dead.
    pub(crate) listener: Option<Listener>,
    rules: SteerRules,
    pub(crate) spec: RulesSpec,
    /// What becomes of queued packets from now on.
    pub(crate) decision: Decision,
}

impl Router {
    /// With the service addresses of [`HOSTS`].
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    /// As [`Router::new`], with other rules.
    pub(crate) fn with(adapt: impl Fn(&mut RulesSpec)) -> Self {
        let mut spec = spec(&HOSTS.map(|hosts| hosts.service));
        adapt(&mut spec);
        let wire = attach_wire().unwrap();
        let listener = Some(Listener::bind());
        let rules = SteerRules::install(&spec, LastRules::default()).unwrap();
        Self { wire, listener, rules, spec, decision: Decision::Drop }
    }

    /// Tells the rules.
    pub(crate) fn apply(&mut self, changes: Changes) {
        self.rules.apply(changes).unwrap();
    }

    /// A packet comes in by the wire.
    pub(crate) fn receives(&mut self, segment: Segment) -> Fate {
        self.wire.send(&segment.to_bytes()).unwrap();
        self.fate()
    }

    /// This host sends a packet of its own making, with a mark.
    pub(crate) fn sends(&mut self, mark: u32, segment: Segment) -> Fate {
        let is_v4 = segment.destination().is_ipv4();
        let family = if is_v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket: OwnedFd = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw).unwrap();
        setsockopt(&socket, sockopt::Mark, &mark).unwrap();
        let to = SockaddrStorage::from(SocketAddr::new(segment.destination().ip(), 0));
        match sendto(socket.as_raw_fd(), &segment.to_bytes(), &to, MsgFlags::empty()) {
            // So the kernel tells a sender that a rule has dropped it.
            Ok(_) | Err(Errno::EPERM) => {}
            Err(error) => panic!("{segment:?}: {error}"),
        }
        self.fate()
    }

    /// A connection from the client is begun and answered. Its mark is 0, which means `node` from then on.
    pub(crate) fn connect(&mut self, client: SocketAddr, service: SocketAddr, node: SocketAddr) {
        self.apply(mark_means(0, node));
        let decision = std::mem::replace(&mut self.decision, Decision::Mark(mark(0).number()));
        self.receives(syn(client, service));
        self.receives(syn_ack(node, client));
        assert_eq!(self.receives(ack(client, service)).1, [ack(client, node)]);
        self.decision = decision;
    }

    /// All that the kernel does about a packet it has done when the packet is handed to it, but for what is queued.
    fn fate(&mut self) -> Fate {
        let queued = self.listener.as_mut().map(|listener| listener.take(self.decision)).unwrap_or_default();
        let marks = queued.iter().map(|queued| queued.mark).collect();
        let mut left = Vec::new();
        let mut buffer = [0; 2048];
        loop {
            match self.wire.recv(&mut buffer) {
                // What else the kernel sends is no TCP: it looks for neighbours, and knows shorter ways.
                Ok(length) => left.extend(Segment::read(&mut buffer[..length])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (marks, left),
                Err(error) => panic!("the wire: {error}"),
            }
        }
    }
}

/// Whether TUN interfaces can be made here.
pub(crate) fn tun_is_there() -> Result<(), String> {
    let opened = File::options().read(true).write(true).open("/dev/net/tun");
    opened.map(|_| ()).map_err(|error| format!("no /dev/net/tun: {error}"))
}

/// The only interface but the loopback; everybody is reached by it.
fn attach_wire() -> io::Result<Iface> {
    for sysctl in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        fs::write(format!("/proc/sys/{sysctl}"), "1")?;
    }
    let wire = Iface::without_packet_info("wire", Mode::Tun)?;
    wire.set_non_blocking()?;
    let index = if_nametoindex("wire")?;
    set_link(index, true)?;
    let [v4, v6] = HOSTS.map(|hosts| hosts.service);
    add_address(index, v4, 8)?;
    add_address(index, v6, 16)?;
    Ok(wire)
}

fn add_address(index: u32, address: IpAddr, prefix_length: u8) -> io::Result<()> {
    let (family, octets) = match address {
        IpAddr::V4(ip) => (libc::AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (libc::AF_INET6, ip.octets().to_vec()),
    };
    // struct ifaddrmsg {family, prefixlen, flags, scope, index}
    let mut message = vec![family as u8, prefix_length, libc::IFA_F_NODAD as u8, libc::RT_SCOPE_UNIVERSE];
    message.extend(index.to_ne_bytes());
    for kind in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        message.extend((4 + octets.len() as u16).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(&octets);
    }
    change_network(libc::RTM_NEWADDR, &message)
}
