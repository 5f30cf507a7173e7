//! Netlink messages as netfilter wants them: attributes with numbers in network byte order and texts with a NUL.

use std::io;

use netlink_packet_core::{ErrorBuffer, NLA_ALIGNTO, NLA_F_NESTED, NLA_HEADER_SIZE, NLMSG_ALIGNTO, NetlinkBuffer};
use nix::libc;

/// `struct nfgenmsg`, before the attributes.
pub(crate) const NFGENMSG_LENGTH: usize = 4;
/// The bits of an attribute's kind that say how it is encoded.
const KIND_MASK: u16 = 0x3fff;

/// Attributes one after another, each padded to four bytes. Built by chaining `with_*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    /// No attribute yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds an attribute with raw bytes. `kind` is one of the kernel's `NFTA_*` numbers.
    #[must_use]
    pub(crate) fn with_bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(NLA_HEADER_SIZE + value.len()).expect("an attribute is shorter than 64 KiB");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(NLA_ALIGNTO), 0);
        self
    }

    /// Adds a 32-bit number.
    #[must_use]
    pub(crate) fn with_u32(self, kind: u16, value: u32) -> Self {
        self.with_bytes(kind, &value.to_be_bytes())
    }

    /// Adds a 16-bit number.
    #[must_use]
    pub(crate) fn with_u16(self, kind: u16, value: u16) -> Self {
        self.with_bytes(kind, &value.to_be_bytes())
    }

    /// Adds a text.
    #[must_use]
    pub(crate) fn with_text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.with_bytes(kind, &bytes)
    }

    /// Adds attributes within an attribute.
    #[must_use]
    pub(crate) fn with_nested(self, kind: u16, inner: &Attributes) -> Self {
        self.with_bytes(kind | NLA_F_NESTED, &inner.0)
    }
}

/// Appends one message to `bytes`: the netlink header, `struct nfgenmsg` with the address family and the resource that is
/// meant, attributes.
pub(crate) fn append_message(
    bytes: &mut Vec<u8>,
    message_type: i32,
    flags: u16,
    sequence: u32,
    (family, resource): (i32, i32),
    attributes: &Attributes,
) {
    const NETLINK_HEADER_LENGTH: usize = 16;
    let start = bytes.len();
    bytes.resize(start + NETLINK_HEADER_LENGTH, 0);
    let mut header = NetlinkBuffer::new(&mut bytes[start..]);
    header.set_length((NETLINK_HEADER_LENGTH + NFGENMSG_LENGTH + attributes.0.len()) as u32);
    header.set_message_type(message_type as u16);
    header.set_flags(flags);
    header.set_sequence_number(sequence);
    bytes.extend_from_slice(&[family as u8, libc::NFNETLINK_V0 as u8]);
    bytes.extend_from_slice(&(resource as u16).to_be_bytes());
    bytes.extend_from_slice(&attributes.0);
}

/// The messages of what was received at once.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = NetlinkBuffer<&[u8]>> {
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(bytes).ok()?;
        let next = (message.length() as usize).next_multiple_of(NLMSG_ALIGNTO as usize);
        bytes = bytes.get(next..).unwrap_or_default();
        Some(message)
    })
}

/// The error that a message of type `NLMSG_ERROR` is about.
pub(crate) fn error_of(reply: &NetlinkBuffer<&[u8]>) -> io::Error {
    let code = ErrorBuffer::new_checked(reply.payload()).ok().and_then(|error| error.code());
    code.map_or(io::ErrorKind::InvalidData.into(), |code| io::Error::from_raw_os_error(-code.get()))
}

/// The value of the first attribute of this kind.
pub(crate) fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut all = attributes_of(attributes);
    all.find(|&(found, _)| found == kind).map(|(_, value)| value)
}

/// Attributes as their kinds and values, up to the first that is cut short.
pub(crate) fn attributes_of(mut attributes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?) & KIND_MASK;
        let value = attributes.get(NLA_HEADER_SIZE..length)?;
        attributes = attributes.get(length.next_multiple_of(NLA_ALIGNTO)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested_with_their_true_lengths() {
        let inner = Attributes::new().with_u32(2, 0x0102_0304).with_text(1, "q");
        let mut expected = Vec::new();
        for half in [4 + 16, 7 | NLA_F_NESTED, 8, 2] {
            expected.extend_from_slice(&half.to_ne_bytes());
        }
        expected.extend_from_slice(&[1, 2, 3, 4]);
        for half in [4 + 2, 1_u16] {
            expected.extend_from_slice(&half.to_ne_bytes());
        }
        expected.extend_from_slice(b"q\0\0\0");
        assert_eq!(Attributes::new().with_nested(7, &inner).0, expected);
    }
}
