//! Interfaces, addresses and routes by rtnetlink, in the namespace of the calling thread.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

/// How an interface is to be.
#[derive(Debug, Clone, Copy)]
pub struct InterfaceConfig<'a> {
    /// Its name, which exists.
    pub name: &'a str,
    /// Its addresses, each with the length of the prefix that is reached directly.
    pub addresses: &'a [(IpAddr, u8)],
    /// The largest IP packet, in bytes; `None` leaves it as it is.
    pub mtu: Option<u16>,
    /// How many packets may wait to leave by it; `None` leaves it as it is.
    pub queue: Option<u32>,
}

/// A route of the main table.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// The prefix that it leads to; of length 0 for a default route.
    pub destination: (IpAddr, u8),
    /// By way of this neighbour, of the same IP version; `None` if the destination is reached directly.
    pub gateway: Option<IpAddr>,
    /// Out of the interface of this name.
    pub interface: &'a str,
}

pub(super) fn configure(interface: &InterfaceConfig<'_>) -> io::Result<()> {
    let index = index_of(interface.name)?;
    with_handle(async |handle| {
        let mut link = LinkUnspec::new_with_index(index).up();
        if let Some(mtu) = interface.mtu {
            link = link.mtu(mtu.into());
        }
        if let Some(queue) = interface.queue {
            link = link.append_extra_attribute(LinkAttribute::TxQueueLen(queue));
        }
        handle.link().set(link.build()).execute().await?;
        for (address, prefix_length) in interface.addresses {
            let mut request = handle.address().add(index, *address, *prefix_length);
            if address.is_ipv6() {
                // The lab gives addresses out: there are no duplicates to wait for.
                request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            }
            request.execute().await?;
        }
        Ok(())
    })
}

pub(super) fn add_route(route: &Route<'_>) -> io::Result<()> {
    let index = index_of(route.interface)?;
    let message = match route.destination {
        (IpAddr::V4(to), length) => {
            let builder = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to, length).output_interface(index);
            match route.gateway {
                Some(IpAddr::V4(gateway)) => builder.gateway(gateway),
                Some(IpAddr::V6(_)) => return Err(mixed_versions(route)),
                None => builder,
            }
            .build()
        }
        (IpAddr::V6(to), length) => {
            let builder = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(to, length).output_interface(index);
            match route.gateway {
                Some(IpAddr::V6(gateway)) => builder.gateway(gateway),
                Some(IpAddr::V4(_)) => return Err(mixed_versions(route)),
                None => builder,
            }
            .build()
        }
    };
    with_handle(async |handle| handle.route().add(message).execute().await)
}

/// Makes a pair of connected interfaces, down both: `name` here and `peer_name` in the namespace `peer`.
pub(super) fn add_veth(name: &str, peer: BorrowedFd<'_>, peer_name: &str) -> io::Result<()> {
    let peer = LinkUnspec::new_with_name(peer_name).setns_by_fd(peer.as_raw_fd()).build();
    let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(name)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    with_handle(async |handle| handle.link().add(pair).execute().await)
}

fn mixed_versions(route: &Route<'_>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("a route mixes IP versions: {route:?}"))
}

fn index_of(name: &str) -> io::Result<u32> {
    nix::net::if_::if_nametoindex(name)
        .map_err(|error| io::Error::new(io::Error::from(error).kind(), format!("{name}: {error}")))
}

/// Runs one exchange with the kernel on a runtime of this thread alone, so that it stays in this thread's namespace.
fn with_handle<F>(work: impl FnOnce(Handle) -> F) -> io::Result<()>
where
    F: Future<Output = Result<(), rtnetlink::Error>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        work(handle).await.map_err(|error| match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            other => io::Error::other(other),
        })
    })
}
