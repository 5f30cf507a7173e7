//! `halod run`: the daemon itself.

use crate::config::Config;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
///
/// Always, for now.
pub fn run(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("not built yet")
}
