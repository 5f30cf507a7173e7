//! The keys of the file and their TOML types, each value with its place. Says nothing about what values make sense.

use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) router: Router,
    #[serde(default)]
    pub(super) cluster: Cluster,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Router {
    pub(super) routes: Spanned<i64>,
    pub(super) addresses: Spanned<Vec<Spanned<String>>>,
    pub(super) browser_ports: Spanned<String>,
    pub(super) app_ports: Spanned<String>,
    pub(super) control: Spanned<Vec<Spanned<String>>>,
    pub(super) plane: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) masquerade: bool,
    pub(super) queue: Option<Spanned<i64>>,
    pub(super) queues: Option<Spanned<i64>>,
    pub(super) queue_len: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) every_packet: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cluster {
    pub(super) reserve: Option<Spanned<i64>>,
    pub(super) heartbeat: Option<Spanned<String>>,
    pub(super) misses: Option<Spanned<i64>>,
    pub(super) drain: Option<Spanned<String>>,
    pub(super) pace: Option<Spanned<i64>>,
    pub(super) redial_timeout: Option<Spanned<String>>,
}
