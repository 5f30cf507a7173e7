//! ICMP errors about TCP packets (RFC 792, RFC 4443).
//!
//! An error quotes the beginning of the packet that it is about: at least its IP header and 8 bytes of TCP, often more,
//! and behind the quote there may be extensions (RFC 4884), which stay as they are. For the sender of that packet to
//! recognise it, the quote has to be translated as well as the error's own addresses.

use std::net::{IpAddr, SocketAddr};

use super::checksum::{self, Sum};
use super::ip::{self, End, Fragment, Ip, IpHeader, Protocol};
use super::{Malformed, field, tcp};

const ICMP_HEADER_LENGTH: usize = 8;
const ICMP_CHECKSUM: usize = 2;

/// What every quote of a TCP header has: ports and sequence number.
const QUOTED_LENGTH_MIN: usize = 8;

/// An ICMP error about a TCP packet: ICMPv4 types 3, 4, 11 and 12, ICMPv6 types 1 to 4.
///
/// Every rewrite updates each checksum that covers the field by the difference: the outer IPv4 header's, ICMP's, the
/// quoted IPv4 header's, and the quoted TCP checksum if the quote reaches that far. Addresses have to be of the packet's
/// IP version; if one is not, a debug build panics and a release build leaves the packet as it is.
#[derive(Debug)]
pub struct IcmpErrorPacket<'a> {
    ip: IpHeader<'a>,
    icmp: &'a mut [u8; ICMP_HEADER_LENGTH],
    quoted_ip: IpHeader<'a>,
    quoted_tcp: &'a mut [u8; QUOTED_LENGTH_MIN],
    quoted_tcp_checksum: Option<&'a mut [u8; 2]>,
    rest_length: usize,
}

impl<'a> IcmpErrorPacket<'a> {
    /// `None` if it is no error, or not about a TCP packet that its quote identifies.
    pub(super) fn new(ip: IpHeader<'a>, message: &'a mut [u8]) -> Result<Option<Self>, Malformed> {
        let (icmp, quote) = message.split_first_chunk_mut::<ICMP_HEADER_LENGTH>().ok_or(Malformed::Truncated)?;
        let Some(room) = quote_length_max(&ip, icmp) else { return Ok(None) };
        // What does not parse here is no fault of this packet: a quote may be cut anywhere.
        let quote_length = quote.len();
        let Ok(stated_length) = ip::stated_length(quote) else { return Ok(None) };
        let length = quote.len().min(room).min(stated_length);
        let Ok(quoted) = ip::split(&mut quote[..length]) else { return Ok(None) };

        let Ip { header: quoted_ip, protocol: Protocol::Tcp, fragment: Fragment::Whole | Fragment::First, payload } =
            quoted
        else {
            return Ok(None);
        };
        if std::mem::discriminant(&ip) != std::mem::discriminant(&quoted_ip) {
            return Ok(None);
        }
        let Some((quoted_tcp, rest)) = payload.split_first_chunk_mut() else { return Ok(None) };
        let rest_length = rest.len() + (quote_length - length);
        let quoted_tcp_checksum =
            rest.get_mut(tcp::CHECKSUM - QUOTED_LENGTH_MIN..).and_then(|field| field.first_chunk_mut());
        Ok(Some(Self { ip, icmp, quoted_ip, quoted_tcp, quoted_tcp_checksum, rest_length }))
    }

    /// The sender of the error: a router on the way, or the receiver of the quoted packet.
    pub fn outer_source(&self) -> IpAddr {
        self.ip.address(End::Source)
    }

    /// The receiver of the error, which sent the quoted packet.
    pub fn outer_destination(&self) -> IpAddr {
        self.ip.address(End::Destination)
    }

    /// The sender of the quoted packet.
    pub fn quoted_source(&self) -> SocketAddr {
        self.quoted(End::Source)
    }

    /// The receiver of the quoted packet.
    pub fn quoted_destination(&self) -> SocketAddr {
        self.quoted(End::Destination)
    }

    /// Bytes behind the ports and the sequence number that it quotes.
    pub fn rest_len(&self) -> usize {
        self.rest_length
    }

    /// Replaces the sender of the error.
    pub fn rewrite_outer_source(&mut self, to: IpAddr) {
        self.rewrite_outer(End::Source, to);
    }

    /// Replaces the receiver of the error.
    pub fn rewrite_outer_destination(&mut self, to: IpAddr) {
        self.rewrite_outer(End::Destination, to);
    }

    /// Replaces the sender of the quoted packet.
    pub fn rewrite_quoted_source(&mut self, to: SocketAddr) {
        self.rewrite_quoted(End::Source, to);
    }

    /// Replaces the receiver of the quoted packet.
    pub fn rewrite_quoted_destination(&mut self, to: SocketAddr) {
        self.rewrite_quoted(End::Destination, to);
    }

    fn quoted(&self, end: End) -> SocketAddr {
        SocketAddr::new(self.quoted_ip.address(end), u16::from_be_bytes(field::get(self.quoted_tcp, tcp::port(end))))
    }

    fn rewrite_outer(&mut self, end: End, to: IpAddr) {
        let growth = self.ip.rewrite(end, to);
        // ICMPv6 sums a pseudo header (RFC 4443, section 2.3), ICMPv4 does not.
        if let (IpHeader::V6(_), Some(growth)) = (&self.ip, growth) {
            self.update_checksum(growth.pseudo_header);
        }
    }

    fn rewrite_quoted(&mut self, end: End, to: SocketAddr) {
        let Some(ip) = self.quoted_ip.rewrite(end, to.ip()) else { return };
        let port = checksum::replace(field::get_mut(self.quoted_tcp, tcp::port(end)), to.port().to_be_bytes());
        let tcp_checksum = match &mut self.quoted_tcp_checksum {
            Some(field) => checksum::update(field, ip.pseudo_header + port),
            None => Sum::default(),
        };
        self.update_checksum(ip.header + port + tcp_checksum);
    }

    fn update_checksum(&mut self, growth: Sum) {
        checksum::update(field::get_mut(self.icmp, ICMP_CHECKSUM), growth);
    }
}

/// How long the quote of an error can be before extensions begin, in bytes; `None` if it is no error.
///
/// RFC 4884, section 4: some types have a length field, in 32-bit words in ICMPv4 and 64-bit words in ICMPv6, which is 0
/// where there are no extensions.
fn quote_length_max(ip: &IpHeader<'_>, icmp: &[u8; ICMP_HEADER_LENGTH]) -> Option<usize> {
    let length = match (ip, icmp[0]) {
        (IpHeader::V4(_), 3 | 11 | 12) => usize::from(icmp[5]) * 4,
        (IpHeader::V6(_), 1 | 3) => usize::from(icmp[4]) * 8,
        (IpHeader::V4(_), 4) | (IpHeader::V6(_), 2 | 4) => 0,
        _ => return None,
    };
    Some(if length == 0 { usize::MAX } else { length })
}
