//! IPv4 and IPv6 headers: where the payload begins, what it is, and the addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::{self, Sum};
use super::{Malformed, field};

/// Protocol numbers of IANA, as in IPv4's "protocol" and IPv6's "next header".
pub(super) mod protocol {
    pub(in crate::wire) const HOP_BY_HOP: u8 = 0;
    pub(in crate::wire) const ICMPV4: u8 = 1;
    pub(in crate::wire) const TCP: u8 = 6;
    pub(in crate::wire) const ROUTING: u8 = 43;
    pub(in crate::wire) const FRAGMENT: u8 = 44;
    pub(in crate::wire) const ICMPV6: u8 = 58;
    pub(in crate::wire) const DESTINATION_OPTIONS: u8 = 60;
}

/// Length of an IPv4 header without options, in bytes (RFC 791).
pub(super) const V4_HEADER_LENGTH: usize = 20;
/// Length of an IPv6 header without extensions, in bytes (RFC 8200).
pub(super) const V6_HEADER_LENGTH: usize = 40;

const V4_CHECKSUM: usize = 10;

/// The fixed part of an IP header.
#[derive(Debug)]
pub(super) enum IpHeader<'a> {
    V4(&'a mut [u8; V4_HEADER_LENGTH]),
    V6(&'a mut [u8; V6_HEADER_LENGTH]),
}

/// One of the two ends of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Source,
    Destination,
}

/// What a packet carries, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    /// ICMPv4 in IPv4, ICMPv6 in IPv6.
    Icmp,
    Other,
}

/// Which part of its packet this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fragment {
    Whole,
    First,
    Later,
}

/// A packet taken apart; options and extension headers lie between `header` and `payload`.
#[derive(Debug)]
pub(super) struct Ip<'a> {
    pub(super) header: IpHeader<'a>,
    pub(super) protocol: Protocol,
    pub(super) fragment: Fragment,
    pub(super) payload: &'a mut [u8],
}

/// By how much an address rewrite made sums grow.
pub(super) struct Growth {
    /// The sum over the pseudo header.
    pub(super) pseudo_header: Sum,
    /// The sum over the header itself, as a checksum around it (of an ICMP error that quotes it) sees it.
    pub(super) header: Sum,
}

/// The length of the whole packet by its own account, in bytes; `bytes` may be shorter or longer.
///
/// # Errors
///
/// [`Malformed`] if it is no IP packet, or ends before it says.
pub fn stated_length(bytes: &[u8]) -> Result<usize, Malformed> {
    let length_at = |at| bytes.get(at..).and_then(|field| field.first_chunk()).ok_or(Malformed::Truncated);
    match bytes.first().ok_or(Malformed::Truncated)? >> 4 {
        4 => Ok(usize::from(u16::from_be_bytes(*length_at(2)?))),
        6 => Ok(usize::from(u16::from_be_bytes(*length_at(4)?)) + V6_HEADER_LENGTH),
        _ => Err(Malformed::NotIp),
    }
}

/// Takes a packet apart, up to the end of `bytes`.
pub(super) fn split(bytes: &mut [u8]) -> Result<Ip<'_>, Malformed> {
    match bytes.first().ok_or(Malformed::Truncated)? >> 4 {
        4 => split_v4(bytes),
        6 => split_v6(bytes),
        _ => Err(Malformed::NotIp),
    }
}

fn split_v4(bytes: &mut [u8]) -> Result<Ip<'_>, Malformed> {
    let (header, rest) = bytes.split_first_chunk_mut::<V4_HEADER_LENGTH>().ok_or(Malformed::Truncated)?;
    let header_length = usize::from(header[0] & 0x0F) * 4;
    let options_length = header_length.checked_sub(V4_HEADER_LENGTH).ok_or(Malformed::BadHeaderLength)?;
    let (_, payload) = rest.split_at_mut_checked(options_length).ok_or(Malformed::Truncated)?;

    let protocol = match header[9] {
        protocol::TCP => Protocol::Tcp,
        protocol::ICMPV4 => Protocol::Icmp,
        _ => Protocol::Other,
    };
    let offset = u16::from_be_bytes(field::get(header, 6));
    let fragment = Fragment::new(offset & 0x1FFF, offset & 0x2000 != 0);
    Ok(Ip { header: IpHeader::V4(header), protocol, fragment, payload })
}

