//! Recovery: after a restart of HaloD the table of before is in force from the beginning, and its holders are awaited.
//!
//! Each former holder has a session from the start, with its id and without a connection, so that new connections go to
//! the nodes that they went to before and no route moves. A node comes back to its session by `hello`, from the addresses
//! that it served; everybody else waits, as one that is held does, until all are back or the time is up. Who is not back
//! then is lost like any other node, and those who wait take over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::change::Change;
use super::session::{Place, Session};
use super::{Cluster, Loss, Note};
use crate::ids::NodeId;
use crate::last_table::{LastHolder, LastTable};
use crate::protocol::{ErrorCode, Hello, Incarnation, Token};
use crate::routing::{Member, SessionId};
use crate::time::Instant;

/// How long former holders are awaited. A node notices after misses + 1/2 heartbeats that HaloD is gone, dials, and dials
/// again with growing pauses until HaloD is there.
const RECOVERY_MAX: Duration = Duration::from_secs(10);

/// Who is awaited, and who waits for that.
#[derive(Debug)]
pub(super) struct Recovery {
    until: Instant,
    /// Former holders that are not back yet.
    awaited: BTreeSet<SessionId>,
    /// Others who have come meanwhile; some may have gone again.
    newcomers: Vec<SessionId>,
}

impl Recovery {
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Nobody could use this time.
    pub(super) fn forgive(&mut self, late: Duration) {
        self.until = self.until + late;
    }

    /// Whether all are back.
    pub(super) fn is_complete(&self) -> bool {
        self.awaited.is_empty()
    }

    /// A node that held no id has to wait, at most until the time that is returned.
    pub(super) fn keep_waiting(&mut self, node: SessionId) -> Instant {
        self.newcomers.push(node);
        self.until
    }
}

impl Cluster {
    /// Takes a former daemon's table into force, before anything else happens to this cluster.
    ///
    /// # Panics
    ///
    /// If the table has more nodes than routes.
    pub fn resume(&mut self, now: Instant, last: &LastTable) {
        for holder in &last.holders {
            let (node, id) = (self.next_session(), NodeId::from_index(self.holders.len()));
            self.table.add_node().expect("a table has no more nodes than routes");
            self.holders.push(node);
            self.sessions.insert(node, Session::awaited(now, node, id, holder));
        }
        let awaited = self.holders.iter().copied().collect();
        self.recovery = Some(Recovery { until: now + RECOVERY_MAX, awaited, newcomers: Vec::new() });
        self.epoch = self.epoch.next();
        self.publish();
        self.note(Note::Resumed { active: self.holders.len() });
    }

    /// Whether this is the session of a former holder that is not back yet.
    pub(super) fn is_awaited(&self, node: SessionId) -> bool {
        self.awaited_until(node).is_some()
    }

    /// How long the session of a former holder awaits it; `None` if this is none.
    pub(super) fn awaited_until(&self, node: SessionId) -> Option<Instant> {
        self.recovery.as_ref().filter(|recovery| recovery.awaited.contains(&node)).map(Recovery::until)
    }

    /// The session that awaits the sender of `hello`.
    ///
    /// # Errors
    ///
    /// A session that awaits somebody else at one of its addresses.
    pub(super) fn find_awaited(&self, hello: &Hello) -> Result<Option<SessionId>, SessionId> {
        let awaited = self.recovery.iter().flat_map(|recovery| &recovery.awaited);
        let addresses: Vec<_> = hello.browser.iter().chain(hello.app.iter()).collect();
        for &node in awaited {
            let member = &self.sessions[&node].member;
            if (member.browser, member.app) == (hello.browser, hello.app) {
                return Ok(Some(node));
            }
            if member.service_addresses().any(|address| addresses.contains(&address)) {
                return Err(node);
            }
        }
        Ok(None)
    }

    /// A former holder is back. Who has claimed one of its addresses meanwhile has to have others.
    pub(super) fn welcome_back(&mut self, node: SessionId) {
        if let Some(recovery) = &mut self.recovery {
            recovery.awaited.remove(&node);
        }
        if let Some((newcomer, _)) = self.parked.remove(&node) {
            let name = self.sessions[&node].member.name.clone();
            self.refuse(newcomer, ErrorCode::AddressTaken, format!("{name:?} is back, and has one of these addresses"));
        }
    }

    /// All are back, or the time is up.
    pub(super) fn end_recovery(&mut self, now: Instant) {
        let Some(Recovery { awaited, newcomers, .. }) = self.recovery.take() else { return };
        self.note(Note::Recovered { missing: awaited.len() });
        let is_waiting =
            |node: &SessionId| self.sessions.get(node).is_some_and(|session| matches!(session.place, Place::Held(_)));
        let waiting: Vec<SessionId> = newcomers.into_iter().filter(is_waiting).collect();
        for &node in &waiting {
            self.session_mut(node).place = Place::Reserve;
            self.reserve.push_back(node);
        }
        if !awaited.is_empty() {
            self.lose_all(now, awaited.into_iter().map(|node| (node, Loss::NotBack)).collect());
        }
        let left: Vec<SessionId> = waiting.into_iter().filter(|node| self.reserve.contains(node)).collect();
        if left.is_empty() {
            return;
        }
        let mut change = Change::default();
        for &node in &left {
            self.place_newcomer(&mut change, node);
        }
        self.settle(now, change);
        for node in left {
            let session = &self.sessions[&node];
            if let (Place::Reserve, Some(conn)) = (session.place, session.conn) {
                self.send_welcome(conn, node);
            }
        }
    }
}

impl Session {
    /// The session of a node that has not come back yet. It is known by where it serves browsers; the rest is a filling
    /// that nothing looks at.
    fn awaited(now: Instant, node: SessionId, id: NodeId, holder: &LastHolder) -> Self {
        let LastHolder { browser, app } = *holder;
        let address = browser.iter().next().expect("a node has a browser address");
        Self {
            conn: None,
            token: Token(0),
            member: Arc::new(Member { session: node, name: address.to_string(), browser, app }),
            incarnation: Incarnation(0),
            admin: address,
            place: Place::Active(id),
            suspicion: None,
            welcomed: false,
            last_heard: now,
            silence_due: now,
            peer: address.ip(),
            beats_from: None,
            seq_heard: 0,
            seq_sent: 0,
        }
    }
}
