//! The hosts: a client, a router and a server in a row, each a network namespace, connected by veth pairs.
//!
//! A third pair leads from the client to the server past the router: what the load costs by itself. No packet goes through
//! the lab's own process, and the rest of the machine's network is left alone.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;

use super::program::Program;
use super::service::{Folder, Service};
use crate::engines::kernel::netns::Netns;
use crate::engines::kernel::{InterfaceConfig, Route};

const CLIENT: IpAddr = v4([10, 1, 0, 2]);
const ROUTER_TO_CLIENT: IpAddr = v4([10, 1, 0, 1]);
const ROUTER_TO_SERVER: IpAddr = v4([10, 2, 0, 1]);
pub(super) const SERVER: IpAddr = v4([10, 2, 0, 2]);
const CLIENT_DIRECTLY: IpAddr = v4([10, 3, 0, 1]);
const SERVER_DIRECTLY: IpAddr = v4([10, 3, 0, 2]);
/// What a router that translates addresses is spoken to at.
pub(super) const SERVICE: IpAddr = v4([192, 0, 2, 1]);
/// Where nodes register, at the router.
pub(super) const CONTROL: SocketAddr = SocketAddr::new(ROUTER_TO_SERVER, 7000);

const PREFIX: u8 = 24;
const SERVER_WEB_PORT: u16 = 8080;
const SERVER_BULK_PORT: u16 = 5201;

/// Where the load goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    /// For HTTP requests.
    pub(super) web: SocketAddr,
    /// For bulk.
    pub(super) bulk: SocketAddr,
}

impl Target {
    /// The server by its own address, through the router.
    pub(super) const SERVER: Target = Target::new(SERVER, SERVER_WEB_PORT, SERVER_BULK_PORT);
    /// The server past the router.
    pub(super) const DIRECT: Target = Target::new(SERVER_DIRECTLY, SERVER_WEB_PORT, SERVER_BULK_PORT);
    /// The service address, which the router has to translate.
    pub(super) const SERVICE: Target = Target::new(SERVICE, 8001, 9001);

    const fn new(address: IpAddr, web_port: u16, bulk_port: u16) -> Self {
        Self { web: SocketAddr::new(address, web_port), bulk: SocketAddr::new(address, bulk_port) }
    }
}

/// The three hosts, and the server's programs as far as they are installed.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) client: Netns,
    pub(super) router: Netns,
    pub(super) server: Netns,
    pub(super) folder: Folder,
    web: Option<Service>,
    bulk: Option<Service>,
}

impl Setting {
    /// Builds it. On the main thread only, as [`Service::start`] says.
    pub(super) fn build() -> anyhow::Result<Self> {
        let [client, router, server] = [Netns::new()?, Netns::new()?, Netns::new()?];
        connect((&client, "router", CLIENT), (&router, "client", ROUTER_TO_CLIENT))?;
        connect((&server, "router", SERVER), (&router, "server", ROUTER_TO_SERVER))?;
        connect((&client, "direct", CLIENT_DIRECTLY), (&server, "direct", SERVER_DIRECTLY))?;
        router.configure(&InterfaceConfig { name: "lo", addresses: &[(SERVICE, 32)], mtu: None, queue: None })?;
        for (host, gateway) in [(&client, ROUTER_TO_CLIENT), (&server, ROUTER_TO_SERVER)] {
            let everything = (v4([0; 4]), 0);
            host.add_route(&Route { destination: everything, gateway: Some(gateway), interface: "router" })?;
        }
        set_sysctls(&client, &router, &server)?;
        let mut setting = Self { client, router, server, folder: Folder::new()?, web: None, bulk: None };
        setting.web = setting.start_web()?;
        setting.bulk = setting.start_bulk()?;
        Ok(setting)
    }

    /// Whether there is something at the server that answers requests.
    pub(super) fn has_web(&self) -> bool {
        self.web.is_some()
    }