fn split_v6(bytes: &mut [u8]) -> Result<Ip<'_>, Malformed> {
    let (header, rest) = bytes.split_first_chunk_mut::<V6_HEADER_LENGTH>().ok_or(Malformed::Truncated)?;
    let (number, fragment, extensions_length) = walk(header[6], rest)?;
    let payload = &mut rest[extensions_length..];
    let protocol = match number {
        protocol::TCP => Protocol::Tcp,
        protocol::ICMPV6 => Protocol::Icmp,
        _ => Protocol::Other,
    };
    Ok(Ip { header: IpHeader::V6(header), protocol, fragment, payload })
}

/// Walks the extension headers (RFC 8200, section 4): the first header that is none of them or cannot be passed, which
/// part of its packet this is, and the length of what was passed. Every header has 8 bytes at least, so it ends.
fn walk(mut next: u8, bytes: &[u8]) -> Result<(u8, Fragment, usize), Malformed> {
    let (mut fragment, mut passed) = (Fragment::Whole, 0);
    loop {
        let is_extension = matches!(
            next,
            protocol::HOP_BY_HOP | protocol::DESTINATION_OPTIONS | protocol::ROUTING | protocol::FRAGMENT
        );
        if !is_extension || fragment == Fragment::Later {
            return Ok((next, fragment, passed));
        }
        let extension = bytes[passed..].first_chunk::<8>().ok_or(Malformed::Truncated)?;
        let length = if next == protocol::FRAGMENT {
            let offset = u16::from_be_bytes(field::get(extension, 2));
            fragment = Fragment::new(offset & 0xFFF8, offset & 1 != 0);
            8
        } else {
            8 + usize::from(extension[1]) * 8
        };
        let segments_left = extension[3];
        if next == protocol::ROUTING && segments_left > 0 {
            // The destination is that of the next hop only, and not the one that the TCP checksum covers.
            return Ok((next, fragment, passed));
        }
        next = extension[0];
        passed += length;
        if passed > bytes.len() {
            return Err(Malformed::Truncated);
        }
    }
}

impl Fragment {
    fn new(offset: u16, more: bool) -> Self {
        match (offset, more) {
            (0, false) => Fragment::Whole,
            (0, true) => Fragment::First,
            _ => Fragment::Later,
        }
    }
}

impl IpHeader<'_> {
    pub(super) fn address(&self, end: End) -> IpAddr {
        match self {
            IpHeader::V4(header) => Ipv4Addr::from(field::get::<4>(*header, v4_address(end))).into(),
            IpHeader::V6(header) => Ipv6Addr::from(field::get::<16>(*header, v6_address(end))).into(),
        }
    }

    /// The sum over the pseudo header of RFC 9293, section 3.1, and RFC 8200, section 8.1.
    pub(super) fn pseudo_header(&self, protocol: u8, length: usize) -> Sum {
        let addresses = match self {
            IpHeader::V4(header) => Sum::of(&header[v4_address(End::Source)..]),
            IpHeader::V6(header) => Sum::of(&header[v6_address(End::Source)..]),
        };
        let length = u32::try_from(length).expect("a packet has at most 65,575 bytes");
        addresses + Sum::of(&length.to_be_bytes()) + Sum::of(&[0, protocol])
    }

    /// Replaces an address and brings IPv4's header checksum up to date. An address of the other IP version is a bug of
    /// the caller: it changes nothing and yields `None`.
    pub(super) fn rewrite(&mut self, end: End, to: IpAddr) -> Option<Growth> {
        match (self, to) {
            (IpHeader::V4(header), IpAddr::V4(to)) => {
                let address = checksum::replace(field::get_mut(*header, v4_address(end)), to.octets());
                let checksum = checksum::update(field::get_mut(*header, V4_CHECKSUM), address);
                Some(Growth { pseudo_header: address, header: address + checksum })
            }
            (IpHeader::V6(header), IpAddr::V6(to)) => {
                let address = checksum::replace(field::get_mut(*header, v6_address(end)), to.octets());
                Some(Growth { pseudo_header: address, header: address })
            }
            _ => {
                debug_assert!(false, "an address is rewritten to one of the same IP version");
                None
            }
        }
    }

    /// Computes IPv4's header checksum for a header without options; IPv6 has none.
    pub(super) fn complete_checksum(&mut self) {
        if let IpHeader::V4(header) = self {
            *field::get_mut(*header, V4_CHECKSUM) = [0; 2];
            *field::get_mut(*header, V4_CHECKSUM) = Sum::of(*header).checksum();
        }
    }
}

const fn v4_address(end: End) -> usize {
    match end {
        End::Source => 12,
        End::Destination => 16,
    }
}

const fn v6_address(end: End) -> usize {
    match end {
        End::Source => 8,
        End::Destination => 24,
    }
}
