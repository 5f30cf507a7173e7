//! A batch of nf_tables messages that the kernel takes whole or not at all, and what it answers.

use std::io;

use netlink_packet_core::{ErrorBuffer, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ALIGNTO, NLMSG_ERROR, NetlinkBuffer};
use netlink_sys::Socket;
use nix::libc;

use crate::netlink::{Attributes, append_message};

/// Why rules could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// No netlink socket, or it failed.
    #[error("netlink: {0}")]
    Socket(io::Error),
    /// Rules in this network namespace are not the process's to change.
    #[error("nf_tables denies access: CAP_NET_ADMIN is needed in this network namespace")]
    Denied,
    /// The kernel refused a message, and with it the whole transaction.
    #[error("nf_tables refused {message}: {}", reason(.error))]
    Refused {
        /// What the message was to do.
        message: String,
        /// The kernel's reason.
        error: io::Error,
    },
    /// The kernel did not say whether it took the transaction.
    #[error("nf_tables gave no answer")]
    NoAnswer,
}

impl RulesError {
    /// Whether the kernel does not know an expression or a type of chain that a message needs.
    pub(super) fn is_unknown_to_the_kernel(&self) -> bool {
        matches!(self, Self::Refused { error, .. }
            if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP)))
    }
}

fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        // Only a table that a socket owns (NFT_TABLE_F_OWNER) is denied by itself.
        Some(libc::EPERM) => "another process owns it".into(),
        Some(libc::ENOENT | libc::EOPNOTSUPP) => "the kernel is built without it".into(),
        _ => error.to_string(),
    }
}

/// Messages that take effect together.
pub(super) struct Transaction {
    bytes: Vec<u8>,
    /// What each message is to do. The sequence number of the first is 1: 0 is the mark that begins the batch.
    labels: Vec<String>,
}

impl Transaction {
    /// Nothing to do yet.
    pub(super) fn new() -> Self {
        let mut transaction = Self { bytes: Vec::new(), labels: Vec::new() };
        transaction.append_batch_mark(libc::NFNL_MSG_BATCH_BEGIN);
        transaction
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Adds a message of type `kind` (`NFT_MSG_*`). `label` ends the sentence "nf_tables refused ...".
    pub(super) fn push(&mut self, label: impl Into<String>, kind: i32, flags: u16, attributes: &Attributes) {
        self.labels.push(label.into());
        let message_type = (libc::NFNL_SUBSYS_NFTABLES << 8) | kind;
        self.append(message_type, NLM_F_REQUEST | NLM_F_ACK | flags, (libc::NFPROTO_INET, 0), attributes);
    }

    /// The marks between which the kernel collects messages; they name the subsystem that is meant.
    fn append_batch_mark(&mut self, message_type: i32) {
        let subsystem = (libc::AF_UNSPEC, libc::NFNL_SUBSYS_NFTABLES);
        self.append(message_type, NLM_F_REQUEST, subsystem, &Attributes::new());
    }

    fn append(&mut self, message_type: i32, flags: u16, meant: (i32, i32), attributes: &Attributes) {
        append_message(&mut self.bytes, message_type, flags, self.labels.len() as u32, meant, attributes);
    }

    /// Sends the messages and reads the kernel's verdict, which is there when the send returns.
    pub(super) fn commit(mut self, socket: &Socket) -> Result<(), RulesError> {
        self.append_batch_mark(libc::NFNL_MSG_BATCH_END);
        socket.send(&self.bytes, 0).map_err(RulesError::Socket)?;

        let mut answer = Err(RulesError::NoAnswer);
        loop {
            let mut replies = Vec::with_capacity(64 * 1024);
            match socket.recv(&mut replies, libc::MSG_DONTWAIT) {
                Ok(_) => self.read_replies(&replies, &mut answer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return answer,
                // Some answers are lost. The others are not to be taken for answers to the next transaction.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    if !matches!(answer, Err(RulesError::Refused { .. })) {
                        answer = Err(RulesError::Socket(error));
                    }
                }
                Err(error) => return Err(RulesError::Socket(error)),
            }
        }
    }

    /// Keeps the first refusal, which is the cause of any later ones.
    fn read_replies(&self, mut replies: &[u8], answer: &mut Result<(), RulesError>) {
        while let Ok(reply) = NetlinkBuffer::new_checked(replies) {
            if reply.message_type() == NLMSG_ERROR
                && let Ok(verdict) = ErrorBuffer::new_checked(reply.payload())
                && !matches!(answer, Err(RulesError::Refused { .. }))
            {
                *answer = match verdict.code() {
                    None => Ok(()),
                    Some(code) => Err(self.refusal(reply.sequence_number(), -code.get())),
                };
            }
            let next = (reply.length() as usize).next_multiple_of(NLMSG_ALIGNTO as usize);
            replies = replies.get(next..).unwrap_or_default();
        }
    }

    fn refusal(&self, sequence: u32, errno: i32) -> RulesError {
        let message = (sequence as usize).checked_sub(1).and_then(|index| self.labels.get(index));
        match message {
            None if errno == libc::EPERM => RulesError::Denied,
            message => RulesError::Refused {
                message: message.map_or("the transaction", String::as_str).to_owned(),
                error: io::Error::from_raw_os_error(errno),
            },
        }
    }
}
