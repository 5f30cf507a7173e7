//! The messages of an NFQUEUE as bytes (`linux/netfilter/nfnetlink_queue.h`).
//!
//! Lengths, types and sequence numbers of netlink are in the host's byte order, all else in network byte order.

use std::ops::Range;

use halod_core::wire::Checksum;
use netlink_packet_core::{NLA_ALIGNTO, NLM_F_ACK, NLM_F_REQUEST};
use nix::errno::Errno;
use nix::libc;

use super::QueueConfig;
use crate::netlink::{Attributes, append_message};

/// `struct nlmsghdr` and `struct nfgenmsg`.
const HEADER_LENGTH: usize = 16 + 4;
const ATTRIBUTE_HEADER_LENGTH: usize = 4;
/// What [`write_verdict`] may need in front of a payload.
pub(super) const VERDICT_LENGTH_MAX: usize = HEADER_LENGTH + 12 + 8 + ATTRIBUTE_HEADER_LENGTH;

/// What the kernel sends to the listener of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A packet waits for its verdict.
    Packet(ArrivedPacket),
    /// What became of a message to the kernel. Of those that are not to be acknowledged only failures are told.
    Answer(Result<(), Errno>),
    /// Nothing that was asked for.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ArrivedPacket {
    pub(super) id: u32,
    pub(super) hook: u8,
    pub(super) mark: u32,
    pub(super) checksum: Checksum,
    /// Where in the message it is.
    pub(super) payload: Range<usize>,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Drop,
    Accept {
        mark: Option<u32>,
        /// The packet is replaced by what follows the message: so many bytes.
        payload: Option<usize>,
    },
}

/// Binds queue `number` and configures it, all or nothing. To be acknowledged.
pub(super) fn configure(number: u16, config: QueueConfig) -> Vec<u8> {
    const FLAGS: i32 = libc::NFQA_CFG_F_FAIL_OPEN | libc::NFQA_CFG_F_GSO;
    let fail_open = if config.fail_open { libc::NFQA_CFG_F_FAIL_OPEN } else { 0 };
    let gso = if config.gso { libc::NFQA_CFG_F_GSO } else { 0 };
    let [range_high, range_low] = config.copy_range.to_be_bytes();
    let attributes = Attributes::new()
        .with_bytes(libc::NFQA_CFG_CMD as u16, &[libc::NFQNL_CFG_CMD_BIND as u8, 0, 0, 0])
        .with_bytes(libc::NFQA_CFG_PARAMS as u16, &[0, 0, range_high, range_low, libc::NFQNL_COPY_PACKET as u8])
        .with_u32(libc::NFQA_CFG_QUEUE_MAXLEN as u16, config.length)
        .with_u32(libc::NFQA_CFG_MASK as u16, FLAGS as u32)
        .with_u32(libc::NFQA_CFG_FLAGS as u16, (fail_open | gso) as u32);
    let mut message = Vec::new();
    let (kind, flags) = (message_type(libc::NFQNL_MSG_CONFIG), NLM_F_REQUEST | NLM_F_ACK);
    append_message(&mut message, kind.into(), flags, 0, (libc::AF_UNSPEC, number.into()), &attributes);
    message
}

/// Writes the verdict on packet `id` of queue `number` to the end of `room`, which has [`VERDICT_LENGTH_MAX`] bytes at
/// least; its payload is what comes behind `room`. Returns the length of what was written, and that of the message.
pub(super) fn write_verdict(room: &mut [u8], number: u16, id: u32, verdict: Verdict) -> (usize, usize) {
    let (code, mark, payload) = match verdict {
        Verdict::Drop => (libc::NF_DROP, None, None),
        Verdict::Accept { mark, payload } => (libc::NF_ACCEPT, mark, payload),
    };
    let optional = mark.map_or(0, |_| 8) + payload.map_or(0, |_| ATTRIBUTE_HEADER_LENGTH);
    let written = HEADER_LENGTH + 12 + optional;
    let start = room.len() - written;
    let message = &mut room[start..];

    let mut writer = Writer { bytes: message, at: HEADER_LENGTH };
    let [code, id] = [code as u32, id].map(u32::to_be_bytes);
    writer.attribute(libc::NFQA_VERDICT_HDR, [code, id].as_flattened());
    if let Some(mark) = mark {
        writer.attribute(libc::NFQA_MARK, &mark.to_be_bytes());
    }
    if let Some(length) = payload {
        writer.attribute_header(libc::NFQA_PAYLOAD, length);
    }
    let length = written + payload.unwrap_or(0);
    write_header(message, length, number);
    (written, length)
}

