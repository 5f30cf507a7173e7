//! A TUN interface: the kernel's end is in a namespace, the other end is read and written here, packet by packet.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use nix::unistd;
use tun_tap::{Iface, Mode};

use super::netlink::InterfaceConfig;
use super::netns::Netns;

/// The longest name of an interface, in bytes (IFNAMSIZ of linux/if.h less its terminator).
const NAME_LENGTH_MAX: usize = 15;

/// Packets that wait to be read. Losing them is for links to do: Linux's 500 are full in a moment when thousands of
/// browsers dial at once.
const QUEUE_LENGTH: u32 = 16_384;

/// An interface that lives as long as this value. Reading and writing never block.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
}

impl Tun {
    /// Makes one in `netns`, up, with addresses and an MTU in bytes.
    ///
    /// # Errors
    ///
    /// If the name is too long or taken, or /dev/net/tun is missing or may not be opened.
    pub fn new(netns: &Netns, name: &str, addresses: &[(IpAddr, u8)], mtu: u16) -> io::Result<Self> {
        if name.len() > NAME_LENGTH_MAX {
            // The kernel would cut it.
            let message = format!("interface name {name} is longer than {NAME_LENGTH_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let interface = netns.run(|| {
            let interface = Iface::without_packet_info(name, Mode::Tun)?;
            interface.set_non_blocking()?;
            io::Result::Ok(interface)
        })??;
        // SAFETY: `into_raw_fd` gives up the only owner of this open descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(interface.into_raw_fd()) };
        netns.configure(&InterfaceConfig { name, addresses, mtu: Some(mtu), queue: Some(QUEUE_LENGTH) })?;
        Ok(Self { fd })
    }

    /// Reads one packet that the namespace sent; `None` when there is none now.
    ///
    /// # Errors
    ///
    /// EIO when the interface is down.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match unistd::read(&self.fd, buffer) {
            Ok(length) => Ok(Some(length)),
            Err(nix::Error::EAGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands the namespace one whole packet.
    ///
    /// # Errors
    ///
    /// EINVAL if it is not an IP packet, EIO when the interface is down.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        unistd::write(&self.fd, packet)?;
        Ok(())
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
