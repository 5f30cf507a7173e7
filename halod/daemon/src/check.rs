//! `halod check`: whether this host provides what the daemon needs, and what to do where it does not.
//!
//! Nothing is changed: what has to be tried out is tried in a network namespace of its own.

mod host;
mod netfilter;
mod probe;

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use crate::config::Config;

/// What to check.
#[derive(Debug, Clone)]
pub struct CheckSpec {
    /// The config that the daemon would run with.
    pub config: Config,
    /// Service addresses of nodes whose replies must come back through this host.
    pub nodes: Vec<SocketAddr>,
    /// The client address to probe nodes from; `None` takes one of the documentation's ranges.
    pub probe_from: Option<IpAddr>,
}

/// What a check found. Texts are single lines.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Finding {
    /// As it should be.
    Ok(String),
    /// The daemon starts, but something may not work.
    Warn {
        /// What was found.
        what: String,
        /// What to do about it.
        cure: String,
    },
    /// The daemon would not start or not route.
    Fail {
        /// What was found.
        what: String,
        /// What to do about it.
        cure: String,
    },
}

impl Finding {
    fn ok(what: impl Into<String>) -> Self {
        Self::Ok(what.into())
    }

    fn warn(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Warn { what: what.into(), cure: cure.into() }
    }

    fn fail(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Fail { what: what.into(), cure: cure.into() }
    }
}

type Check = fn(&Config) -> Finding;

/// In the order in which they are worth curing.
const CHECKS: [(&str, Check); 10] = [
    ("rights", host::rights),
    ("rules", netfilter::rules),
    ("connections", netfilter::conntrack),
    ("queue", netfilter::queue),
    ("IPv4 forwarding", host::ipv4_forwarding),
    ("IPv6 forwarding", host::ipv6_forwarding),
    ("service ports", host::service_ports),
    ("service addresses", host::service_addresses),
    ("control", host::control),
    ("reverse path", host::reverse_path),
];

/// Runs every check, writes a line for each to `out` and says whether none failed.
///
/// # Errors
///
/// Those of `out`.
pub fn check(spec: &CheckSpec, out: &mut dyn Write) -> io::Result<bool> {
    let mut failures = 0;
    let mut report = |name: &str, finding: &Finding| {
        failures += usize::from(matches!(finding, Finding::Fail { .. }));
        writeln!(out, "{}", Line { name, finding })?;
        out.flush()
    };
    for (name, check) in CHECKS {
        report(name, &check(&spec.config))?;
    }
    for &node in &spec.nodes {
        report("node", &probe::node(&spec.config, node, spec.probe_from))?;
    }
    if failures > 0 {
        writeln!(out, "{failures} failed")?;
    }
    Ok(failures == 0)
}

/// A finding with the name of its check, in columns; the cure stands on a line of its own.
struct Line<'a> {
    name: &'a str,
    finding: &'a Finding,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, what, cure) = match self.finding {
            Finding::Ok(what) => ("ok", what, None),
            Finding::Warn { what, cure } => ("warn", what, Some(cure)),
            Finding::Fail { what, cure } => ("FAIL", what, Some(cure)),
        };
        write!(f, "{verdict:<4}  {:<17}  {what}", self.name)?;
        cure.map_or(Ok(()), |cure| write!(f, "\n{:25}cure: {cure}", ""))
    }
}