/// Reads what one datagram of the kernel holds, which is one message.
pub(super) fn parse(datagram: &[u8]) -> Arrival {
    let Some(message) = datagram.first_chunk().and_then(|length| datagram.get(..u32::from_ne_bytes(*length) as usize))
    else {
        return Arrival::Other;
    };
    const PACKET: u16 = message_type(libc::NFQNL_MSG_PACKET);
    const ERROR: u16 = libc::NLMSG_ERROR as u16;
    match u16_at(message, 4) {
        Some(PACKET) => parse_packet(message).map_or(Arrival::Other, Arrival::Packet),
        Some(ERROR) => match message.get(16..).and_then(|error| error.first_chunk()) {
            Some(&code) => Arrival::Answer(match i32::from_ne_bytes(code) {
                0 => Ok(()),
                code => Err(Errno::from_raw(-code)),
            }),
            None => Arrival::Other,
        },
        _ => Arrival::Other,
    }
}

fn parse_packet(message: &[u8]) -> Option<ArrivedPacket> {
    let mut id_and_hook = None;
    let mut packet = ArrivedPacket { id: 0, hook: 0, mark: 0, checksum: Checksum::Ready, payload: 0..0 };
    let mut at = HEADER_LENGTH;
    while let (Some(length), Some(kind)) = (u16_at(message, at), u16_at(message, at + 2)) {
        let range = at + ATTRIBUTE_HEADER_LENGTH..at + usize::from(length);
        let value = message.get(range.clone())?;
        let number = value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        match i32::from(kind) {
            libc::NFQA_PACKET_HDR => id_and_hook = number.zip(value.get(6).copied()),
            libc::NFQA_MARK => packet.mark = number?,
            libc::NFQA_SKB_INFO if number? & libc::NFQA_SKB_CSUMNOTREADY as u32 != 0 => {
                packet.checksum = Checksum::Partial;
            }
            libc::NFQA_PAYLOAD => packet.payload = range.clone(),
            _ => {}
        }
        at = range.end.next_multiple_of(NLA_ALIGNTO);
    }
    (packet.id, packet.hook) = id_and_hook?;
    Some(packet)
}

