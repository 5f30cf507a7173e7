//! Sends whole IP packets of the plane's own making, past the plane's own rules.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto, setsockopt, socket,
    sockopt,
};

use crate::nft::OWN_MARK;

/// A raw socket for each IP version. `IPPROTO_RAW` implies that the caller writes the IP header.
pub(crate) struct Answerer {
    v4: OwnedFd,
    v6: OwnedFd,
}

impl Answerer {
    /// Opens both sockets.
    ///
    /// # Errors
    ///
    /// EPERM without CAP_NET_RAW or CAP_NET_ADMIN.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { v4: open(AddressFamily::Inet)?, v6: open(AddressFamily::Inet6)? })
    }

    /// Sends a packet where its header says. One that cannot be sent at once is lost, like any packet.
    pub(crate) fn send(&self, packet: &[u8]) -> io::Result<()> {
        match destination(packet).ok_or(io::ErrorKind::InvalidInput)? {
            IpAddr::V4(ip) => {
                let to = SockaddrIn::from(std::net::SocketAddrV4::new(ip, 0));
                sendto(self.v4.as_raw_fd(), packet, &to, MsgFlags::MSG_DONTWAIT)?;
            }
            IpAddr::V6(ip) => {
                // A raw IPv6 socket takes the port for a protocol number and wants none.
                let to = SockaddrIn6::from(std::net::SocketAddrV6::new(ip, 0, 0, 0));
                sendto(self.v6.as_raw_fd(), packet, &to, MsgFlags::MSG_DONTWAIT)?;
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

/// Where an IP packet goes (RFC 791, section 3.1; RFC 8200, section 3).
fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => <[u8; 4]>::try_from(packet.get(16..20)?).ok().map(|octets| Ipv4Addr::from(octets).into()),
        6 => <[u8; 16]>::try_from(packet.get(24..40)?).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}
