//! Who takes part: nodes, browsers, apps and clients, their names and their links.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Mistakes;
use crate::addresses;
use crate::orbited::Transport;
use crate::scenario::diagnostic::hint;
use crate::scenario::file::{self, File};
use crate::scenario::located::{At, Either};
use crate::scenario::{App, BrowserGroup, Client, Link, Node, Ref, Router, Table};

/// The smallest MTU of an IPv6 link (RFC 8200, 5). Nodes always have IPv6.
const MTU_MIN: u16 = 1280;

/// Names that mean something else already.
const RESERVED: [&str; 3] = ["default", "router", "service"];

/// Everyone who takes part.
pub(super) struct Hosts {
    pub(super) nodes: Table<Node>,
    pub(super) browsers: Table<BrowserGroup>,
    pub(super) apps: Table<App>,
    pub(super) clients: Table<Client>,
}

/// What each link says of itself, by the name that it is written under.
pub(super) struct Links {
    written: BTreeMap<String, Partial>,
}

/// A link of which some may be left open.
#[derive(Default, Clone, Copy)]
struct Partial {
    delay: Option<crate::scenario::Delay>,
    reorders: Option<bool>,
    loss: Option<crate::scenario::Percent>,
    duplicates: Option<crate::scenario::Percent>,
    mtu: Option<u16>,
}

impl Links {
    pub(super) fn read(mistakes: &mut Mistakes, file: &File) -> Self {
        let written = file.links.0.iter().map(|(name, link)| {
            if let Some(mtu) = link.mtu.as_ref().filter(|mtu| mtu.value < MTU_MIN) {
                let message = format!("an MTU of {} is too small", mtu.value);
                mistakes.add(&mtu.span, message, format!("at least {MTU_MIN}, the smallest of IPv6"));
            }
            let partial = Partial {
                delay: link.delay.as_ref().and_then(|delay| mistakes.quantity(delay)),
                reorders: link.reorders,
                loss: link.loss.as_ref().and_then(|loss| mistakes.quantity(loss)),
                duplicates: link.duplicates.as_ref().and_then(|duplicates| mistakes.quantity(duplicates)),
                mtu: link.mtu.as_ref().map(|mtu| mtu.value),
            };
            (name.value.clone(), partial)
        });
        Self { written: written.collect() }
    }

    /// The link of a host: each property from the last of `names` that gives it, else from the default.
    fn link(&self, names: &[&str]) -> Link {
        let mut link = Link::default();
        for name in std::iter::once(&"default").chain(names) {
            let partial = self.written.get(*name).copied().unwrap_or_default();
            link.delay = partial.delay.unwrap_or(link.delay);
            link.reorders = partial.reorders.unwrap_or(link.reorders);
            link.loss = partial.loss.unwrap_or(link.loss);
            link.duplicates = partial.duplicates.unwrap_or(link.duplicates);
            link.mtu = partial.mtu.unwrap_or(link.mtu);
        }
        link
    }
}

impl Hosts {
    pub(super) fn read(mistakes: &mut Mistakes, file: &File, router: &Router, links: &Links) -> Self {
        let hosts = Self {
            nodes: nodes(mistakes, file, links),
            browsers: file
                .browsers
                .0
                .iter()
                .map(|(name, group)| browsers(mistakes, name, group, router, links))
                .collect(),
            apps: file.apps.0.iter().map(|(name, app)| read_app(mistakes, name, app, links)).collect(),
            clients: file.clients.0.iter().map(|(name, client)| read_client(name, client, links)).collect(),
        };
        hosts.check_names(mistakes, file);
        check_room(mistakes, file);
        hosts.check_links(mistakes, file);
        hosts
    }

    /// The node of this name.
    pub(super) fn node(&self, name: &str) -> Option<Ref<Node>> {
        self.nodes.find(|node| node.name == name)
    }

    /// The client of this name.
    pub(super) fn client(&self, name: &str) -> Option<Ref<Client>> {
        self.clients.find(|client| client.name == name)
    }

    /// What nodes there are, as ranges: `n1..n8`.
    pub(super) fn node_ranges(&self) -> Vec<String> {
        let ranges = self.node_groups().into_iter().map(|(group, count)| match count {
            1 => format!("{group}1"),
            _ => format!("{group}1..{group}{count}"),
        });
        ranges.collect()
    }

    /// The groups of nodes with their sizes, as far as they can be told from the nodes.
    fn node_groups(&self) -> Vec<(&str, u16)> {
        let mut groups: Vec<(&str, u16)> = Vec::new();
        for node in &self.nodes {
            let group = node.name.trim_end_matches(|c: char| c.is_ascii_digit());
            match groups.last_mut() {
                Some((last, count)) if *last == group => *count += 1,
                _ => groups.push((group, 1)),
            }
        }
        groups
    }

