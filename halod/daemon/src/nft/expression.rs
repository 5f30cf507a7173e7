//! The expressions of a rule, chained so that a rule reads like the line `nft list ruleset` prints for it.
//!
//! Each condition loads a value into register 1 and compares it; a condition that does not hold ends the rule.
//! Numbers are those of `linux/netfilter/nf_tables.h`.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use nix::libc;

use crate::netlink::Attributes;

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
/// `IP_CT_DIR_ORIGINAL`
const ORIGINAL: u8 = 0;

/// Register 1 holds 16 bytes and overlaps the 4-byte registers 8 to 11.
const REGISTER: u32 = libc::NFT_REG_1 as u32;
const REGISTER_AFTER_IPV4: u32 = libc::NFT_REG32_01 as u32;
const REGISTER_AFTER_IPV6: u32 = libc::NFT_REG32_04 as u32;

/// How a rule hands a packet to NFQUEUE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueueExpression {
    /// nf_tables' own `queue` expression.
    Native,
    /// The NFQUEUE target of iptables, reached through nft_compat.
    Target,
}

/// What happens to packets of a queue that nobody listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WithoutListener {
    /// They are dropped.
    Drop,
    /// They go on as if there were no rule.
    Pass,
}

/// What connection tracking says of a packet: `NF_CT_STATE_BIT` of `linux/netfilter/nf_conntrack_common.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Tracked {
    /// Contradicts its connection, or is damaged.
    Invalid = 1,
    /// Of a connection that was answered.
    Established = 1 << 1,
    /// An error about a connection, or one that another has announced.
    Related = 1 << 2,
    /// Of no connection that was answered.
    New = 1 << 3,
}

