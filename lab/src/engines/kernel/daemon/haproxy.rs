//! Debian's HAProxy as an expert would tune it for long connections that have to notice a dead server soon.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;

use halod_core::ids::Side;

use crate::addresses;
use crate::scenario::{Router, Scenario};

/// Found by `PATH`.
pub(super) const PROGRAM: &str = "haproxy";
/// In the foreground, so that it dies with the lab, with the config from stdin.
pub(super) const ARGUMENTS: [&str; 3] = ["-db", "-f", "/dev/stdin"];
/// Misses that it forgives.
const MISSES: u32 = 3;
/// Ten round trips to a node. A browser that comes while its node is dead but not known to be waits so long.
const CONNECT_TIMEOUT_MS: u32 = 20;

/// Its version; `None` if it is not installed.
pub fn version() -> Option<String> {
    let output = Command::new(PROGRAM).arg("-v").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // "HAProxy version 2.6.12-1+deb12u3 2025/10/03 - https://haproxy.org/"
    text.split_whitespace().nth(2).map(str::to_owned)
}

/// Where it listens first.
pub(super) fn answers_at(scenario: &Scenario) -> SocketAddr {
    SocketAddr::new(addresses::service().v4, addresses::port_first(Side::Browser, scenario.router.routes))
}

/// A listener for each route's browser port and a server for each node, checked once a heartbeat.
///
/// After a check that failed, the next follows at once. The check asks the node's app port for something: a process that
/// hangs still accepts connections. Whoever comes goes to the server with the fewest connections; HAProxy has no user to
/// keep together with an app. A server that does not answer is left for another one at once.
pub(super) fn config(scenario: &Scenario) -> String {
    let Router { routes, heartbeat, .. } = scenario.router;
    let first = addresses::port_first(Side::Browser, routes);
    let mut config = format!(
        "defaults\n    mode tcp\n    timeout client 1h\n    timeout server 1h\n    \
         timeout connect {CONNECT_TIMEOUT_MS}ms\n    retries 3\n    option redispatch 1\n\
         frontend browsers\n    bind {service}:{first}-{last}\n    default_backend nodes\n\
         backend nodes\n    balance leastconn\n    option tcp-check\n    tcp-check connect port {app_port}\n    \
         tcp-check send \"Orbit 1.0\\r\\nEvent\\r\\nid: 1\\r\\nrecipient: nobody, 0, /\\r\\nlength: 0\\r\\n\\r\\n\"\n    \
         tcp-check expect string Failure\n    \
         default-server check inter {interval}ms fastinter 1ms fall {MISSES} rise 1 on-marked-down shutdown-sessions\n",
        service = addresses::service().v4,
        last = first + (routes - 1),
        app_port = addresses::NODE_APP_PORT,
        interval = heartbeat.as_millis(),
    );
    for (node, entry) in scenario.nodes.entries() {
        let address = SocketAddr::new(addresses::node(node.index()).v4, addresses::NODE_BROWSER_PORT);
        let _ = writeln!(config, "    server {} {address}", entry.name);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_a_listener_and_every_node_a_server() {
        let scenario = "scenario: x\nabout: X.\nrouter: {routes: 24, heartbeat: 10ms}\nnodes: {n: 2}\nsteps: []\n";
        assert_eq!(
            config(&Scenario::parse("x.yaml", scenario).unwrap()),
            r#"defaults
    mode tcp
    timeout client 1h
    timeout server 1h
    timeout connect 20ms
    retries 3
    option redispatch 1
frontend browsers
    bind 192.0.2.1:10000-10023
    default_backend nodes
backend nodes
    balance leastconn
    option tcp-check
    tcp-check connect port 9000
    tcp-check send "Orbit 1.0\r\nEvent\r\nid: 1\r\nrecipient: nobody, 0, /\r\nlength: 0\r\n\r\n"
    tcp-check expect string Failure
    default-server check inter 10ms fastinter 1ms fall 3 rise 1 on-marked-down shutdown-sessions
    server n1 10.2.1.1:8000
    server n2 10.2.1.2:8000
"#
        );
    }
}