    /// Whether a request of the client is answered; if there is nobody to answer it, whether bulk is taken.
    pub(super) fn answers(&self, target: Target) -> anyhow::Result<bool> {
        let patience = Duration::from_secs(1);
        let ask = || -> io::Result<()> {
            if !self.has_web() {
                return TcpStream::connect_timeout(&target.bulk, patience).map(drop);
            }
            let mut connection = TcpStream::connect_timeout(&target.web, patience)?;
            connection.set_read_timeout(Some(patience))?;
            connection.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            connection.read_exact(&mut [0])
        };
        Ok(self.client.run(ask)?.is_ok())
    }

    fn start_web(&self) -> anyhow::Result<Option<Service>> {
        if Program::NGINX.missing().is_some() {
            return Ok(None);
        }
        let folder = self.folder.path().display();
        let config = self.folder.write("web.conf", &web_config(&folder.to_string()))?;
        let mut nginx = Program::NGINX.command(&self.server)?;
        nginx.args(["-e", "stderr", "-p"]).arg(self.folder.path()).arg("-c").arg(config);
        let mut web = Service::start_with_workers("nginx", nginx, "", &self.folder)?;
        web.await_ready(|| Ok(self.client.run(|| TcpStream::connect(Target::DIRECT.web))?.is_ok()))?;
        Ok(Some(web))
    }

    fn start_bulk(&self) -> anyhow::Result<Option<Service>> {
        if Program::IPERF3.missing().is_some() {
            return Ok(None);
        }
        let mut iperf3 = Program::IPERF3.command(&self.server)?;
        iperf3.args(["-s", "-p", &SERVER_BULK_PORT.to_string()]);
        let mut bulk = Service::start("iperf3", iperf3, "", &self.folder)?;
        bulk.await_ready(|| Ok(self.client.run(|| TcpStream::connect(Target::DIRECT.bulk))?.is_ok()))?;
        Ok(Some(bulk))
    }
}

/// nginx that answers every request with three bytes, on a connection that may stay for ever.
fn web_config(folder: &str) -> String {
    format!(
        "daemon off;\nuser root;\nworker_processes auto;\npid {folder}/web.pid;\nerror_log stderr error;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n\
         access_log off;\nkeepalive_requests 1000000000;\nkeepalive_timeout 1h;\n\
         client_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\nfastcgi_temp_path {folder}/fastcgi;\n\
         uwsgi_temp_path {folder}/uwsgi;\nscgi_temp_path {folder}/scgi;\n\
         server {{ listen {SERVER_WEB_PORT} backlog=4096; location / {{ return 200 \"ok\\n\"; }} }}\n\
         }}\n"
    )
}

fn set_sysctls(client: &Netns, router: &Netns, server: &Netns) -> anyhow::Result<()> {
    // A client that makes many connections needs many ports, each again soon.
    client.set_sysctl("ipv4.ip_local_port_range", "1024 65535")?;
    client.set_sysctl("ipv4.tcp_tw_reuse", "1")?;
    // The server takes a port again that it keeps in TIME-WAIT if the timestamps go on (RFC 7323). Linux lets them begin elsewhere
    // for each pair of addresses, so that those by the server's own address would go back from those by the service's, or vice versa.
    client.set_sysctl("ipv4.tcp_timestamps", "2")?;
    router.set_sysctl("ipv4.ip_forward", "1")?;
    // Connections of some rounds would fill the table, which is one for the whole machine, at its default of two minutes.
    match router.set_sysctl("netfilter.nf_conntrack_tcp_timeout_time_wait", "1") {
        // Without conntrack there is no table either.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    // The same everywhere, whatever this machine has as its default; a kernel without it keeps its own.
    for host in [client, router, server] {
        let _ = host.set_sysctl("ipv4.tcp_congestion_control", "cubic");
    }
    Ok(())
}

/// One end of a pair: where it is, what it is called there, and its address.
type End<'a> = (&'a Netns, &'a str, IpAddr);

fn connect(one: End<'_>, other: End<'_>) -> anyhow::Result<()> {
    one.0.add_veth(one.1, other.0, other.1).context("a veth pair")?;
    for (host, name, address) in [one, other] {
        host.configure(&InterfaceConfig { name, addresses: &[(address, PREFIX)], mtu: None, queue: None })?;
    }
    Ok(())
}

const fn v4([a, b, c, d]: [u8; 4]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}
