//! Asks the kernel for what the kernel engine and the daemon are built on.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

use super::super::netns::Netns;
use super::super::tun::Tun;

const NFNL_SUBSYS_QUEUE: u8 = 3;
const NFNL_SUBSYS_NFTABLES: u8 = 10;
const NFQNL_MSG_CONFIG: u8 = 2;
const NFT_MSG_GETGEN: u8 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
/// Attribute NFQA_CFG_CMD with `{NFQNL_CFG_CMD_BIND, 0, AF_UNSPEC}` (linux/netfilter/nfnetlink_queue.h).
const BIND_QUEUE: [u8; 8] = [8, 0, 1, 0, 1, 0, 0, 0];

/// What there is on this machine; where something is missing, the reason to give for a test that is skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facilities {
    /// TUN interfaces.
    pub tun: Result<(), String>,
    /// nf_tables, for the daemon's rules.
    pub nf_tables: Result<(), String>,
    /// NFQUEUE, for the daemon's packets.
    pub nfqueue: Result<(), String>,
}

impl Facilities {
    /// The first thing that is missing, if any.
    pub fn missing(&self) -> Option<&str> {
        [&self.tun, &self.nf_tables, &self.nfqueue]
            .into_iter()
            .find_map(|found| found.as_ref().err())
            .map(String::as_str)
    }
}

/// Tries each facility in a namespace made for it. Needs [`enter`](super::enter) first.
///
/// # Errors
///
/// If there can be no namespace.
pub fn probe() -> io::Result<Facilities> {
    let netns = Netns::new()?;
    let explain = |what: &str, cure: &str, result: io::Result<()>| {
        result.map_err(|error| format!("{what} is missing ({error}): {cure}"))
    };
    let asked = |subsystem, message, attributes: &[u8]| {
        netns.run(|| ask_netfilter(subsystem, message, attributes)).and_then(|answer| answer)
    };
    Ok(Facilities {
        tun: explain(
            "TUN",
            "modprobe tun, and let this user open /dev/net/tun",
            Tun::new(&netns, "probe", &[], 1_500).map(drop),
        ),
        nf_tables: explain("nf_tables", "modprobe nf_tables", asked(NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN, &[])),
        nfqueue: explain(
            "NFQUEUE",
            "modprobe nfnetlink_queue",
            asked(NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG, &BIND_QUEUE),
        ),
    })
}

/// Sends one request to a subsystem of nfnetlink and reads its first answer.
fn ask_netfilter(subsystem: u8, message: u8, attributes: &[u8]) -> io::Result<()> {
    let netlink =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)?;
    bind(netlink.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let length = u32::try_from(20 + attributes.len()).expect("a request is short");
    let mut request = Vec::from(length.to_ne_bytes());
    request.extend(u16::from_be_bytes([subsystem, message]).to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    request.extend([0; 8]); // sequence, port
    request.extend([0; 4]); // struct nfgenmsg: family, version 0, resource 0
    request.extend(attributes);
    send(netlink.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut answer = [0; 4_096];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if length >= 20 && kind == NLMSG_ERROR && code != 0 {
        return Err(io::Error::from_raw_os_error(-code));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_subsystem_is_an_error() {
        // For who may not ask at all, too.
        assert!(ask_netfilter(200, 0, &[]).is_err());
    }

    #[test]
    fn what_is_missing_is_said_with_its_cure() {
        let facilities = Facilities { tun: Ok(()), nf_tables: Ok(()), nfqueue: Err("NFQUEUE is missing".into()) };
        assert_eq!(facilities.missing(), Some("NFQUEUE is missing"));
    }
}
