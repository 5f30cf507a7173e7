//! From what the file says to a [`Config`]: every rule about values, and what to do about each that is broken.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use halod_core::ids::Side;
use halod_core::plane::PlaneKind;
use halod_core::service::{ServicePorts, ServicePortsError};
use toml::Spanned;

use super::Config;
use super::duration::parse_duration;
use super::file::{Cluster, File, Router};
use super::mistake::Mistake;
use crate::queue::Queues;

const HEARTBEAT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
const REDIAL_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);
const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 60 * 60);

/// The config that the file describes.
pub(super) fn resolve(File { router, cluster }: File) -> Result<Config, Mistake> {
    let control = control_addresses(&router.control)?;
    let ports = service_ports(&router, &control)?;
    let Cluster { reserve, heartbeat, misses, drain, pace, redial_timeout } = cluster;
    Ok(Config {
        ports,
        addresses: service_addresses(&router.addresses)?,
        control: control.into_iter().map(Spanned::into_inner).collect(),
        plane: optional(router.plane.as_ref(), PlaneKind::Steer, plane)?,
        masquerade: router.masquerade,
        queues: queues(&router)?,
        queue_len: optional(router.queue_len.as_ref(), 1024, |length| number(length, 1..=65_536))?,
        every_packet: router.every_packet,
        reserve: optional(reserve.as_ref(), 1, |reserve| number(reserve, 0..=usize::from(u16::MAX)))?,
        heartbeat: optional(heartbeat.as_ref(), Duration::from_millis(100), |heartbeat| {
            duration(heartbeat, HEARTBEAT)
        })?,
        misses: optional(misses.as_ref(), 3, |misses| number(misses, 1..=1000))?,
        drain: optional(drain.as_ref(), Duration::from_secs(30), |drain| duration(drain, DRAIN))?,
        pace: optional(pace.as_ref(), 1000, |pace| number(pace, 1..=1_000_000))?,
        redial_timeout: optional(redial_timeout.as_ref(), Duration::from_millis(250), |timeout| {
            duration(timeout, REDIAL_TIMEOUT)
        })?,
    })
}

fn service_ports(router: &Router, control: &[Spanned<SocketAddr>]) -> Result<ServicePorts, Mistake> {
    let routes = route_count(&router.routes, control)?;
    let browser = port_range(&router.browser_ports)?;
    let app = port_range(&router.app_ports)?;
    let ports = ServicePorts::new(routes, browser.clone(), app.clone());
    let ports = ports.map_err(|error| explain(error, router, &browser, &app))?;
    for address in control {
        let port = address.get_ref().port();
        if let Some((side, route)) = ports.locate(port) {
            let title = format!("control port {port} is a service port");
            return Err(Mistake::new(title, address.span(), format!("it is the {side} port of route {route}")));
        }
    }
    Ok(ports)
}

/// Each route needs two ports, and the control ports are taken.
fn route_count(routes: &Spanned<i64>, control: &[Spanned<SocketAddr>]) -> Result<u16, Mistake> {
    let mut taken: Vec<u16> = control.iter().map(|address| address.get_ref().port()).collect();
    taken.sort_unstable();
    taken.dedup();
    let possible = (usize::from(u16::MAX) - taken.len()) / 2;
    match u16::try_from(*routes.get_ref()) {
        Ok(count @ 1..) if usize::from(count) <= possible => Ok(count),
        _ => {
            let title = format!("{} routes are not possible", routes.get_ref());
            let label = format!("1 to {possible} are");
            Err(Mistake::new(title, routes.span(), label).help("each route needs a browser port and an app port"))
        }
    }
}

fn port_range(text: &Spanned<String>) -> Result<RangeInclusive<u16>, Mistake> {
    let (first, last) = text.get_ref().split_once('-').unwrap_or((text.get_ref(), text.get_ref()));
    match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
        (Ok(first @ 1..), Ok(last)) if first <= last => Ok(first..=last),
        _ => {
            let title = format!("`{}` is no range of ports", text.get_ref());
            Err(Mistake::new(title, text.span(), "expected FIRST-LAST within 1-65535, as in \"8001-8024\""))
        }
    }
}

fn explain(
    error: ServicePortsError,
    router: &Router,
    browser: &RangeInclusive<u16>,
    app: &RangeInclusive<u16>,
) -> Mistake {
    let place = |side| match side {
        Side::Browser => (router.browser_ports.span(), *browser.start()),
        Side::App => (router.app_ports.span(), *app.start()),
    };
    match error {
        ServicePortsError::NoRoutes => Mistake::new(error.to_string(), router.routes.span(), ""),
        ServicePortsError::PortZero(side) => Mistake::new(error.to_string(), place(side).0, ""),
        ServicePortsError::WrongCount { side, routes, .. } => {
            let (span, first) = place(side);
            let label = match first.checked_add(routes - 1) {
                Some(last) => format!("\"{first}-{last}\" would fit"),
                None => format!("it must begin at port {} or below", u16::MAX - (routes - 1)),
            };
            Mistake::new(error.to_string(), span, label)
        }
        ServicePortsError::Overlap(port) => {
            let label = format!("port {port} is a browser port already");
            Mistake::new(error.to_string(), router.app_ports.span(), label)
        }
    }
}

