//! What the host provides apart from netfilter: rights, forwarding, addresses and ports.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;

use halod_core::ids::Side;
use nix::ifaddrs::getifaddrs;

use super::Finding;
use crate::config::Config;

/// CAP_NET_ADMIN for rules and queues, CAP_NET_RAW for packets in another's name.
pub(super) fn rights(_: &Config) -> Finding {
    // linux/capability.h
    const CAPABILITIES: [(&str, u32); 2] = [("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13)];
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    let missing: Vec<&str> =
        CAPABILITIES.into_iter().filter(|(_, bit)| effective & (1 << bit) == 0).map(|(name, _)| name).collect();
    if missing.is_empty() {
        return Finding::ok("CAP_NET_ADMIN and CAP_NET_RAW");
    }
    Finding::fail(
        format!("{} missing", missing.join(" and ")),
        "run as root, or: setcap cap_net_admin,cap_net_raw+ep $(command -v halod)",
    )
}

pub(super) fn ipv4_forwarding(config: &Config) -> Finding {
    forwarding(config, IpAddr::is_ipv4, "net.ipv4.ip_forward")
}

pub(super) fn ipv6_forwarding(config: &Config) -> Finding {
    forwarding(config, IpAddr::is_ipv6, "net.ipv6.conf.all.forwarding")
}

fn forwarding(config: &Config, is_family: fn(&IpAddr) -> bool, key: &str) -> Finding {
    if !config.addresses.iter().any(is_family) {
        return Finding::ok("not needed: no service address of this IP version");
    }
    match sysctl(key) {
        Ok(value) if value != "0" => Finding::ok(format!("{key} = {value}")),
        Ok(value) => Finding::fail(format!("{key} = {value}"), format!("sysctl -w {key}=1")),
        Err(error) => Finding::fail(format!("{key}: {error}"), "use a kernel with this IP version"),
    }
}

/// The kernel must not give a service port to a connection of its own: its packets would be taken for a flow's.
pub(super) fn service_ports(config: &Config) -> Finding {
    let ranges = [Side::Browser, Side::App].map(|side| config.ports.range(side));
    let ephemeral = sysctl("net.ipv4.ip_local_port_range").ok().and_then(|text| {
        let (first, last) = text.split_once(char::is_whitespace)?;
        Some(first.parse::<u16>().ok()?..=last.trim().parse::<u16>().ok()?)
    });
    let Some(ephemeral) = ephemeral else {
        return Finding::warn("net.ipv4.ip_local_port_range cannot be read", "mount /proc");
    };
    let reserved_text = sysctl("net.ipv4.ip_local_reserved_ports").unwrap_or_default();
    let reserved = port_list(&reserved_text);
    let is_free = |port: &u16| !ephemeral.contains(port) || reserved.iter().any(|range| range.contains(port));
    let taken = ranges.iter().cloned().flatten().find(|port| !is_free(port));
    match taken {
        None => Finding::ok("not among the ports that the kernel gives to connections of its own"),
        Some(port) => {
            let wanted = ranges.iter().map(|range| format!("{}-{}", range.start(), range.end()));
            let kept = Some(reserved_text).filter(|text| !text.is_empty());
            let list: Vec<String> = kept.into_iter().chain(wanted).collect();
            Finding::fail(
                format!("port {port} lies in ip_local_port_range {}-{}", ephemeral.start(), ephemeral.end()),
                format!("sysctl -w net.ipv4.ip_local_reserved_ports={}", list.join(",")),
            )
        }
    }
}

/// Reads `1-3,7`; what is not a port or a range is passed over.
fn port_list(text: &str) -> Vec<RangeInclusive<u16>> {
    let range = |item: &str| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).collect()
}

pub(super) fn service_addresses(config: &Config) -> Finding {
    let interfaces = match getifaddrs() {
        Ok(interfaces) => interfaces,
        Err(error) => return Finding::fail(format!("interfaces cannot be listed: {error}"), "check /proc and /sys"),
    };
    let present: Vec<IpAddr> = interfaces.filter_map(|interface| ip_address(interface.address?)).collect();
    match config.addresses.iter().find(|address| !present.contains(address)) {
        None => Finding::ok(list(&config.addresses)),
        Some(address) => {
            let length = if address.is_ipv4() { 32 } else { 128 };
            Finding::fail(
                format!("{address} is on no interface"),
                format!("ip address add {address}/{length} dev lo (or the interface that clients reach)"),
            )
        }
    }
}

fn ip_address(address: nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

pub(super) fn control(config: &Config) -> Finding {
    for &address in &config.control {
        let bound = TcpListener::bind(address).and_then(|_| UdpSocket::bind(address));
        if let Err(error) = bound {
            let cure = control_cure(address, &error);
            return Finding::fail(format!("{address} cannot be bound: {error}"), cure);
        }
    }
    Finding::ok(format!("{} by TCP and UDP", list(&config.control)))
}

fn control_cure(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("stop what listens on it (ss -lntup sport = {})", address.port()),
        io::ErrorKind::AddrNotAvailable => "give an address of this host in router.control".into(),
        io::ErrorKind::PermissionDenied => "use a port of 1024 or above in router.control".into(),
        _ => "give another address in router.control".into(),
    }
}

/// Clients and nodes may be behind different interfaces than the kernel would reply by.
pub(super) fn reverse_path(_: &Config) -> Finding {
    const STRICT: &str = "1";
    let strict = |interface: &str| sysctl(&format!("net.ipv4.conf.{interface}.rp_filter")).is_ok_and(|it| it == STRICT);
    let loose = || sysctl("net.ipv4.conf.all.rp_filter").is_ok_and(|it| it == "2");
    let entries = fs::read_dir("/proc/sys/net/ipv4/conf").into_iter().flatten().flatten();
    let mut interfaces: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    interfaces.retain(|name| name != "default" && name != "lo" && strict(name));
    interfaces.sort_unstable();
    if interfaces.is_empty() || loose() {
        return Finding::ok("no interface filters strictly");
    }
    Finding::warn(
        format!("rp_filter is strict on {}: packets that come by another way are dropped", interfaces.join(", ")),
        "sysctl -w net.ipv4.conf.all.rp_filter=2",
    )
}

/// The value of `key` in the network namespace of this thread.
fn sysctl(key: &str) -> io::Result<String> {
    let path = format!("/proc/sys/{}", key.replace('.', "/"));
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
