//! What the peer's TCP has acknowledged of a socket's bytes.
//!
//! Linux reports it on the socket's error queue, as the time stamp of an acknowledgement (`SO_TIMESTAMPING`, kernel
//! documentation networking/timestamping.rst): an event, without polling. Where that is refused, the length of the send
//! queue is polled.

use std::io::{self, IoSliceMut};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::cmsg_space;
use nix::libc;
use nix::sys::socket::sockopt::Timestamping;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, TimestampingFlag, recvmsg, setsockopt};

/// How often to ask where there are no events.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// SOF_TIMESTAMPING_TX_ACK (linux/net_tstamp.h): a time stamp when the peer has acknowledged a send's last byte.
const TX_ACK: TimestampingFlag = TimestampingFlag::from_bits_retain(1 << 9);
/// SCM_TSTAMP_ACK (linux/errqueue.h).
const SCM_TSTAMP_ACK: u32 = 2;
/// SO_EE_ORIGIN_TIMESTAMPING (linux/errqueue.h).
const ORIGIN_TIMESTAMPING: u8 = 4;

/// Follows the acknowledgements of one socket.
#[derive(Debug)]
pub(super) struct AckEvents {
    supported: bool,
    acked: u64,
}

impl AckEvents {
    /// Asks for events. To be called when the connection is established and before anything is sent: offsets count from
    /// here.
    pub(super) fn start(stream: &TcpStream) -> Self {
        // SOFTWARE lets time stamps be reported, OPT_ID adds the byte's number, OPT_TSONLY leaves the data out.
        let flags = TX_ACK
            | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_OPT_ID
            | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY;
        Self { supported: setsockopt(stream, Timestamping, &flags).is_ok(), acked: 0 }
    }

    /// Whether nobody will say when the next bytes are acknowledged.
    pub(super) fn need_polling(&self) -> bool {
        !self.supported
    }

    /// How many bytes of the `sent` are acknowledged, as far as is known. Empties the error queue.
    pub(super) fn acked(&mut self, stream: &TcpStream, sent: u64) -> u64 {
        if self.supported {
            while let Ok(Some(last)) = next_acked_byte(stream) {
                self.acked = self.acked.max(unwrap_offset(last, self.acked) + 1).min(sent);
            }
        } else if let Ok(unacked) = unacked(stream) {
            self.acked = self.acked.max(sent.saturating_sub(unacked));
        }
        self.acked
    }
}

/// The number of bytes, and of a FIN, that the peer has not acknowledged (SIOCOUTQ, tcp(7)).
pub(super) fn unacked(stream: &TcpStream) -> io::Result<u64> {
    let mut count = 0;
    // SAFETY: the descriptor is open, and SIOCOUTQ writes one int to the pointer, which is valid for that.
    unsafe { siocoutq(stream.as_raw_fd(), &raw mut count) }?;
    Ok(u64::try_from(count).unwrap_or(0))
}

nix::ioctl_read_bad!(
    /// SIOCOUTQ has the number of TIOCOUTQ (linux/sockios.h).
    siocoutq,
    libc::TIOCOUTQ,
    libc::c_int
);

/// The next message of the error queue: the number, modulo 2^32, of the last byte that it reports as acknowledged.
/// Other messages are skipped; `None` when the queue is empty.
fn next_acked_byte(stream: &TcpStream) -> nix::Result<Option<u32>> {
    let mut control = cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6, [libc::timespec; 3]);
    loop {
        let mut no_data: [IoSliceMut<'_>; 0] = [];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let message = match recvmsg::<()>(stream.as_raw_fd(), &mut no_data, Some(&mut control), flags) {
            Ok(message) => message,
            Err(nix::Error::EAGAIN) => return Ok(None),
            Err(error) => return Err(error),
        };
        for control in message.cmsgs()? {
            if let ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) = control
                && error.ee_origin == ORIGIN_TIMESTAMPING
                && error.ee_info == SCM_TSTAMP_ACK
            {
                return Ok(Some(error.ee_data));
            }
        }
    }
}

/// The number that is `low` modulo 2^32 and closest to `near`: offsets on the wire wrap around.
fn unwrap_offset(low: u32, near: u64) -> u64 {
    let difference = i64::from(low.wrapping_sub(near as u32).cast_signed());
    near.saturating_add_signed(difference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_go_on_beyond_32_bits() {
        assert_eq!(unwrap_offset(4, 0), 4);
        assert_eq!(unwrap_offset(1, 0xffff_ffff), 0x1_0000_0001);
        assert_eq!(unwrap_offset(0xffff_fff0, 0x1_0000_0002), 0xffff_fff0);
    }
}