fn service_addresses(list: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<IpAddr>, Mistake> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for text in list.get_ref() {
        let address: IpAddr = parsed(text, "an IP address")?;
        if address.is_unspecified() || address.is_multicast() {
            let title = format!("`{address}` cannot be a service address");
            return Err(Mistake::new(title, text.span(), "expected an address of this host that clients can reach"));
        }
        let others = addresses.iter().map(|other| (other.is_ipv4(), other));
        one_of_each_version(text, address.is_ipv4(), others, "service address")?;
        addresses.push(address);
    }
    not_empty(addresses, list, "service address")
}

fn control_addresses(list: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<Spanned<SocketAddr>>, Mistake> {
    let mut addresses: Vec<Spanned<SocketAddr>> = Vec::new();
    for text in list.get_ref() {
        let address: SocketAddr = parsed(text, "an address and a port, as in \"10.2.0.1:7000\"")?;
        if address.port() == 0 || address.ip().is_multicast() {
            let title = format!("`{address}` cannot be a control address");
            return Err(Mistake::new(title, text.span(), "expected an address and a port that nodes can reach"));
        }
        // With two, a heartbeat could leave by another address than the one that the node speaks to.
        let others = addresses.iter().map(|other| (other.get_ref().is_ipv4(), other.get_ref()));
        one_of_each_version(text, address.is_ipv4(), others, "control address")?;
        addresses.push(Spanned::new(text.span(), address));
    }
    not_empty(addresses, list, "control address")
}

fn one_of_each_version(
    text: &Spanned<String>,
    is_ipv4: bool,
    mut others: impl Iterator<Item = (bool, impl Display)>,
    what: &str,
) -> Result<(), Mistake> {
    let Some((_, other)) = others.find(|&(other_is_ipv4, _)| other_is_ipv4 == is_ipv4) else { return Ok(()) };
    let version = if is_ipv4 { "IPv4" } else { "IPv6" };
    Err(Mistake::new(format!("more than one {version} {what}"), text.span(), format!("there is {other} already")))
}

fn not_empty<T, L>(addresses: Vec<T>, list: &Spanned<L>, what: &str) -> Result<Vec<T>, Mistake> {
    if addresses.is_empty() {
        return Err(Mistake::new(format!("at least one {what} is needed"), list.span(), "this list is empty"));
    }
    Ok(addresses)
}

fn parsed<T: std::str::FromStr>(text: &Spanned<String>, expected: &str) -> Result<T, Mistake> {
    let wrong =
        |_| Mistake::new(format!("`{}` is no address", text.get_ref()), text.span(), format!("expected {expected}"));
    text.get_ref().parse().map_err(wrong)
}

fn optional<T, U>(
    value: Option<&Spanned<T>>,
    default: U,
    check: impl FnOnce(&Spanned<T>) -> Result<U, Mistake>,
) -> Result<U, Mistake> {
    value.map_or(Ok(default), check)
}

fn plane(name: &Spanned<String>) -> Result<PlaneKind, Mistake> {
    match name.get_ref().as_str() {
        "steer" => Ok(PlaneKind::Steer),
        "rewrite" => Ok(PlaneKind::Rewrite),
        other => {
            let title = format!("`{other}` is no data plane");
            Err(Mistake::new(title, name.span(), "expected \"steer\" or \"rewrite\""))
        }
    }
}

fn queues(router: &Router) -> Result<Queues, Mistake> {
    let first = optional(router.queue.as_ref(), 0, |queue| number(queue, 0..=u16::MAX))?;
    let Some(count) = &router.queues else { return Ok(Queues::one(first)) };
    let wrong = |what: String, label: &str| Mistake::new(format!("{what} are not possible"), count.span(), label);
    let possible = u16::try_from(*count.get_ref()).ok().filter(|&count| Queues::new(0, count).is_some());
    let possible = possible.ok_or_else(|| wrong(format!("{} queues", count.get_ref()), "1, 2, 4, 8 or 16 are"))?;
    Queues::new(first, possible)
        .ok_or_else(|| wrong(format!("{possible} queues from number {first} on"), "the last number is 65535"))
}

fn number<T: TryFrom<i64> + PartialOrd + Display>(
    value: &Spanned<i64>,
    possible: RangeInclusive<T>,
) -> Result<T, Mistake> {
    let within = T::try_from(*value.get_ref()).ok().filter(|number| possible.contains(number));
    within.ok_or_else(|| {
        let label = format!("expected {} to {}", possible.start(), possible.end());
        Mistake::new(format!("{} is out of range", value.get_ref()), value.span(), label)
    })
}

fn duration(text: &Spanned<String>, possible: RangeInclusive<Duration>) -> Result<Duration, Mistake> {
    let Some(duration) = parse_duration(text.get_ref()) else {
        let title = format!("`{}` is no duration", text.get_ref());
        return Err(Mistake::new(title, text.span(), "expected a whole number and ms, s, m or h, as in \"100ms\""));
    };
    if !possible.contains(&duration) {
        let label = format!("expected {:?} to {:?}", possible.start(), possible.end());
        return Err(Mistake::new(format!("{} is out of range", text.get_ref()), text.span(), label));
    }
    Ok(duration)
}
