//! Sends whole IP packets of the plane's own making, past the plane's own rules.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use halod_core::wire::Reset;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto, setsockopt, socket,
    sockopt,
};

use crate::nft::OWN_MARK;

/// A raw socket for each IP version. `IPPROTO_RAW` implies that the caller writes the IP header.
pub(super) struct Answerer {
    v4: OwnedFd,
    v6: OwnedFd,
}

impl Answerer {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { v4: open(AddressFamily::Inet)?, v6: open(AddressFamily::Inet6)? })
    }

    pub(super) fn send(&self, reset: &Reset) -> io::Result<()> {
        match reset.destination() {
            IpAddr::V4(ip) => {
                let to = SockaddrIn::from(std::net::SocketAddrV4::new(ip, 0));
                sendto(self.v4.as_raw_fd(), reset, &to, MsgFlags::MSG_DONTWAIT)?;
            }
            IpAddr::V6(ip) => {
                // A raw IPv6 socket takes the port for a protocol number and wants none.
                let to = SockaddrIn6::from(std::net::SocketAddrV6::new(ip, 0, 0, 0));
                sendto(self.v6.as_raw_fd(), reset, &to, MsgFlags::MSG_DONTWAIT)?;
            }
        }
        Ok(())
    }
}

fn open(family: AddressFamily) -> io::Result<OwnedFd> {
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
    setsockopt(&socket, sockopt::Mark, &OWN_MARK)?;
    Ok(socket)
}
