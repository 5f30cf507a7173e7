//! The router's own address on the way to each node, which nodes see instead of the clients' when masquerading.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// What the kernel's routing said. A host is looked up when its first node comes, and forgotten with its last.
#[derive(Debug, Default)]
pub(crate) struct Masquerades {
    own_by_host: BTreeMap<IpAddr, IpAddr>,
}

impl Masquerades {
    /// The router's own address towards the host of each of `nodes`. A host without a route is missing, is logged, and is
    /// looked up again the next time.
    pub(crate) fn towards(&mut self, nodes: &BTreeSet<SocketAddr>) -> BTreeMap<IpAddr, IpAddr> {
        self.update(nodes, own_address_towards);
        self.own_by_host.clone()
    }

    fn update(&mut self, nodes: &BTreeSet<SocketAddr>, mut look_up: impl FnMut(IpAddr) -> io::Result<IpAddr>) {
        let hosts: BTreeSet<IpAddr> = nodes.iter().map(SocketAddr::ip).collect();
        self.own_by_host.retain(|host, _| hosts.contains(host));
        for host in hosts {
            if self.own_by_host.contains_key(&host) {
                continue;
            }
            match look_up(host) {
                Ok(own) => {
                    self.own_by_host.insert(host, own);
                }
                Err(error) => {
                    tracing::error!(%host, %error, "no route to a node's host; its flows keep the clients' addresses");
                }
            }
        }
    }
}

/// As the kernel's routing chooses it. Nothing is sent.
fn own_address_towards(host: IpAddr) -> io::Result<IpAddr> {
    const ANY_PORT: u16 = 9;
    let unspecified = if host.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((unspecified, 0))?;
    socket.connect((host, ANY_PORT))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_looked_up_once_while_it_is_there() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let own = ip("10.0.0.1");
        let mut masquerades = Masquerades::default();
        let mut looked_up = |nodes: &[&str]| {
            let nodes = nodes.iter().map(|node| node.parse().unwrap()).collect();
            let mut hosts = Vec::new();
            masquerades.update(&nodes, |host| {
                hosts.push(host);
                if host == ip("10.0.0.9") { Err(io::ErrorKind::NetworkUnreachable.into()) } else { Ok(own) }
            });
            (hosts, masquerades.own_by_host.keys().copied().collect::<Vec<_>>())
        };
        let [two, three, lost] = ["10.0.0.2", "10.0.0.3", "10.0.0.9"].map(ip);
        assert_eq!(looked_up(&["10.0.0.2:80", "10.0.0.2:81"]), (vec![two], vec![two]));
        assert_eq!(looked_up(&["10.0.0.2:80", "10.0.0.3:80"]), (vec![three], vec![two, three]));
        assert_eq!(looked_up(&["10.0.0.3:80", "10.0.0.9:80"]), (vec![lost], vec![three]));
        assert_eq!(looked_up(&["10.0.0.2:80", "10.0.0.9:80"]), (vec![two, lost], vec![two]));
    }
}
