//! ICMP errors about a flow: the quoted packet is translated back, so that its sender knows it as its own.
//!
//! The stages mirror those of TCP: at ingress the error's destination is translated, and the quote with it; at egress
//! what is left to hide from the receiver. The side that the quoted packet was sent by tells the direction.

use super::{Rewrite, Stage, Verdict};
use crate::wire::IcmpErrorPacket;

impl Rewrite {
    pub(super) fn translate_error(&self, stage: Stage, packet: IcmpErrorPacket<'_>) -> Verdict {
        match stage {
            Stage::Ingress => self.error_at_ingress(packet),
            Stage::Egress { .. } => self.error_at_egress(packet),
        }
    }

    fn error_at_ingress(&self, mut error: IcmpErrorPacket<'_>) -> Verdict {
        let (sender, receiver) = (error.quoted_source(), error.quoted_destination());
        if let Some(flow) = self.flows.sent_by_client(receiver, sender) {
            // About a reply, which a client's side of the network could not deliver: for the node.
            error.rewrite_outer_destination(flow.node.ip());
            error.rewrite_quoted_source(flow.node);
            error.rewrite_quoted_destination(flow.transit());
            return Verdict::Rewritten;
        }
        if let Some(flow) = self.flows.seen_by_node(sender, receiver)
            && sender != flow.transit()
        {
            // About a masqueraded packet: for the client, by way of the router's own address.
            error.rewrite_outer_destination(flow.client.ip());
            error.rewrite_quoted_source(flow.transit());
            return Verdict::Rewritten;
        }
        if let Some(flow) = self.flows.seen_by_node(receiver, sender)
            && receiver != flow.peer()
        {
            // Made by this host about a reply that it could not forward to a masqueraded client.
            error.rewrite_quoted_destination(flow.peer());
            return Verdict::Rewritten;
        }
        Verdict::Accept
    }

    fn error_at_egress(&self, mut error: IcmpErrorPacket<'_>) -> Verdict {
        let (sender, receiver) = (error.quoted_source(), error.quoted_destination());
        if let Some(flow) = self.flows.seen_by_node(sender, receiver) {
            // About a packet that the client sent and the node's side could not deliver.
            if error.outer_source() == flow.node.ip() {
                error.rewrite_outer_source(flow.service.ip());
            }
            error.rewrite_quoted_source(flow.client);
            error.rewrite_quoted_destination(flow.service);
            return Verdict::Rewritten;
        }
        if let Some(flow) = self.flows.seen_by_node(receiver, sender)
            && receiver != flow.peer()
        {
            // About a reply, on its way to a node that knows the client by the router's address.
            error.rewrite_outer_source(flow.peer().ip());
            error.rewrite_quoted_destination(flow.peer());
            return Verdict::Rewritten;
        }
        Verdict::Accept
    }
}
