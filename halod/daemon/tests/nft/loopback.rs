//! Connections that this host opens to itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, getsockopt, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

pub(crate) const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(crate) const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// How long somebody may be waited for who ought to be there already.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Listens at a port of the kernel's choice.
pub(crate) fn listen(address: IpAddr) -> TcpListener {
    listen_at(SocketAddr::new(address, 0))
}

pub(crate) fn listen_at(address: SocketAddr) -> TcpListener {
    let listener = TcpListener::bind(address).unwrap();
    // It counts for `accept` too.
    setsockopt(&listener, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE.as_secs().cast_signed(), 0)).unwrap();
    listener
}

/// Sends a SYN. Rules have seen it when this returns, and whatever needs no decision has happened.
pub(crate) fn begin_connection(mark: u32, from: Option<SocketAddr>, to: (IpAddr, u16)) -> OwnedFd {
    let family = if to.0.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let client = socket(family, SockType::Stream, flags, None).unwrap();
    setsockopt(&client, sockopt::ReuseAddr, &true).unwrap();
    setsockopt(&client, sockopt::Mark, &mark).unwrap();
    if let Some(from) = from {
        bind(client.as_raw_fd(), &SockaddrStorage::from(from)).unwrap();
    }
    match connect(client.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from(to))) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(error) => panic!("connect to {to:?}: {error}"),
    }
    client
}

/// Whether a connection without a listener is answered with RST, which it is at once over the loopback.
pub(crate) fn is_refused(mark: u32, to: (IpAddr, u16)) -> bool {
    let client = begin_connection(mark, None, to);
    getsockopt(&client, sockopt::SocketError).unwrap() == Errno::ECONNREFUSED as i32
}
