//! Who plays in a scenario: what its hosts, their links and their processes are made from, the same on every engine.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use halod_core::ids::Side;
use halod_core::user::route_of;

use crate::actors::app::{AppCommand, AppConfig};
use crate::actors::browser::{BrowserCommand, BrowserConfig};
use crate::actors::event::LOCATION;
use crate::actors::node::{self, NodeConfig};
use crate::addresses::{self, Pair};
use crate::network::{Attachment, LinkConfig, Role, Segment};
use crate::observation::first_event;
use crate::scenario::{
    App, BrowserGroup, Client, Hold, Link, Load, Node, OnReconnect, Parting, RateChange, Ref, Retries, Router,
    Scenario, Stray, StrayPath, Success,
};
use crate::stacks::{Buffers, DYNAMIC_PORTS, StackConfig};

/// The largest IP packet of every interface, in bytes. Links may carry less.
pub const MTU: u16 = 1500;

/// A browser's first wait after a refusal, and its longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How long a node lets a connection that it closes take.
const HALF_CLOSE: Duration = Duration::from_secs(5);

/// Where a stray packet of a client comes from or goes to: a port that nothing uses.
const STRAY_PORT: u16 = 4444;

/// A browser of a group.
#[derive(Debug)]
pub struct BrowserHost {
    /// Its group.
    pub group: Ref<BrowserGroup>,
    /// Its address.
    pub address: IpAddr,
    /// Its link.
    pub link: LinkConfig,
    /// Decides all that it and its link draw.
    pub seed: u64,
    /// The browser itself.
    pub config: BrowserConfig,
}

/// Who sends a stray packet, and between which ends it is.
#[derive(Debug, Clone, Copy)]
pub struct StrayEnds {
    /// The host on whose link it enters the network.
    pub sender: StraySender,
    /// Where it claims to come from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
}

/// A host that sends stray packets.
#[derive(Debug, Clone, Copy)]
pub enum StraySender {
    /// A client.
    Client(Ref<Client>),
    /// A node.
    Node(Ref<Node>),
}

/// All browsers of a scenario, group after group.
pub fn browsers(scenario: &Scenario) -> impl Iterator<Item = BrowserHost> {
    let routes = scenario.router.routes;
    let members =
        scenario.browsers.entries().flat_map(|(group, entry)| (0..entry.count).map(move |index| (group, entry, index)));
    members.enumerate().map(move |(number, (group, entry, index))| {
        let user = entry.user(index);
        let seed = seed(scenario.seed, &user, 0);
        let port = addresses::port(Side::Browser, routes, route_of(&user, routes));
        let (backoff_first, backoff_max) = BACKOFF;
        let config = BrowserConfig {
            user,
            transport: entry.transport(index),
            server: SocketAddr::new(addresses::service().family(entry.family), port),
            seed,
            backoff_first,
            backoff_max,
        };
        let address = addresses::browser(number).family(entry.family);
        BrowserHost { group, address, link: link(&entry.link), seed, config }
    })
}

/// A node's process, the `start`th of all processes of the scenario.
pub fn node(scenario: &Scenario, node: Ref<Node>, start: u64) -> NodeConfig {
    let entry = &scenario.nodes[node];
    let address = addresses::node(node.index());
    NodeConfig {
        name: entry.name.clone(),
        control: addresses::control(),
        browser: address.at(addresses::NODE_BROWSER_PORT),
        app: address.at(addresses::NODE_APP_PORT),
        admin: SocketAddr::new(address.v4, addresses::NODE_ADMIN_PORT),
        incarnation: seed(scenario.seed, "incarnation", start),
        success: match entry.success {
            Success::Acknowledged => node::Success::Acknowledged,
            Success::HandedOver => node::Success::HandedOver,
        },
        obeys: entry.reconnect == OnReconnect::Obey,
        seed: seed(scenario.seed, &entry.name, start),
        half_close: HALF_CLOSE,
    }
}

/// A node's stack, where it has none of the kernel's.
pub fn node_stack(address: Pair, seed: u64) -> StackConfig {
    StackConfig {
        addresses: address.both().to_vec(),
        listen: vec![addresses::NODE_BROWSER_PORT, addresses::NODE_APP_PORT, addresses::NODE_ADMIN_PORT],
        local_ports: DYNAMIC_PORTS,
        udp: Some(0),
        buffers: Buffers::LARGE,
        seed,
        mtu: MTU,
    }
}

/// An app's process.
pub fn app(scenario: &Scenario, app: Ref<App>) -> AppConfig {
    let entry = &scenario.apps[app];
    let routes = scenario.router.routes;
    let users = scenario.browsers.iter().flat_map(|group| (0..group.count).map(|index| group.user(index)));
    AppConfig {
        name: entry.name.clone(),
        server: addresses::service().family(scenario.router.family),
        app_port_first: addresses::port_first(Side::App, routes),
        routes,
        users: users.collect(),
        first_event: first_event(app.index()),
        location: LOCATION.to_owned(),
        retries: entry.retries == Retries::UntilSuccess,
        seed: seed(scenario.seed, &entry.name, 1),
    }
}

/// What a `load` step tells its app.
pub fn load(load: &Load) -> AppCommand {
    AppCommand::Load {
        utterances: load.events.into(),
        interval: load.rate.interval(),
        body_bytes: load.size_min as usize,
        room: load.room.into(),
    }
}

