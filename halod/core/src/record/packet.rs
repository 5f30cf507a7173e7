//! A packet without its payload, which no decision depends on.
//!
//! But for the checksum over it, which the core looks at now and then: whether it held is recorded, and a packet that is
//! made up of headers again gets a payload of zeros and a checksum that holds, or does not. A partial one holds.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::plane::Seen;
use crate::wire::{Checksum, Packet, stated_length};

/// The headers of a packet, and what else of it the core may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketHeaders {
    /// Where it was on its way, or what the kernel knew of it.
    pub stage: Seen,
    /// The IP packet up to the end of the TCP header, or up to the ports and the sequence number that an ICMP error quotes;
    /// in the text as hexadecimal digits.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub headers: Vec<u8>,
    /// How many bytes followed.
    pub payload: u16,
    /// Its TCP checksum was wrong.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
}

impl PacketHeaders {
    /// The headers of `packet`, which is not changed; `None` if it leaves nothing behind in the core.
    pub fn of(stage: Seen, checksum: Checksum, packet: &mut [u8]) -> Option<Self> {
        let length = stated_length(packet).ok()?;
        let (payload, damaged) = match Packet::parse(packet).ok()? {
            Packet::Tcp(tcp) => (tcp.payload_len(), !tcp.with(checksum).checksum_ok()),
            Packet::IcmpError(error) => (error.rest_len(), false),
            Packet::Fragment | Packet::Other => return None,
        };
        let payload_length =
            u16::try_from(payload).expect("the headers within IP's length field have 20 bytes at least");
        Some(Self { stage, headers: packet[..length - payload].to_vec(), payload: payload_length, damaged })
    }

    /// A packet about which the core decides as about the one that was recorded.
    pub fn to_packet(&self) -> Vec<u8> {
        let mut packet = self.headers.clone();
        packet.resize(packet.len() + usize::from(self.payload), 0);
        if let Ok(Packet::Tcp(mut tcp)) = Packet::parse(&mut packet) {
            if self.damaged { tcp.falsify_checksum() } else { tcp.complete_checksum() }
        }
        packet
    }
}

fn to_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xF)]];
    let text = bytes.iter().map(digits).collect::<Vec<_>>().into_flattened();
    let text = String::from_utf8(text).expect("digits are ASCII");
    serializer.serialize_str(&text)
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = || de::Error::invalid_value(de::Unexpected::Str(&text), &"an even number of hexadecimal digits");
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let byte = |&[high, low]: &[u8; 2]| Some(digit(high)? << 4 | digit(low)?);
    let bytes = pairs.iter().map(byte).collect::<Option<Vec<u8>>>();
    bytes.filter(|_| rest.is_empty()).ok_or_else(wrong)
}
