//! What a table is made of: sets and maps with their elements, chains with their rules. Says nothing about what is in it.

use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use nix::libc;

use super::expression::{Expressions, Family};
use super::transaction::Transaction;
use crate::netlink::Attributes;
use crate::queue::Queues;

/// Elements in one message; an attribute, here the list of them, must stay below 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 1000;

/// The table of the daemon that serves these queues.
pub(super) fn table_name(queues: Queues) -> String {
    format!("halod-{}", queues.first())
}

/// A new table, which takes the place of one that is there already.
pub(super) fn replace_table(transaction: &mut Transaction, table: &str) {
    // What is not there cannot be deleted, and what is there is no error to add.
    add_table(transaction, table);
    delete_table(transaction, table);
    add_table(transaction, table);
}

/// Removes the table with all it holds.
pub(super) fn delete_table(transaction: &mut Transaction, table: &str) {
    const NFTA_TABLE_NAME: u16 = 1;
    let attributes = Attributes::new().with_text(NFTA_TABLE_NAME, table);
    transaction.push(format!("the removal of table {table}"), libc::NFT_MSG_DELTABLE, 0, &attributes);
}

fn add_table(transaction: &mut Transaction, table: &str) {
    const NFTA_TABLE_NAME: u16 = 1;
    let attributes = Attributes::new().with_text(NFTA_TABLE_NAME, table);
    transaction.push(format!("table inet {table}"), libc::NFT_MSG_NEWTABLE, NLM_F_CREATE, &attributes);
}

/// What a key or a value of a set is. The kernel knows its length only; `nft list ruleset` shows it by its type, the
/// numbers of which are nftables' own (`enum datatypes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataType {
    /// A port, in network byte order.
    Port,
    /// A packet's mark, in host byte order.
    Mark,
    /// An address and a port, each padded to four bytes.
    Address(Family),
}

impl DataType {
    fn number(self) -> u32 {
        const TYPE_IPADDR: u32 = 7;
        const TYPE_IP6ADDR: u32 = 8;
        const TYPE_INET_SERVICE: u32 = 13;
        const TYPE_MARK: u32 = 19;
        match self {
            Self::Port => TYPE_INET_SERVICE,
            Self::Mark => TYPE_MARK,
            Self::Address(Family::V4) => (TYPE_IPADDR << 6) | TYPE_INET_SERVICE,
            Self::Address(Family::V6) => (TYPE_IP6ADDR << 6) | TYPE_INET_SERVICE,
        }
    }

    /// As nftables numbers them (`enum byteorder`).
    fn byte_order(self) -> u32 {
        const BYTEORDER_HOST_ENDIAN: u32 = 1;
        const BYTEORDER_BIG_ENDIAN: u32 = 2;
        match self {
            Self::Mark => BYTEORDER_HOST_ENDIAN,
            Self::Port | Self::Address(_) => BYTEORDER_BIG_ENDIAN,
        }
    }

    fn length(self) -> u32 {
        match self {
            Self::Port => 2,
            Self::Mark => 4,
            Self::Address(Family::V4) => 4 + 4,
            Self::Address(Family::V6) => 16 + 4,
        }
    }
}

/// A set, or a map if it has values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Set {
    /// Its name.
    pub(super) name: &'static str,
    /// What it is looked up by.
    pub(super) key: DataType,
    /// What it yields.
    pub(super) value: Option<DataType>,
}

impl Set {
    /// Adds the set, with a number that no other of the transaction has.
    pub(super) fn add_to(&self, transaction: &mut Transaction, table: &str, number: u32) {
        const NFTA_SET_TABLE: u16 = 1;
        const NFTA_SET_NAME: u16 = 2;
        const NFTA_SET_FLAGS: u16 = 3;
        const NFTA_SET_KEY_TYPE: u16 = 4;
        const NFTA_SET_KEY_LEN: u16 = 5;
        const NFTA_SET_DATA_TYPE: u16 = 6;
        const NFTA_SET_DATA_LEN: u16 = 7;
        const NFTA_SET_ID: u16 = 10;
        const NFTA_SET_USERDATA: u16 = 13;
        let mut attributes = Attributes::new()
            .with_text(NFTA_SET_TABLE, table)
            .with_text(NFTA_SET_NAME, self.name)
            .with_u32(NFTA_SET_KEY_TYPE, self.key.number())
            .with_u32(NFTA_SET_KEY_LEN, self.key.length())
            .with_u32(NFTA_SET_ID, number)
            .with_bytes(NFTA_SET_USERDATA, &self.byte_orders());
        match self.value {
            Some(value) => {
                attributes = attributes
                    .with_u32(NFTA_SET_FLAGS, libc::NFT_SET_MAP as u32)
                    .with_u32(NFTA_SET_DATA_TYPE, value.number())
                    .with_u32(NFTA_SET_DATA_LEN, value.length());
            }
            // The kernel would keep ports as a bitmap, to which it adds each at the cost of all that are there. It has no
            // bitmap whose elements may time out; these never do.
            None if self.key == DataType::Port => {
                attributes = attributes.with_u32(NFTA_SET_FLAGS, libc::NFT_SET_TIMEOUT as u32);
            }
            None => {}
        }
        transaction.push(format!("set {}", self.name), libc::NFT_MSG_NEWSET, NLM_F_CREATE, &attributes);
    }

