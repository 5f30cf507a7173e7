//! The emulated network between hosts: links with delay, jitter and loss, and the switch that joins them.
//!
//! No I/O and no clock: an engine carries packets in and out and says what time it is.

mod link;
mod packet;
mod switch;
mod too_big;

pub use link::{Admit, Link, LinkConfig, QUEUE_LENGTH_MAX};
pub use packet::{closing_source, destination, is_datagram, tcp_endpoints};
pub use switch::{AttachError, Attachment, Counters, Direction, IcmpSource, PortId, Role, Segment, Switch};
