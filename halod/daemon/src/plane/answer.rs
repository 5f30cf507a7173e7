//! Sends whole IP packets of the plane's own making, past the plane's own rules.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use halod_core::plane::steer::Mark;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto, setsockopt, socket,
    sockopt,
};

use crate::nft::OWN_MARK;

/// A raw socket for each IP version. `IPPROTO_RAW` implies that the caller writes the IP header.
pub(crate) struct Answerer {
    v4: OwnedFd,
    v6: OwnedFd,
    /// Sends with the mark of the packet.
    marked_v4: OwnedFd,
    marked_v6: OwnedFd,
}

impl Answerer {
    /// Opens both sockets.
    ///
    /// # Errors
    ///
    /// EPERM without CAP_NET_RAW or CAP_NET_ADMIN.
    pub(crate) fn open() -> io::Result<Self> {
        let [v4, marked_v4] = [open(AddressFamily::Inet)?, open(AddressFamily::Inet)?];
        let [v6, marked_v6] = [open(AddressFamily::Inet6)?, open(AddressFamily::Inet6)?];
        Ok(Self { v4, v6, marked_v4, marked_v6 })
    }

    /// Sends a packet where its header says, or where its mark makes the kernel send it. One that cannot be sent at once is
    /// lost, like any packet.
    pub(crate) fn send(&self, packet: &[u8], mark: Option<Mark>) -> io::Result<()> {
        let choose = |plain, marked| -> io::Result<_> {
            let Some(mark) = mark else { return Ok(plain) };
            setsockopt(marked, sockopt::Mark, &mark.number())?;
            Ok(marked)
        };
        match destination(packet).ok_or(io::ErrorKind::InvalidInput)? {
            IpAddr::V4(ip) => {
                let to = SockaddrIn::from(std::net::SocketAddrV4::new(ip, 0));
                sendto(choose(&self.v4, &self.marked_v4)?.as_raw_fd(), packet, &to, MsgFlags::MSG_DONTWAIT)?;
            }
            IpAddr::V6(ip) => {
                // A raw IPv6 socket takes the port for a protocol number and wants none.
                let to = SockaddrIn6::from(std::net::SocketAddrV6::new(ip, 0, 0, 0));
                sendto(choose(&self.v6, &self.marked_v6)?.as_raw_fd(), packet, &to, MsgFlags::MSG_DONTWAIT)?;
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
