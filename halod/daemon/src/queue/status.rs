//! What the kernel knows of a queue (`/proc/net/netfilter/nfnetlink_queue`).

use std::fs;

/// The file of this thread's network namespace. Absent until the kernel's module is loaded.
const FILE: &str = "/proc/thread-self/net/netfilter/nfnetlink_queue";

/// A queue as the kernel sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueStatus {
    /// The netlink port of its listener.
    pub listener: u32,
    /// Packets that wait for a verdict.
    pub waiting: u32,
    /// Packets that were dropped because the queue was full.
    pub queue_dropped: u32,
    /// Packets that were dropped because the listener's socket had no room.
    pub user_dropped: u32,
}

impl QueueStatus {
    /// Queue `number` of this thread's network namespace. `None` if nobody listens to it, or if the file cannot
    /// be read.
    pub fn of(number: u16) -> Option<Self> {
        Self::parse(&fs::read_to_string(FILE).ok()?, number)
    }

    fn parse(queues: &str, number: u16) -> Option<Self> {
        queues.lines().find_map(|line| {
            let mut fields = line.split_ascii_whitespace().map(|field| field.parse::<u32>().ok());
            let mut next = || fields.next().flatten();
            let queue = next()?;
            let (listener, waiting, _copy_mode, _copy_range) = (next()?, next()?, next()?, next()?);
            let status = Self { listener, waiting, queue_dropped: next()?, user_dropped: next()? };
            (queue == u32::from(number)).then_some(status)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_queue() {
        let queues =
            "    0   1234     0 2 65531     0     0        0  1\n    7  99999     3 2 65531    15     4       41  1\n";
        let expected = QueueStatus { listener: 99_999, waiting: 3, queue_dropped: 15, user_dropped: 4 };
        assert_eq!(QueueStatus::parse(queues, 7), Some(expected));
        assert_eq!(QueueStatus::parse(queues, 0).map(|status| status.listener), Some(1234));
        assert_eq!(QueueStatus::parse(queues, 1), None);
        assert_eq!(QueueStatus::parse("7 99999 0 2", 7), None);
    }
}
