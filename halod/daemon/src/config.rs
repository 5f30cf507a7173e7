//! The configuration file, as a value that cannot be wrong.
//!
//! Reading has two stages: `file` is what TOML and serde accept, with the place of every value; `resolve` turns it
//! into a [`Config`] or says where and why it cannot.

mod duration;
mod file;
mod mistake;
mod resolve;

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use halod_core::cluster::ClusterConfig;
use halod_core::flow::SourcePorts;
use halod_core::plane::{PlaneConfig, PlaneKind};
use halod_core::service::ServicePorts;

use self::mistake::Mistake;
use crate::queue::Queues;

/// Ports for flows that cannot keep their own. Those below are well known; a masqueraded flow must stay clear of the
/// router's own connections, whose ports begin at 32768 unless configured otherwise.
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 1024..=32_767;

/// What the daemon is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The browser and app ports of all routes.
    pub ports: ServicePorts,
    /// The service addresses: one, or one of each IP version.
    pub addresses: Vec<IpAddr>,
    /// Where nodes dial in by TCP and send heartbeats by UDP: one address, or one of each IP version.
    pub control: Vec<SocketAddr>,
    /// The data plane.
    pub plane: PlaneKind,
    /// Whether nodes see an address of this host instead of the client's.
    pub masquerade: bool,
    /// The NFQUEUEs. The `steer` plane, which decides about little, uses the first only.
    pub queues: Queues,
    /// On the `steer` plane, how many packets may wait for a decision before others pass by the last table.
    pub queue_len: u32,
    /// On the `steer` plane, whether all packets of all flows pass through the daemon, for counting.
    pub every_packet: bool,
    /// How many nodes wait in reserve before another becomes active.
    pub reserve: usize,
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Whole intervals of silence that are forgiven, at least one.
    pub misses: u32,
    /// How long flows of a moved route may stay where they are.
    pub drain: Duration,
    /// Browser connections that are told to move, or ended, in a second; at least one.
    pub pace: u32,
    /// How long a node may take to prove that it is alive.
    pub redial_timeout: Duration,
}

/// Why there is no [`Config`]. Its text is meant for a person and has several lines.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("error: cannot read {path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// The file says something that is wrong; the text shows where.
    #[error("{0}")]
    Invalid(String),
}

impl Config {
    /// Reads the file at `path`, or standard input if it is `-`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], for the first mistake that is found.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let is_stdin = path == Path::new("-");
        let name = if is_stdin { "standard input".into() } else { path.display().to_string() };
        let text = if is_stdin { read_stdin() } else { std::fs::read_to_string(path) };
        match text {
            Ok(text) => Self::parse(&name, &text),
            Err(error) => Err(ConfigError::Read { path: name, error }),
        }
    }

    /// Reads `text`; errors call it `name`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`], for the first mistake that is found.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let config = toml::from_str(text).map_err(Mistake::from).and_then(resolve::resolve);
        config.map_err(|mistake| ConfigError::Invalid(mistake.render(name, text)))
    }

    /// The policy of the cluster, on a host with these addresses besides those of the service and of the control port.
    pub fn cluster(&self, host: impl IntoIterator<Item = IpAddr>) -> ClusterConfig {
        let of_config = self.addresses.iter().copied().chain(self.control.iter().map(SocketAddr::ip));
        ClusterConfig {
            routes: self.ports.routes(),
            reserve: self.reserve,
            heartbeat: self.heartbeat,
            misses: self.misses,
            drain: self.drain,
            pace: self.pace,
            redial_timeout: self.redial_timeout,
            own_addresses: host.into_iter().chain(of_config).collect(),
        }
    }

    /// The queues that this data plane uses.
    pub fn queues_of(&self, kind: PlaneKind) -> Queues {
        match kind {
            PlaneKind::Rewrite => self.queues,
            PlaneKind::Steer => Queues::one(self.queues.first()),
        }
    }

    /// What every data plane needs. `seed` keeps others from predicting the hashes of its flow table.
    pub fn plane_config(&self, seed: u64) -> PlaneConfig {
        PlaneConfig {
            ports: self.ports,
            addresses: self.addresses.clone(),
            source_ports: SourcePorts::new(&SOURCE_PORTS).expect("a constant range with ports in it"),
            seed,
        }
    }
}