/// Which end of a packet a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Where the packet comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Both.
pub(super) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Family {
    /// The version of `address`.
    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// The conditions and the verdict of one rule.
#[derive(Debug, Clone, Default)]
pub(super) struct Expressions(Attributes);

impl Expressions {
    /// Holds for every packet.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// The list, to be nested into a rule.
    pub(super) fn attributes(&self) -> &Attributes {
        &self.0
    }

    /// `meta mark MARK`
    pub(super) fn mark(self, mark: u32) -> Self {
        self.meta(libc::NFT_META_MARK).equals(&mark.to_ne_bytes())
    }

    /// `meta nfproto ipv4|ipv6`
    pub(super) fn family(self, family: Family) -> Self {
        let protocol = match family {
            Family::V4 => libc::NFPROTO_IPV4,
            Family::V6 => libc::NFPROTO_IPV6,
        };
        self.meta(libc::NFT_META_NFPROTO).equals(&[protocol as u8])
    }

    /// `meta l4proto PROTOCOL`, an `IPPROTO_*`.
    pub(super) fn protocol(self, protocol: i32) -> Self {
        self.meta(libc::NFT_META_L4PROTO).equals(&[protocol as u8])
    }

    /// `ip daddr ADDRESS` or `ip6 daddr ADDRESS`
    pub(super) fn destination(self, address: IpAddr) -> Self {
        let this = self.family(Family::of(address)).load_address(Family::of(address), End::Destination);
        match address {
            IpAddr::V4(address) => this.equals(&address.octets()),
            IpAddr::V6(address) => this.equals(&address.octets()),
        }
    }

    /// `tcp dport FIRST-LAST`
    pub(super) fn destination_ports(self, ports: &RangeInclusive<u16>) -> Self {
        self.load_port(End::Destination, REGISTER).between(&ports.start().to_be_bytes(), &ports.end().to_be_bytes())
    }

    /// `tcp sport & MASK == BITS` or `tcp dport & MASK == BITS`
    pub(super) fn port_within(self, end: End, bits: u16, mask: u16) -> Self {
        self.load_port(end, REGISTER).masked(&mask.to_be_bytes()).equals(&bits.to_be_bytes())
    }

    /// `icmp type FIRST-LAST` or `icmpv6 type FIRST-LAST`
    pub(super) fn icmp_types(self, types: &RangeInclusive<u8>) -> Self {
        let first_byte = self.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1, REGISTER);
        first_byte.between(&[*types.start()], &[*types.end()])
    }

    /// `ip saddr . tcp sport @SET`, `ip daddr . tcp dport @SET` or the same of IPv6
    pub(super) fn in_set(self, family: Family, end: End, set: &str) -> Self {
        let port_register = match family {
            Family::V4 => REGISTER_AFTER_IPV4,
            Family::V6 => REGISTER_AFTER_IPV6,
        };
        let this = self.family(family).protocol(libc::IPPROTO_TCP);
        this.load_address(family, end).load_port(end, port_register).look_up(set, REGISTER, None)
    }

    /// `fib daddr type local`
    pub(super) fn destination_is_local(self) -> Self {
        const NFTA_FIB_DREG: u16 = 1;
        const NFTA_FIB_RESULT: u16 = 2;
        const NFTA_FIB_FLAGS: u16 = 3;
        const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;
        const NFTA_FIB_F_DADDR: u32 = 2;
        let fib = Attributes::new()
            .with_u32(NFTA_FIB_DREG, REGISTER)
            .with_u32(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE)
            .with_u32(NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
        self.with("fib", &fib).equals(&u32::from(libc::RTN_LOCAL).to_ne_bytes())
    }

    /// `meta mark & MASK == MARK`
    pub(super) fn mark_within(self, mark: u32, mask: u32) -> Self {
        self.meta(libc::NFT_META_MARK).masked(&mask.to_ne_bytes()).equals(&mark.to_ne_bytes())
    }

    /// `meta mark set MARK`
    pub(super) fn set_mark(self, mark: u32) -> Self {
        self.immediate(&mark.to_ne_bytes()).become_mark()
    }

    /// What is in the register becomes the packet's mark.
    fn become_mark(self) -> Self {
        const NFTA_META_KEY: u16 = 2;
        const NFTA_META_SREG: u16 = 3;
        let from_register =
            Attributes::new().with_u32(NFTA_META_KEY, libc::NFT_META_MARK as u32).with_u32(NFTA_META_SREG, REGISTER);
        self.with("meta", &from_register)
    }

    /// `tcp flags & (fin | syn | rst | ack) == syn`, or `!= syn`: whether it begins a connection.
    pub(super) fn initial_syn(self, is_one: bool) -> Self {
        const FIN_SYN_RST_ACK: u8 = 0x17;
        const SYN: u8 = 0x02;
        let flags = self.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1, REGISTER).masked(&[FIN_SYN_RST_ACK]);
        flags.compare(if is_one { libc::NFT_CMP_EQ } else { libc::NFT_CMP_NEQ }, &[SYN])
    }

    /// `ct state STATE | STATE ...`
    pub(super) fn tracked_as(self, states: &[Tracked]) -> Self {
        let bits = states.iter().fold(0, |bits, &state| bits | state as u32);
        let state = self.tracked(libc::NFT_CT_STATE, None).masked(&bits.to_ne_bytes());
        state.compare(libc::NFT_CMP_NEQ, &[0; 4])
    }

    /// `ct status dnat`
    pub(super) fn destination_was_translated(self) -> Self {
        const IPS_DST_NAT: u32 = 1 << 5;
        let status = self.tracked(libc::NFT_CT_STATUS, None).masked(&IPS_DST_NAT.to_ne_bytes());
        status.compare(libc::NFT_CMP_NEQ, &[0; 4])
    }

    /// `ct original ip daddr ADDRESS` or the same of IPv6: what the connection was made to.
    pub(super) fn made_to(self, address: IpAddr) -> Self {
        let this = self.family(Family::of(address));
        match address {
            IpAddr::V4(ip) => this.tracked(libc::NFT_CT_DST_IP, Some(ORIGINAL)).equals(&ip.octets()),
            IpAddr::V6(ip) => this.tracked(libc::NFT_CT_DST_IP6, Some(ORIGINAL)).equals(&ip.octets()),
        }
    }

    /// `ct original proto-dst @SET`
    pub(super) fn made_to_port_in(self, set: &str) -> Self {
        self.tracked(libc::NFT_CT_PROTO_DST, Some(ORIGINAL)).look_up(set, REGISTER, None)
    }

    /// `ct original proto-dst != @SET`
    pub(super) fn made_to_port_outside(self, set: &str) -> Self {
        const NFTA_LOOKUP_FLAGS: u16 = 5;
        const NFT_LOOKUP_F_INV: u32 = 1;
        let port = self.tracked(libc::NFT_CT_PROTO_DST, Some(ORIGINAL));
        let outside = lookup(set, REGISTER).with_u32(NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
        port.with("lookup", &outside)
    }

    /// `ct original proto-dst FIRST-LAST`
    pub(super) fn made_to_ports(self, ports: &RangeInclusive<u16>) -> Self {
        let port = self.tracked(libc::NFT_CT_PROTO_DST, Some(ORIGINAL));
        port.between(&ports.start().to_be_bytes(), &ports.end().to_be_bytes())
    }

    /// `dnat to meta mark map @MAP`: only if the mark is in it.
    pub(super) fn translate_by_mark(self, family: Family, map: &str) -> Self {
        self.meta(libc::NFT_META_MARK).look_up(map, REGISTER, Some(REGISTER)).translate_destination(family)
    }

    /// `meta mark set tcp dport map @OWNERS dnat to meta mark map @HOLDERS`: only if the port has an owner, and that a holder.
    /// By way of the mark, which stays, for `nft list ruleset` cannot print a lookup of what another has found (nftables
    /// 1.0.6 aborts).
    pub(super) fn translate_by_owner(self, family: Family, owners: &str, holders: &str) -> Self {
        let owner = self.load_port(End::Destination, REGISTER).look_up(owners, REGISTER, Some(REGISTER));
        owner.become_mark().translate_by_mark(family, holders)
    }

    /// `masquerade`
    pub(super) fn masquerade(self) -> Self {
        self.with("masq", &Attributes::new())
    }

    /// `notrack`
    pub(super) fn untracked(self) -> Self {
        self.with("notrack", &Attributes::new())
    }

    /// `drop`
    pub(super) fn drop(self) -> Self {
        self.verdict(libc::NF_DROP)
    }

    /// `accept`: no later rule of the chain sees the packet.
    pub(super) fn accept(self) -> Self {
        self.verdict(libc::NF_ACCEPT)
    }

    fn verdict(self, verdict: i32) -> Self {
        const NFTA_VERDICT_CODE: u16 = 1;
        let verdict = Attributes::new().with_u32(NFTA_VERDICT_CODE, verdict as u32);
        let data = Attributes::new().with_nested(NFTA_DATA_VERDICT, &verdict);
        let immediate = Attributes::new()
            .with_u32(NFTA_IMMEDIATE_DREG, libc::NFT_REG_VERDICT as u32)
            .with_nested(NFTA_IMMEDIATE_DATA, &data);
        self.with("immediate", &immediate)
    }

    fn immediate(self, value: &[u8]) -> Self {
        let data = Attributes::new().with_bytes(NFTA_DATA_VALUE, value);
        let immediate =
            Attributes::new().with_u32(NFTA_IMMEDIATE_DREG, REGISTER).with_nested(NFTA_IMMEDIATE_DATA, &data);
        self.with("immediate", &immediate)
    }

    /// `queue to NUMBER`, with `flags bypass` if packets pass without a listener.
    pub(super) fn queue(self, by: QueueExpression, number: u16, without_listener: WithoutListener) -> Self {
        // The bit is the same in NFTA_QUEUE_FLAGS and in struct xt_NFQ_info_v3.
        let flags = match without_listener {
            WithoutListener::Drop => 0,
            WithoutListener::Pass => libc::NFT_QUEUE_FLAG_BYPASS as u16,
        };
        match by {
            QueueExpression::Native => self.native_queue(number, flags),
            QueueExpression::Target => self.nfqueue_target(number, flags),
        }
    }

    fn native_queue(self, number: u16, flags: u16) -> Self {
        const NFTA_QUEUE_NUM: u16 = 1;
        const NFTA_QUEUE_TOTAL: u16 = 2;
        const NFTA_QUEUE_FLAGS: u16 = 3;
        let queue = Attributes::new()
            .with_u16(NFTA_QUEUE_NUM, number)
            .with_u16(NFTA_QUEUE_TOTAL, 1)
            .with_u16(NFTA_QUEUE_FLAGS, flags);
        self.with("queue", &queue)
    }

    fn nfqueue_target(self, number: u16, flags: u16) -> Self {
        const NFTA_TARGET_NAME: u16 = 1;
        const NFTA_TARGET_REV: u16 = 2;
        const NFTA_TARGET_INFO: u16 = 3;
        const REVISION: u32 = 3;
        // struct xt_NFQ_info_v3 {queuenum, queues_total, flags}, in host byte order, aligned to eight bytes.
        let info: Vec<u8> = [number, 1, flags, 0].into_iter().flat_map(u16::to_ne_bytes).collect();
        let target = Attributes::new()
            .with_text(NFTA_TARGET_NAME, "NFQUEUE")
            .with_u32(NFTA_TARGET_REV, REVISION)
            .with_bytes(NFTA_TARGET_INFO, &info);
        self.with("target", &target)
    }

    fn meta(self, key: i32) -> Self {
        const NFTA_META_DREG: u16 = 1;
        const NFTA_META_KEY: u16 = 2;
        self.with("meta", &Attributes::new().with_u32(NFTA_META_DREG, REGISTER).with_u32(NFTA_META_KEY, key as u32))
    }

    /// Ends the rule unless what is in `key` is in the set; of a map, puts what it yields into `value`.
    fn look_up(self, set: &str, key: u32, value: Option<u32>) -> Self {
        const NFTA_LOOKUP_DREG: u16 = 3;
        let lookup = lookup(set, key);
        let lookup = match value {
            Some(value) => lookup.with_u32(NFTA_LOOKUP_DREG, value),
            None => lookup,
        };
        self.with("lookup", &lookup)
    }

    /// What connection tracking knows of the packet: `key` is one of `NFT_CT_*`.
    fn tracked(self, key: i32, direction: Option<u8>) -> Self {
        const NFTA_CT_DREG: u16 = 1;
        const NFTA_CT_KEY: u16 = 2;
        const NFTA_CT_DIRECTION: u16 = 3;
        let load = Attributes::new().with_u32(NFTA_CT_DREG, REGISTER).with_u32(NFTA_CT_KEY, key as u32);
        let load = match direction {
            Some(direction) => load.with_bytes(NFTA_CT_DIRECTION, &[direction]),
            None => load,
        };
        self.with("ct", &load)
    }

    /// The address and port that a lookup has put into the registers become the destination.
    fn translate_destination(self, family: Family) -> Self {
        const NFTA_NAT_TYPE: u16 = 1;
        const NFTA_NAT_FAMILY: u16 = 2;
        const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
        const NFTA_NAT_REG_PROTO_MIN: u16 = 5;
        const NFT_NAT_DNAT: u32 = 1;
        let (protocol, port_register) = match family {
            Family::V4 => (libc::NFPROTO_IPV4, REGISTER_AFTER_IPV4),
            Family::V6 => (libc::NFPROTO_IPV6, REGISTER_AFTER_IPV6),
        };
        let nat = Attributes::new()
            .with_u32(NFTA_NAT_TYPE, NFT_NAT_DNAT)
            .with_u32(NFTA_NAT_FAMILY, protocol as u32)
            .with_u32(NFTA_NAT_REG_ADDR_MIN, REGISTER)
            .with_u32(NFTA_NAT_REG_PROTO_MIN, port_register);
        self.with("nat", &nat)
    }

    fn load_address(self, family: Family, end: End) -> Self {
        let (offset, length) = match (family, end) {
            (Family::V4, End::Source) => (12, 4),
            (Family::V4, End::Destination) => (16, 4),
            (Family::V6, End::Source) => (8, 16),
            (Family::V6, End::Destination) => (24, 16),
        };
        self.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, offset, length, REGISTER)
    }

    fn load_port(self, end: End, register: u32) -> Self {
        let offset = match end {
            End::Source => 0,
            End::Destination => 2,
        };
        self.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, offset, 2, register)
    }

    fn payload(self, base: i32, offset: u32, length: u32, register: u32) -> Self {
        const NFTA_PAYLOAD_DREG: u16 = 1;
        const NFTA_PAYLOAD_BASE: u16 = 2;
        const NFTA_PAYLOAD_OFFSET: u16 = 3;
        const NFTA_PAYLOAD_LEN: u16 = 4;
        let payload = Attributes::new()
            .with_u32(NFTA_PAYLOAD_DREG, register)
            .with_u32(NFTA_PAYLOAD_BASE, base as u32)
            .with_u32(NFTA_PAYLOAD_OFFSET, offset)
            .with_u32(NFTA_PAYLOAD_LEN, length);
        self.with("payload", &payload)
    }

    fn masked(self, mask: &[u8]) -> Self {
        const NFTA_BITWISE_SREG: u16 = 1;
        const NFTA_BITWISE_DREG: u16 = 2;
        const NFTA_BITWISE_LEN: u16 = 3;
        const NFTA_BITWISE_MASK: u16 = 4;
        const NFTA_BITWISE_XOR: u16 = 5;
        let data = |bytes: &[u8]| Attributes::new().with_bytes(NFTA_DATA_VALUE, bytes);
        let bitwise = Attributes::new()
            .with_u32(NFTA_BITWISE_SREG, REGISTER)
            .with_u32(NFTA_BITWISE_DREG, REGISTER)
            .with_u32(NFTA_BITWISE_LEN, mask.len() as u32)
            .with_nested(NFTA_BITWISE_MASK, &data(mask))
            .with_nested(NFTA_BITWISE_XOR, &data(&vec![0; mask.len()]));
        self.with("bitwise", &bitwise)
    }

    fn equals(self, value: &[u8]) -> Self {
        self.compare(libc::NFT_CMP_EQ, value)
    }

    fn between(self, first: &[u8], last: &[u8]) -> Self {
        self.compare(libc::NFT_CMP_GTE, first).compare(libc::NFT_CMP_LTE, last)
    }

    fn compare(self, operator: i32, value: &[u8]) -> Self {
        const NFTA_CMP_SREG: u16 = 1;
        const NFTA_CMP_OP: u16 = 2;
        const NFTA_CMP_DATA: u16 = 3;
        let compare = Attributes::new()
            .with_u32(NFTA_CMP_SREG, REGISTER)
            .with_u32(NFTA_CMP_OP, operator as u32)
            .with_nested(NFTA_CMP_DATA, &Attributes::new().with_bytes(NFTA_DATA_VALUE, value));
        self.with("cmp", &compare)
    }

    fn with(self, name: &str, data: &Attributes) -> Self {
        let expression = Attributes::new().with_text(NFTA_EXPR_NAME, name).with_nested(NFTA_EXPR_DATA, data);
        Self(self.0.with_nested(NFTA_LIST_ELEM, &expression))
    }
}

/// A lookup of what is in `key`.
fn lookup(set: &str, key: u32) -> Attributes {
    const NFTA_LOOKUP_SET: u16 = 1;
    const NFTA_LOOKUP_SREG: u16 = 2;
    Attributes::new().with_text(NFTA_LOOKUP_SET, set).with_u32(NFTA_LOOKUP_SREG, key)
}
