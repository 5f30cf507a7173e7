//! What is compared: each contender is one entry of a list.

pub mod bare;
mod halod;
mod kernel;
mod proxy;
mod registrar;

use std::fmt;
use std::time::Duration;

use super::setting::{Setting, Target};

/// A way to get packets from the client to the server.
#[derive(Clone, Copy)]
pub struct Contender {
    /// What it is called, in tables, in JSON and on the command line.
    pub name: &'static str,
    /// Why it cannot be measured here, and how it could; `None` if it can.
    pub(super) obstacle: fn(&Setting) -> anyhow::Result<Option<String>>,
    /// Makes the router one. On the main thread only.
    pub(super) start: fn(&Setting) -> anyhow::Result<Box<dyn Router + '_>>,
}

/// A router that is ready.
pub(super) trait Router {
    /// Where the client finds the server.
    fn target(&self) -> Target;

    /// The time that its process took until now, if it has one.
    fn processor_time(&self) -> anyhow::Result<Option<Duration>> {
        Ok(None)
    }

    /// Undoes all that it did to the router.
    fn stop(self: Box<Self>) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Contender {
    /// The client and the server without a router: no contender, but what the load costs by itself.
    pub(super) const DIRECT: Contender = Contender {
        name: "direct",
        obstacle: |_| Ok(None),
        start: |_| Ok(Box::new(kernel::Forwarding(Target::DIRECT))),
    };

    /// All of them, as they are told.
    pub const ALL: [Contender; 8] = [
        Contender { name: PLAIN, obstacle: |_| Ok(None), start: |_| Ok(Box::new(kernel::Forwarding(Target::SERVER))) },
        Contender { name: NFT_DNAT, obstacle: kernel::nft_obstacle, start: kernel::start_nft },
        Contender { name: HAPROXY, obstacle: proxy::haproxy_obstacle, start: proxy::start_haproxy },
        Contender { name: "nginx-stream", obstacle: proxy::nginx_obstacle, start: proxy::start_nginx },
        Contender { name: "bare-queue", obstacle: |_| Ok(None), start: bare::start },
        Contender {
            name: HALOD_REWRITE,
            obstacle: |setting| halod::obstacle(setting, halod::Mode::Rewrite),
            start: |setting| halod::start(setting, halod::Mode::Rewrite),
        },
        Contender {
            name: HALOD_STEER,
            obstacle: |setting| halod::obstacle(setting, halod::Mode::Steer),
            start: |setting| halod::start(setting, halod::Mode::Steer),
        },
        Contender {
            name: "halod-every-packet",
            obstacle: |setting| halod::obstacle(setting, halod::Mode::SteerEveryPacket),
            start: |setting| halod::start(setting, halod::Mode::SteerEveryPacket),
        },
    ];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Contender> {
        Self::ALL.into_iter().find(|contender| contender.name == name)
    }
}

/// The kernel forwards, and nothing else.
pub(super) const PLAIN: &str = "plain";
/// The kernel translates the destination by a map, and connection tracking keeps what it came to.
pub(super) const NFT_DNAT: &str = "nft-dnat";
pub(super) const HAPROXY: &str = "haproxy";
pub(super) const HALOD_REWRITE: &str = "halod-rewrite";
pub(super) const HALOD_STEER: &str = "halod-steer";

impl fmt::Debug for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