fn write_header(message: &mut [u8], length: usize, queue: u16) {
    let length = u32::try_from(length).expect("a message is little longer than a packet");
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message[4..6].copy_from_slice(&message_type(libc::NFQNL_MSG_VERDICT).to_ne_bytes());
    message[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    // Neither the sequence number nor the port is looked at; the kernel knows who sends.
    message[8..16].fill(0);
    message[16..18].copy_from_slice(&[libc::AF_UNSPEC as u8, libc::NFNETLINK_V0 as u8]);
    message[18..20].copy_from_slice(&queue.to_be_bytes());
}

const fn message_type(kind: i32) -> u16 {
    (libc::NFNL_SUBSYS_QUEUE << 8 | kind) as u16
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// Writes attributes one after another.
struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn attribute(&mut self, kind: i32, value: &[u8]) {
        self.attribute_header(kind, value.len());
        self.bytes[self.at..self.at + value.len()].copy_from_slice(value);
        self.at = (self.at + value.len()).next_multiple_of(NLA_ALIGNTO);
    }

    fn attribute_header(&mut self, kind: i32, value_length: usize) {
        let length = u16::try_from(ATTRIBUTE_HEADER_LENGTH + value_length).expect("the kernel gives no longer payload");
        self.bytes[self.at..self.at + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes[self.at + 2..self.at + 4].copy_from_slice(&(kind as u16).to_ne_bytes());
        self.at += ATTRIBUTE_HEADER_LENGTH;
    }
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    /// Bytes as hexadecimal digits, with blanks between fields.
    fn bytes(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits"))
            .collect()
    }

    fn check_verdict(verdict: Verdict, expected: &str) {
        let mut room = [0xEE; VERDICT_LENGTH_MAX + 4];
        let (written, _) = write_verdict(&mut room, 0x0102, 0x0A0B_0C0D, verdict);
        assert_eq!(room[room.len() - written..], bytes(expected));
    }

    #[test]
    fn verdicts() {
        check_verdict(Verdict::Drop, "20000000 0103 0100 00000000 00000000 00000102 0c00 0200 00000000 0a0b0c0d");
        check_verdict(
            Verdict::Accept { mark: None, payload: None },
            "20000000 0103 0100 00000000 00000000 00000102 0c00 0200 00000001 0a0b0c0d",
        );
        check_verdict(
            Verdict::Accept { mark: Some(7), payload: None },
            "28000000 0103 0100 00000000 00000000 00000102 0c00 0200 00000001 0a0b0c0d 0800 0300 00000007",
        );
        check_verdict(
            Verdict::Accept { mark: None, payload: Some(0x29) },
            "4d000000 0103 0100 00000000 00000000 00000102 0c00 0200 00000001 0a0b0c0d 2d00 0a00",
        );
        check_verdict(
            Verdict::Accept { mark: Some(7), payload: Some(65_531) },
            "27000100 0103 0100 00000000 00000000 00000102 0c00 0200 00000001 0a0b0c0d 0800 0300 00000007 ffff 0a00",
        );
    }

    #[test]
    fn a_queue_is_configured_by_one_message() {
        let config = QueueConfig { copy_range: 65_531, length: 4096, fail_open: false, gso: true };
        let expected = "40000000 0203 0500 00000000 00000000 00000102 0800 0100 01000000 0900 0200 0000fffb02 000000
                        0800 0300 00001000 0800 0400 00000005 0800 0500 00000004";
        assert_eq!(configure(0x0102, config), bytes(expected));
    }

    #[test]
    fn a_packet() {
        let message = bytes(
            "3e000000 0003 0000 00000000 00000000 02000007 0b00 0100 0a0b0c0d 0800 04 00 0800 0500 00000002
             0800 0300 00000009 0800 0e00 00000003 0600 0a00 4500",
        );
        let expected = ArrivedPacket {
            id: 0x0A0B_0C0D,
            hook: 4,
            mark: 9,
            checksum: Checksum::Partial,
            payload: message.len() - 2..message.len(),
        };
        assert_eq!(parse(&message), Arrival::Packet(expected.clone()));
        let bare = bytes("20000000 0003 0000 00000000 00000000 02000007 0b00 0100 0a0b0c0d 0800 00 00");
        let expected = ArrivedPacket { hook: 0, mark: 0, checksum: Checksum::Ready, payload: 0..0, ..expected };
        assert_eq!(parse(&bare), Arrival::Packet(expected));
    }

    #[test]
    fn an_answer() {
        let answer =
            |code| bytes(&format!("24000000 0200 0000 00000000 00000000 {code} 00000000000000000000000000000000"));
        assert_eq!(parse(&answer("00000000")), Arrival::Answer(Ok(())));
        assert_eq!(parse(&answer("feffffff")), Arrival::Answer(Err(Errno::ENOENT)));
    }

    #[test]
    fn what_is_cut_short_is_nothing() {
        let packet = bytes("20000000 0003 0000 00000000 00000000 02000007 0b00 0100 0a0b0c0d 0800 00 00");
        // The padding at the end may be missing.
        for length in 0..packet.len() - 1 {
            assert_eq!(parse(&packet[..length]), Arrival::Other, "{length}");
            let mut shorter = packet[..length].to_vec();
            shorter.splice(..4.min(length), (length as u32).to_ne_bytes().into_iter().take(length));
            assert_eq!(parse(&shorter), Arrival::Other, "{length} by its own account");
        }
        let overlong = bytes("20000000 0003 0000 00000000 00000000 02000007 ff00 0100 0a0b0c0d 0800 00 00");
        let negative = bytes("20000000 0003 0000 00000000 00000000 02000007 0300 0100 0a0b0c0d 0800 00 00");
        assert_eq!([overlong, negative].map(|message| parse(&message)), [Arrival::Other, Arrival::Other]);
    }
}