    /// What `nft list ruleset` has to know of keys and values to show them; the kernel keeps it and does not look at it
    /// (`enum nftnl_udata_set_types` of libnftnl).
    fn byte_orders(&self) -> Vec<u8> {
        const NFTNL_UDATA_SET_KEYBYTEORDER: u8 = 0;
        const NFTNL_UDATA_SET_DATABYTEORDER: u8 = 1;
        let of_data = self.value.map(|value| (NFTNL_UDATA_SET_DATABYTEORDER, value));
        let mut userdata = Vec::new();
        for (kind, data_type) in [(NFTNL_UDATA_SET_KEYBYTEORDER, self.key)].into_iter().chain(of_data) {
            let order = data_type.byte_order().to_ne_bytes();
            userdata.extend([kind, order.len() as u8]);
            userdata.extend(order);
        }
        userdata
    }

    /// Adds elements, which must not be there.
    pub(super) fn add_elements(&self, transaction: &mut Transaction, table: &str, elements: &[Element]) {
        self.change(transaction, libc::NFT_MSG_NEWSETELEM, NLM_F_CREATE, table, elements);
    }

    /// Removes elements, which must be there.
    pub(super) fn delete_elements(&self, transaction: &mut Transaction, table: &str, elements: &[Element]) {
        self.change(transaction, libc::NFT_MSG_DELSETELEM, 0, table, elements);
    }

    fn change(&self, transaction: &mut Transaction, kind: i32, flags: u16, table: &str, elements: &[Element]) {
        const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
        const NFTA_SET_ELEM_LIST_SET: u16 = 2;
        const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
        const NFTA_LIST_ELEM: u16 = 1;
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            let list = chunk
                .iter()
                .fold(Attributes::new(), |list, element| list.with_nested(NFTA_LIST_ELEM, &element.attributes()));
            let attributes = Attributes::new()
                .with_text(NFTA_SET_ELEM_LIST_TABLE, table)
                .with_text(NFTA_SET_ELEM_LIST_SET, self.name)
                .with_nested(NFTA_SET_ELEM_LIST_ELEMENTS, &list);
            transaction.push(format!("the change of set {}", self.name), kind, flags, &attributes);
        }
    }
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    /// What it is found by.
    pub(super) key: Vec<u8>,
    /// What it yields, in a map. Not needed to remove it.
    pub(super) value: Option<Vec<u8>>,
}

impl Element {
    /// An element of a set.
    pub(super) fn key(key: Vec<u8>) -> Self {
        Self { key, value: None }
    }

    fn attributes(&self) -> Attributes {
        const NFTA_SET_ELEM_KEY: u16 = 1;
        const NFTA_SET_ELEM_DATA: u16 = 2;
        const NFTA_DATA_VALUE: u16 = 1;
        let data = |bytes: &[u8]| Attributes::new().with_bytes(NFTA_DATA_VALUE, bytes);
        let attributes = Attributes::new().with_nested(NFTA_SET_ELEM_KEY, &data(&self.key));
        match &self.value {
            Some(value) => attributes.with_nested(NFTA_SET_ELEM_DATA, &data(value)),
            None => attributes,
        }
    }
}

/// An address and a port as [`DataType::Address`] has them.
pub(super) fn address_bytes(address: &SocketAddr) -> Vec<u8> {
    let mut bytes = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend_from_slice(&address.port().to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

/// A base chain and its rules, each with what it is called in an error.
pub(super) struct Chain {
    /// Its name.
    pub(super) name: &'static str,
    /// `filter`, `nat`, or `route`: routes anew if a rule's verdict changed the packet.
    pub(super) kind: &'static str,
    /// `NF_INET_*`.
    pub(super) hook: i32,
    /// Chains of one hook are passed from the lowest to the highest.
    pub(super) priority: i32,
    /// In order.
    pub(super) rules: Vec<(String, Expressions)>,
}

impl Chain {
    /// Adds the chain and its rules.
    pub(super) fn add_to(&self, transaction: &mut Transaction, table: &str) {
        const NFTA_CHAIN_TABLE: u16 = 1;
        const NFTA_CHAIN_NAME: u16 = 3;
        const NFTA_CHAIN_HOOK: u16 = 4;
        const NFTA_CHAIN_TYPE: u16 = 7;
        const NFTA_HOOK_HOOKNUM: u16 = 1;
        const NFTA_HOOK_PRIORITY: u16 = 2;
        const NFTA_RULE_TABLE: u16 = 1;
        const NFTA_RULE_CHAIN: u16 = 2;
        const NFTA_RULE_EXPRESSIONS: u16 = 4;

        let hook = Attributes::new()
            .with_u32(NFTA_HOOK_HOOKNUM, self.hook as u32)
            .with_u32(NFTA_HOOK_PRIORITY, self.priority as u32);
        let attributes = Attributes::new()
            .with_text(NFTA_CHAIN_TABLE, table)
            .with_text(NFTA_CHAIN_NAME, self.name)
            .with_nested(NFTA_CHAIN_HOOK, &hook)
            .with_text(NFTA_CHAIN_TYPE, self.kind);
        transaction.push(
            format!("chain {} of type {}", self.name, self.kind),
            libc::NFT_MSG_NEWCHAIN,
            NLM_F_CREATE,
            &attributes,
        );

        for (label, expressions) in &self.rules {
            let attributes = Attributes::new()
                .with_text(NFTA_RULE_TABLE, table)
                .with_text(NFTA_RULE_CHAIN, self.name)
                .with_nested(NFTA_RULE_EXPRESSIONS, expressions.attributes());
            let flags = NLM_F_CREATE | NLM_F_APPEND;
            transaction.push(
                format!("a rule of chain {}: {label}", self.name),
                libc::NFT_MSG_NEWRULE,
                flags,
                &attributes,
            );
        }
    }
}
