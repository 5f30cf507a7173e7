//! A fabric with one segment: puppets as processes in namespaces, and puppets on smoltcp stacks.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};

use lab::engines::kernel::Route;
use lab::engines::kernel::fabric::{ActorHost, Fabric, FabricConfig};
use lab::engines::kernel::netns::Netns;
use lab::engines::kernel::process::{Child, Report, Said, Stderr};
use lab::engines::kernel::tun::Tun;
use lab::engines::kernel::wire::Stamped;
use lab::network::{Attachment, IcmpSource, LinkConfig, PortId, Role, Segment};
use lab::stacks::{Buffers, DYNAMIC_PORTS, Observed, StackConfig, StackId};

use crate::puppet::{Order, Puppet, said};

/// The port that puppets listen on.
pub(crate) const PORT: u16 = 80;
const MTU: u16 = 1_500;

pub(crate) struct World {
    pub(crate) fabric: Fabric<Puppet>,
    observed: Receiver<Observed>,
}

/// A puppet in a namespace.
pub(crate) struct Process {
    pub(crate) port: PortId,
    child: Child,
    reports: Receiver<Report<Stamped>>,
    /// Its namespace lives as long as it does.
    pub(crate) netns: Netns,
}

pub(crate) fn v4(host: u8) -> IpAddr {
    [10, 7, 0, host].into()
}

pub(crate) fn v6(host: u8) -> IpAddr {
    [0xfd07, 0, 0, 0, 0, 0, 0, u16::from(host)].into()
}

impl World {
    pub(crate) fn new(captures: Option<&Path>) -> Self {
        let (sender, observed) = mpsc::channel();
        let icmp_source =
            IcmpSource { v4: Some([10, 7, 255, 254].into()), v6: Some([0xfd07, 0, 0, 0, 0, 0, 0, 0xfffe].into()) };
        let config = FabricConfig { icmp_source, captures: captures.map(Path::to_owned) };
        Self { fabric: Fabric::start(config, sender).unwrap(), observed }
    }

    /// A puppet in a namespace, listening on both its addresses.
    pub(crate) fn process(&self, host: u8, link: LinkConfig) -> Process {
        let netns = Netns::new().unwrap();
        let tun = Tun::new(&netns, "wan", &[(v4(host), 16), (v6(host), 64)], MTU).unwrap();
        for anywhere in ["0.0.0.0", "::"] {
            let destination = (anywhere.parse().unwrap(), 0);
            netns.add_route(&Route { destination, gateway: None, interface: "wan" }).unwrap();
        }
        let addresses = vec![v4(host), v6(host)];
        let attachment = Attachment { segment: Segment::Wan, role: Role::Host, addresses, link, seed: host.into() };
        let name = format!("p{host}");
        let port = self.fabric.attach_tun(&name, attachment, tun).unwrap();
        let (sender, reports) = mpsc::channel();
        let listen = [v4(host), v6(host)].map(|address| SocketAddr::new(address, PORT).to_string());
        let arguments = ["--puppet", &listen[0], &listen[1]];
        let child = Child::spawn(&name, &netns, &arguments, Stderr::Inherit, sender).unwrap();
        let mut process = Process { port, child, reports, netns };
        // It obeys when it listens: nobody is told to dial it before.
        process.order(&Order::Dial(99, SocketAddr::new(v4(host), PORT + 1)));
        process.says(&["99 ended Refused"]);
        process
    }

    /// A puppet on a stack in the fabric.
    pub(crate) fn stack(&self, address: IpAddr, link: LinkConfig) -> StackId {
        let stack = StackConfig {
            addresses: vec![address],
            listen: vec![PORT],
            local_ports: DYNAMIC_PORTS,
            udp: None,
            buffers: Buffers::SMALL,
            seed: 1,
            mtu: MTU,
        };
        let host = ActorHost { segment: Segment::Wan, link, stack, actor: Puppet::default() };
        self.fabric.attach_actor("browsers", host).unwrap()
    }

    /// The next things that puppets on stacks say are these.
    pub(crate) fn stacks_say(&self, expected: &[&str]) {
        let next = || said(self.observed.recv().unwrap().observation);
        let actual: Vec<String> = expected.iter().map(|_| next()).collect();
        assert_eq!(actual, expected);
    }
}

impl Process {
    pub(crate) fn order(&mut self, order: &Order) {
        self.child.send(order).unwrap();
    }

    pub(crate) fn next(&mut self) -> String {
        match self.reports.recv().unwrap().said {
            Said::Line(stamped) => said(stamped.observation),
            other => panic!("{other:?}"),
        }
    }

    /// The next things that it says are these.
    pub(crate) fn says(&mut self, expected: &[&str]) {
        let actual: Vec<String> = expected.iter().map(|_| self.next()).collect();
        assert_eq!(actual, expected);
    }

    /// How many bytes of 'x' it receives on connection 0 before its peer's FIN.
    pub(crate) fn receives(&mut self) -> usize {
        let mut count = 0;
        loop {
            let line = self.next();
            match line.strip_prefix("0 received ") {
                Some(bytes) => count += bytes.bytes().filter(|byte| *byte == b'x').count(),
                None => {
                    assert_eq!(line, "0 peer finished");
                    return count;
                }
            }
        }
    }
}