/// What a `rate` step tells its app.
pub fn rate(change: RateChange) -> AppCommand {
    AppCommand::Rate { interval: change.to.interval() }
}

/// What a `disconnect` step tells its browsers.
pub fn parting(by: Parting) -> BrowserCommand {
    match by {
        Parting::Close => BrowserCommand::Close,
        Parting::Fin => BrowserCommand::Abandon,
        Parting::Rst => BrowserCommand::Abort,
    }
}

/// What a `hold` step tells its app.
pub fn hold(hold: &Hold) -> AppCommand {
    AppCommand::Hold { flows: hold.flows, routes: hold.routes }
}

/// Where a host of this name is attached.
pub fn attachment(scenario: &Scenario, name: &str, segment: Segment, address: Pair, link_of_host: &Link) -> Attachment {
    Attachment {
        segment,
        role: Role::Host,
        addresses: address.both().to_vec(),
        link: link(link_of_host),
        seed: seed(scenario.seed, name, 0),
    }
}

/// Where the router is attached to a segment, by an interface of this name.
pub fn router_attachment(scenario: &Scenario, name: &str, segment: Segment) -> Attachment {
    Attachment {
        segment,
        role: Role::Router,
        addresses: addresses::router(segment).both().to_vec(),
        link: LinkConfig::default(),
        seed: seed(scenario.seed, name, 0),
    }
}

/// The ends of a stray packet.
pub fn stray(scenario: &Scenario, stray: &Stray) -> StrayEnds {
    let family = scenario.router.family;
    let of_client = |client: Ref<Client>| addresses::client(scenario.clients[client].on, client.index()).family(family);
    match stray.path {
        StrayPath::ToService { from, route, side } => {
            let port = addresses::port(side, scenario.router.routes, route);
            StrayEnds {
                sender: StraySender::Client(from),
                source: SocketAddr::new(of_client(from), STRAY_PORT),
                destination: SocketAddr::new(addresses::service().family(family), port),
            }
        }
        StrayPath::FromNode { from, side, to } => {
            let port = match side {
                Side::Browser => addresses::NODE_BROWSER_PORT,
                Side::App => addresses::NODE_APP_PORT,
            };
            StrayEnds {
                sender: StraySender::Node(from),
                source: SocketAddr::new(addresses::node(from.index()).family(family), port),
                destination: SocketAddr::new(of_client(to), STRAY_PORT),
            }
        }
    }
}

/// The daemon's config file.
pub fn daemon_config(router: &Router) -> String {
    let service = addresses::service();
    let ports = |side| {
        let first = addresses::port_first(side, router.routes);
        format!("{first}-{}", first + (router.routes - 1))
    };
    // The daemon has defaults of its own for what the scenario leaves open.
    let optional = |key, value: Option<String>| value.map_or(String::new(), |value| format!("{key} = {value}\n"));
    let pace = router.pace.map(|pace| pace.per_second().to_string());
    let redial = router.redial.map(|redial| format!("\"{}ms\"", redial.as_millis()));
    format!(
        "[router]\n\
         routes = {routes}\n\
         addresses = [\"{v4}\", \"{v6}\"]\n\
         browser_ports = \"{browser}\"\n\
         app_ports = \"{app}\"\n\
         control = [\"{control}\"]\n\
         plane = \"{plane}\"\n\
         masquerade = {masquerade}\n\
         {queues}{queue_len}\
         [cluster]\n\
         reserve = {reserve}\n\
         heartbeat = \"{heartbeat}ms\"\n\
         misses = {misses}\n\
         drain = \"{drain}ms\"\n\
         {pace}{redial}",
        routes = router.routes,
        v4 = service.v4,
        v6 = service.v6,
        browser = ports(Side::Browser),
        app = ports(Side::App),
        control = addresses::control(),
        plane = router.plane.unwrap_or_default(),
        masquerade = router.masquerade,
        queues = optional("queues", router.queues.map(|queues| queues.to_string())),
        queue_len = optional("queue_len", router.queue_len.map(|length| length.to_string())),
        reserve = router.reserve,
        heartbeat = router.heartbeat.as_millis(),
        misses = router.misses,
        drain = router.drain.as_millis(),
        pace = optional("pace", pace),
        redial = optional("redial_timeout", redial),
    )
}

/// A seed of its own for each thing that draws random numbers.
pub fn seed(of_scenario: u64, name: &str, number: u64) -> u64 {
    let mut hash = of_scenario ^ 0xcbf2_9ce4_8422_2325;
    for byte in name.bytes().chain(number.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// The ports that an app dials from, if they are counted.
pub fn local_ports(app: &App) -> Option<RangeInclusive<u16>> {
    let first = addresses::LOCAL_PORT_FIRST;
    app.ports.map(|ports| first..=first + (ports - 1))
}

/// What a link does with packets.
pub fn link(link: &Link) -> LinkConfig {
    let narrow = Some(link.mtu).filter(|&mtu| mtu < MTU);
    LinkConfig {
        delay_min: link.delay.min,
        delay_max: link.delay.max,
        reorders: link.reorders,
        loss: link.loss.fraction(),
        duplicates: link.duplicates.fraction(),
        datagram_delay: link.datagrams,
        mtu: narrow,
    }
}