fn read_stdin() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"
[router]
routes = 24
addresses = ["192.0.2.1", "2001:db8::1"]
browser_ports = "8001-8024"
app_ports = "9001-9024"
control = ["10.2.0.1:7000"]
"#;

    fn example_with(former: &str, latter: &str) -> String {
        assert!(EXAMPLE.contains(former), "the example has no {former}");
        EXAMPLE.replacen(former, latter, 1)
    }

    /// The mistake in `text` as it is shown, without the lines around it.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let error = Config::parse("halod.toml", text).expect_err("the text is wrong").to_string();
        assert_eq!(error.trim(), expected.trim());
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let config = Config::parse("halod.toml", EXAMPLE).unwrap();
        let expected = Config {
            ports: ServicePorts::new(24, 8001..=8024, 9001..=9024).unwrap(),
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            control: vec!["10.2.0.1:7000".parse().unwrap()],
            plane: PlaneKind::Steer,
            masquerade: false,
            queues: Queues::one(0),
            queue_len: 1024,
            every_packet: false,
            reserve: 1,
            heartbeat: Duration::from_millis(100),
            misses: 3,
            drain: Duration::from_secs(30),
            pace: 1000,
            redial_timeout: Duration::from_millis(250),
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn what_is_said_is_taken() {
        let text = example_with("[router]", "[router]\nmasquerade = true\nqueue = 65532\nqueues = 4");
        let text = text + "[cluster]\nreserve = 0\nheartbeat = \"10ms\"\nmisses = 5\ndrain = \"2m\"\n";
        let config = Config::parse("halod.toml", &text).unwrap();
        assert_eq!((config.masquerade, config.reserve, config.misses), (true, 0, 5));
        assert_eq!(config.queues.numbers(), 65_532..=65_535);
        assert_eq!((config.heartbeat, config.drain), (Duration::from_millis(10), Duration::from_secs(120)));
    }

    #[test]
    fn a_mistake_is_shown_with_its_place_and_what_to_do() {
        check(
            &example_with("routes", "rotues"),
            "\
error: unknown key `rotues`
 --> halod.toml:3:1
  |
3 | rotues = 24
  | ^^^^^^ did you mean `routes`?
  |
  = help: known here: routes, addresses, browser_ports, app_ports, control, plane, masquerade, queue, queues, queue_len, every_packet",
        );
        check(
            &example_with("24", "40000"),
            "\
error: 40000 routes are not possible
 --> halod.toml:3:10
  |
3 | routes = 40000
  |          ^^^^^ 1 to 32767 are
  |
  = help: each route needs a browser port and an app port",
        );
    }

    #[test]
    fn every_rule_has_its_mistake() {
        for (former, latter, title, label) in [
            ("routes = 24\n", "", "missing key `routes`", ""),
            ("= 24", "= = 24", "extra `=`, expected nothing", ""),
            ("= 24", "= 0", "0 routes are not possible", "1 to 32767 are"),
            ("= 24", "= -1", "-1 routes are not possible", "1 to 32767 are"),
            (
                "8001-8024",
                "8001-8023",
                "24 routes need 24 browser ports, but the range has 23",
                "\"8001-8024\" would fit",
            ),
            (
                "9001-9024",
                "65530-65535",
                "24 routes need 24 app ports, but the range has 6",
                "it must begin at port 65512 or below",
            ),
            (
                "9001-9024",
                "8024-8047",
                "the browser ports and the app ports share port 8024",
                "port 8024 is a browser port already",
            ),
            (
                "9001-9024",
                "0-23",
                "`0-23` is no range of ports",
                "expected FIRST-LAST within 1-65535, as in \"8001-8024\"",
            ),
            (
                "9001-9024",
                "9024-9001",
                "`9024-9001` is no range of ports",
                "expected FIRST-LAST within 1-65535, as in \"8001-8024\"",
            ),
            (
                "9001-9024",
                "65520-65543",
                "`65520-65543` is no range of ports",
                "expected FIRST-LAST within 1-65535, as in \"8001-8024\"",
            ),
            (":7000", ":9024", "control port 9024 is a service port", "it is the app port of route 24"),
            (":7000", "", "`10.2.0.1` is no address", "expected an address and a port, as in \"10.2.0.1:7000\""),
            (
                "10.2.0.1:7000",
                "10.2.0.1:0",
                "`10.2.0.1:0` cannot be a control address",
                "expected an address and a port that nodes can reach",
            ),
            ("\"10.2.0.1:7000\"", "", "at least one control address is needed", "this list is empty"),
            (
                "\"10.2.0.1:7000\"",
                "\"10.2.0.1:7000\", \"10.2.0.1:7001\"",
                "more than one IPv4 control address",
                "there is 10.2.0.1:7000 already",
            ),
            (
                "192.0.2.1",
                "0.0.0.0",
                "`0.0.0.0` cannot be a service address",
                "expected an address of this host that clients can reach",
            ),
            (
                "192.0.2.1",
                "224.0.0.1",
                "`224.0.0.1` cannot be a service address",
                "expected an address of this host that clients can reach",
            ),
            ("192.0.2.1", "example.org", "`example.org` is no address", "expected an IP address"),
            ("2001:db8::1", "192.0.2.2", "more than one IPv4 service address", "there is 192.0.2.1 already"),
            ("[router]", "[router]\nqueue = 65536", "65536 is out of range", "expected 0 to 65535"),
            ("[router]", "[router]\nqueues = 3", "3 queues are not possible", "1, 2, 4, 8 or 16 are"),
            ("[router]", "[router]\nqueues = 32", "32 queues are not possible", "1, 2, 4, 8 or 16 are"),
            (
                "[router]",
                "[router]\nqueue = 65533\nqueues = 4",
                "4 queues from number 65533 on are not possible",
                "the last number is 65535",
            ),
            ("[router]", "[cluster]\nmisses = 0\n[router]", "0 is out of range", "expected 1 to 1000"),
            ("[router]", "[cluster]\nreserve = -1\n[router]", "-1 is out of range", "expected 0 to 65535"),
            ("[router]", "[cluster]\nheartbeat = \"9ms\"\n[router]", "9ms is out of range", "expected 10ms to 60s"),
            (
                "[router]",
                "[cluster]\ndrain = \"30\"\n[router]",
                "`30` is no duration",
                "expected a whole number and ms, s, m or h, as in \"100ms\"",
            ),
            ("[router]", "[clutser]\n[router]", "unknown key `clutser`", "did you mean `cluster`?"),
        ] {
            let text = example_with(former, latter);
            let error = Config::parse("halod.toml", &text).expect_err(title).to_string();
            assert_eq!(error.lines().next(), Some(format!("error: {title}").as_str()), "{error}");
            let caret = error.lines().find(|line| line.contains(" ^")).expect("a mistake has a place");
            assert_eq!(caret.trim_start_matches([' ', '|']).trim_start_matches('^').trim(), label, "{error}");
        }
    }
}
