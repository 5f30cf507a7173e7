//! The kernel alone: forwarding, and NAT by connection tracking.

use std::time::Duration;

use anyhow::Context;

use super::Router;
use crate::bench::router::program::{self, Program};
use crate::bench::router::setting::{Setting, Target};

/// How long `nft` may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whatever the kernel does by itself.
pub(super) struct Forwarding(pub(super) Target);

impl Router for Forwarding {
    fn target(&self) -> Target {
        self.0
    }
}

/// A table of rules, which is there until it is stopped.
struct Nft<'a>(&'a Setting);

pub(super) fn nft_obstacle(_setting: &Setting) -> anyhow::Result<Option<String>> {
    Ok(Program::NFT.missing().map(|missing| missing.to_string()))
}

pub(super) fn start_nft(setting: &Setting) -> anyhow::Result<Box<dyn Router + '_>> {
    nft(setting, &ruleset())?;
    Ok(Box::new(Nft(setting)))
}

impl Router for Nft<'_> {
    fn target(&self) -> Target {
        Target::SERVICE
    }

    fn stop(self: Box<Self>) -> anyhow::Result<()> {
        nft(self.0, "delete table ip bench\n")
    }
}

/// The destination port decides, by one map, as it would with many routes.
fn ruleset() -> String {
    let (from, to) = (Target::SERVICE, Target::SERVER);
    let element = |port: u16, to: std::net::SocketAddr| format!("{port} : {} . {}", to.ip(), to.port());
    format!(
        "table ip bench {{\n\
         map services {{\n\
         type inet_service : ipv4_addr . inet_service\n\
         elements = {{ {}, {} }}\n\
         }}\n\
         chain prerouting {{\n\
         type nat hook prerouting priority dstnat\n\
         ip daddr {} dnat ip to tcp dport map @services\n\
         }}\n\
         }}\n",
        element(from.web.port(), to.web),
        element(from.bulk.port(), to.bulk),
        from.web.ip()
    )
}

fn nft(setting: &Setting, commands: &str) -> anyhow::Result<()> {
    let file = setting.folder.write("commands.nft", commands)?;
    let output = program::run(Program::NFT.command(&setting.router)?.arg("-f").arg(file), PATIENCE)?;
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).with_context(|| format!("nft: {}", said.trim()))
}
