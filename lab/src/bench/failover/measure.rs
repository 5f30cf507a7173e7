//! What is measured of a loss.

use std::time::Duration;

use super::Kind;
use crate::timing::LossTimes;

/// A time that each loss of some kinds gives once, or once for each browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Kill until the first FIN or RST of the dead node reached the router: its kernel's time, and its link's.
    KillToFin,
    /// That FIN or RST until a node knew the table in which it owns the routes.
    CrashToTable,
    /// Kill until a browser that it served lost its connection.
    CrashToReset,
    /// Kill until that browser had its first byte from another node.
    CrashToByte,
    /// A node falls silent until another knew the table in which it owns the routes, in
    /// heartbeats.
    SilenceToTable,
    /// The same until a browser that it served lost its connection.
    SilenceToReset,
    /// The same until that browser had its first byte from another node.
    SilenceToByte,
}

impl Measure {
    /// In the order in which they are told.
    pub const ALL: [Measure; 7] = [
        Measure::KillToFin,
        Measure::CrashToTable,
        Measure::CrashToReset,
        Measure::CrashToByte,
        Measure::SilenceToTable,
        Measure::SilenceToReset,
        Measure::SilenceToByte,
    ];

    /// Whether a loss of this kind has it.
    pub fn is_of(self, kind: Kind) -> bool {
        let of_silence = matches!(self, Measure::SilenceToTable | Measure::SilenceToReset | Measure::SilenceToByte);
        of_silence == kind.is_silent()
    }

    /// Its name in JSON, with its unit.
    pub fn key(self) -> &'static str {
        match self {
            Measure::KillToFin => "kill_to_fin_ms",
            Measure::CrashToTable => "crash_to_table_ms",
            Measure::CrashToReset => "loss_to_reset_ms",
            Measure::CrashToByte => "outage_ms",
            Measure::SilenceToTable => "silence_to_table_heartbeats",
            Measure::SilenceToReset => "silence_to_reset_ms",
            Measure::SilenceToByte => "silence_outage_ms",
        }
    }

    /// What it is, in words, with its unit.
    pub fn title(self) -> &'static str {
        match self {
            Measure::KillToFin => "kill -> first FIN or RST at the router (the kernel's time), ms",
            Measure::CrashToTable => "first FIN or RST -> new table, ms",
            Measure::CrashToReset => "kill -> idle browser disconnected, ms",
            Measure::CrashToByte => "kill -> first byte from the new node (outage), ms",
            Measure::SilenceToTable => "silence -> new table, heartbeats",
            Measure::SilenceToReset => "silence -> idle browser disconnected, ms",
            Measure::SilenceToByte => "silence -> first byte from the new node (outage), ms",
        }
    }

    /// The numbers that a loss gives, where heartbeats come at this interval.
    pub(super) fn of(self, loss: &LossTimes, heartbeat: Duration) -> Vec<f64> {
        let (times, unit): (Vec<Duration>, _) = match self {
            Measure::KillToFin => (loss.first_closing.into_iter().collect(), MILLISECOND),
            // Without a FIN it was counted from the kill.
            Measure::CrashToTable => (loss.first_closing.and(loss.failover).into_iter().collect(), MILLISECOND),
            Measure::SilenceToTable => (loss.failover.into_iter().collect(), heartbeat),
            Measure::CrashToReset | Measure::SilenceToReset => (loss.resets.times().to_vec(), MILLISECOND),
            Measure::CrashToByte | Measure::SilenceToByte => (loss.outages.times().to_vec(), MILLISECOND),
        };
        times.into_iter().map(|time| time.div_duration_f64(unit)).collect()
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);