    /// Every name is usable and is given once.
    fn check_names(&self, mistakes: &mut Mistakes, file: &File) {
        let groups = (file.nodes.0.iter().map(|(name, _)| (name, "group of nodes")))
            .chain(file.browsers.0.iter().map(|(name, _)| (name, "group of browsers")));
        let hosts = (file.apps.0.iter().map(|(name, _)| (name, "app")))
            .chain(file.clients.0.iter().map(|(name, _)| (name, "client")));

        let mut taken: BTreeMap<&str, &str> = self.nodes.iter().map(|node| (node.name.as_str(), "node")).collect();
        taken.extend(RESERVED.map(|name| (name, "word of the language")));
        for ((name, kind), numbered) in groups.map(|group| (group, true)).chain(hosts.map(|host| (host, false))) {
            if !is_name(&name.value) {
                mistakes.add(&name.span, format!("\"{}\" is not a name", name.value), "a-z, then a-z, 0-9 and -");
            } else if numbered && name.value.ends_with(|c: char| c.is_ascii_digit()) {
                let message = format!("the name of a group cannot end in a digit: \"{}\"", name.value);
                mistakes.add(&name.span, message, "its members are numbered");
            }
            if let Some(other) = taken.insert(&name.value, kind) {
                mistakes.add(&name.span, format!("\"{}\" is taken", name.value), format!("it names a {other} already"));
            }
        }
    }

    fn check_links(&self, mistakes: &mut Mistakes, file: &File) {
        let groups = file.nodes.0.iter().map(|(name, _)| name.value.as_str());
        let mut known: Vec<&str> = std::iter::once("default").chain(groups).collect();
        known.extend(self.browsers.iter().map(|group| group.name.as_str()));
        known.extend(self.apps.iter().map(|app| app.name.as_str()));
        known.extend(self.clients.iter().map(|client| client.name.as_str()));
        for (name, _) in &file.links.0 {
            if !known.contains(&name.value.as_str()) && self.node(&name.value).is_none() {
                let label = hint(&name.value, "a link belongs to a node or one of", known.iter().copied());
                mistakes.add(&name.span, format!("a link of nobody: \"{}\"", name.value), label);
            }
        }
    }
}

/// Every host has an address.
fn check_room(mistakes: &mut Mistakes, file: &File) {
    let nodes = file.nodes.0.iter().map(|(name, spec)| match spec {
        Either::Short(count) => (&name.span, *count),
        Either::Long(spec) => (&name.span, spec.count),
    });
    let browsers = file.browsers.0.iter().map(|(_, group)| (&group.count.span, group.count.value));
    fill(mistakes, "nodes", addresses::NODES_MAX, nodes);
    fill(mistakes, "browsers", addresses::BROWSERS_MAX, browsers);
    fill(mistakes, "apps", addresses::APPS_MAX, file.apps.0.iter().map(|(name, _)| (&name.span, 1)));
    fill(mistakes, "clients", addresses::CLIENTS_MAX, file.clients.0.iter().map(|(name, _)| (&name.span, 1)));
}

/// Adds a mistake where there are more than `max`.
fn fill<'a>(mistakes: &mut Mistakes, what: &str, max: u16, counts: impl Iterator<Item = (&'a Range<usize>, u16)>) {
    let mut sum = 0;
    for (span, count) in counts {
        sum += u32::from(count);
        if sum > max.into() {
            mistakes.add(span, format!("there are {sum} {what} up to here"), format!("at most {max}"));
            return;
        }
    }
}

fn nodes(mistakes: &mut Mistakes, file: &File, links: &Links) -> Table<Node> {
    let mut nodes = Vec::new();
    for (group, spec) in &file.nodes.0 {
        let (count, success, reconnect, tcp) = match spec {
            Either::Short(count) => (*count, None, None, None),
            Either::Long(spec) => (spec.count, spec.success, spec.reconnect, spec.tcp),
        };
        let (success, reconnect) = (success.unwrap_or_default(), reconnect.unwrap_or_default());
        let tcp = tcp.unwrap_or_default();
        if count == 0 {
            mistakes.add(&group.span, format!("the group \"{}\" is empty", group.value), "at least one node");
        }
        nodes.extend((1..=count).map(|number| {
            let name = format!("{}{number}", group.value);
            let link = links.link(&[&group.value, &name]);
            Node { name, success, reconnect, tcp, link }
        }));
    }
    nodes.into_iter().collect()
}

fn browsers(
    mistakes: &mut Mistakes,
    name: &At<String>,
    group: &file::Browsers,
    router: &Router,
    links: &Links,
) -> BrowserGroup {
    mistakes.count(&group.count, "browsers", u16::MAX.into());
    let transports = match &group.transports {
        None => vec![Transport::Sse],
        Some(transports) => transports.value.clone(),
    };
    if let Some(transports) = group.transports.as_ref().filter(|transports| transports.value.is_empty()) {
        mistakes.add(&transports.span, "browsers without a transport", "at least one");
    }
    BrowserGroup {
        name: name.value.clone(),
        count: group.count.value,
        transports,
        family: group.family.unwrap_or(router.family),
        link: links.link(&[&name.value]),
    }
}

fn read_app(mistakes: &mut Mistakes, name: &At<String>, app: &file::App, links: &Links) -> App {
    if let Some(ports) = &app.ports {
        mistakes.count(ports, "local ports", addresses::LOCAL_PORTS_MAX.into());
    }
    let ports = app.ports.as_ref().map(|ports| ports.value);
    let retries = app.retries.unwrap_or_default();
    App { name: name.value.clone(), ports, retries, link: links.link(&[&name.value]) }
}

fn read_client(name: &At<String>, client: &file::Client, links: &Links) -> Client {
    Client { name: name.value.clone(), on: client.on.unwrap_or_default(), link: links.link(&[&name.value]) }
}

/// Names become user names and parts of HTTP requests and ORBIT headers: nothing in them may need an escape.
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
