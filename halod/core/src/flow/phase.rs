//! How far a TCP connection has come, judged by the flags that pass.
//!
//! Not a TCP implementation: sequence numbers are left to the two ends, so nothing here refuses a packet.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::wire::TcpFlags;

/// Which end sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sender {
    /// The browser or app.
    Client,
    /// The node.
    Node,
}

/// The phase of a flow as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowPhase {
    /// The handshake is not complete.
    HalfOpen,
    /// Data may pass; one end may have sent FIN.
    Established,
    /// Both ends sent FIN, or one sent RST: late packets still pass. Or HaloD ended it: none does.
    Ended,
}

/// How far a connection has come by the kernel's account (its states: `linux/netfilter/nf_conntrack_tcp.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// The node has not answered.
    SynSent,
    /// The node has, the client has not acknowledged it.
    SynReceived,
    /// Data may pass; one end may have sent FIN.
    Established,
    /// Both ends have sent FIN.
    Closed,
    /// One end has sent RST.
    Reset,
}

impl From<Progress> for Phase {
    fn from(progress: Progress) -> Self {
        match progress {
            Progress::SynSent => Self::SynSent,
            Progress::SynReceived => Self::SynReceived,
            Progress::Established => Self::Established,
            Progress::Closed => Self::Closed,
            Progress::Reset => Self::Reset,
        }
    }
}

/// The state of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    SynSent,
    SynReceived,
    Established,
    /// One end has sent FIN.
    HalfClosed(Sender),
    /// Both ends have sent FIN.
    Closed,
    /// One end has sent RST. If it was not valid, the connection goes on and so does the flow.
    Reset,
    /// HaloD has ended it.
    Refused,
}

impl Phase {
    /// The phase after a packet with `flags` from `sender`.
    pub(super) fn after(self, sender: Sender, flags: TcpFlags) -> Phase {
        if self == Phase::Refused {
            return self;
        }
        if flags.contains(TcpFlags::RST) {
            return if self == Phase::Closed { Phase::Closed } else { Phase::Reset };
        }
        if flags.contains(TcpFlags::SYN) {
            return match (self, sender) {
                (Phase::SynSent, Sender::Node) => Phase::SynReceived,
                (phase, _) => phase,
            };
        }
        if flags.contains(TcpFlags::FIN) {
            return match self {
                // A FIN before the handshake is complete proves nothing: the flow stays what is dropped first.
                Phase::SynSent | Phase::Closed | Phase::Reset => self,
                Phase::SynReceived if sender == Sender::Node => self,
                Phase::HalfClosed(other) if other != sender => Phase::Closed,
                _ => Phase::HalfClosed(sender),
            };
        }
        match (self, sender) {
            (Phase::SynReceived, Sender::Client) | (Phase::Reset, _) => Phase::Established,
            (phase, _) => phase,
        }
    }

    /// How long a flow is kept without a packet. The long values are those of Linux's connection tracking.
    pub(super) const fn keep(self) -> Duration {
        Duration::from_secs(match self {
            Phase::SynSent | Phase::SynReceived => 60,
            Phase::Established => 5 * 24 * 3600,
            Phase::HalfClosed(_) => 3600,
            Phase::Closed | Phase::Refused => 60,
            Phase::Reset => 10,
        })
    }

    pub(super) const fn seen_from_outside(self) -> FlowPhase {
        match self {
            Phase::SynSent | Phase::SynReceived => FlowPhase::HalfOpen,
            Phase::Established | Phase::HalfClosed(_) => FlowPhase::Established,
            Phase::Closed | Phase::Reset | Phase::Refused => FlowPhase::Ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACK: TcpFlags = TcpFlags::ACK;
    const SYN: TcpFlags = TcpFlags::SYN;
    const FIN: TcpFlags = TcpFlags::FIN;
    const RST: TcpFlags = TcpFlags::RST;
    use Sender::{Client, Node};

    fn after(packets: &[(Sender, TcpFlags)]) -> Phase {
        packets.iter().fold(Phase::SynSent, |phase, &(sender, flags)| phase.after(sender, flags))
    }

    #[test]
    fn a_handshake_establishes() {
        assert_eq!(after(&[(Client, SYN)]), Phase::SynSent);
        assert_eq!(after(&[(Client, SYN), (Node, SYN)]), Phase::SynReceived);
        assert_eq!(after(&[(Client, SYN), (Node, SYN), (Client, ACK)]), Phase::Established);
        assert_eq!(after(&[(Client, SYN), (Client, ACK)]), Phase::SynSent, "an ACK before the node has answered");
    }

    #[test]
    fn it_takes_two_fins_to_close() {
        let open = [(Node, SYN), (Client, ACK)];
        let with = |more: &[(Sender, TcpFlags)]| after(&[&open, more].concat());
        assert_eq!(with(&[(Client, FIN)]), Phase::HalfClosed(Client));
        assert_eq!(with(&[(Client, FIN), (Client, FIN)]), Phase::HalfClosed(Client), "a retransmission");
        assert_eq!(with(&[(Client, FIN), (Node, ACK)]), Phase::HalfClosed(Client));
        assert_eq!(with(&[(Client, FIN), (Node, FIN)]), Phase::Closed);
        assert_eq!(with(&[(Client, FIN), (Node, FIN), (Client, ACK)]), Phase::Closed);
    }

    #[test]
    fn a_fin_before_the_handshake_buys_no_time() {
        assert_eq!(after(&[(Client, FIN), (Node, FIN)]), Phase::SynSent);
        assert_eq!(after(&[(Node, SYN), (Node, FIN)]), Phase::SynReceived);
        assert_eq!(after(&[(Node, SYN), (Client, RST), (Client, FIN)]), Phase::Reset);
    }

    #[test]
    fn a_reset_that_the_ends_did_not_believe_changes_nothing() {
        assert_eq!(after(&[(Node, SYN), (Client, ACK), (Client, RST)]), Phase::Reset);
        assert_eq!(after(&[(Node, SYN), (Client, ACK), (Client, RST), (Node, ACK)]), Phase::Established);
    }
}
