//! Variants of the core that are broken on purpose, to see whether the tests find them. Only with the feature `mutants`,
//! which no release has.
//!
//! A variant is made for the whole process. Where the core asks for one it says `mutant!(Name)`, which is `false`
//! without the feature.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

macro_rules! mutants {
    ($(#[doc = $about:literal] $name:ident,)+) => {
        /// A way of being broken.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mutant {
            $(#[doc = $about] $name,)+
        }

        impl Mutant {
            /// Every one.
            pub const ALL: &[Mutant] = &[$(Mutant::$name),+];

            /// What is wrong with it.
            pub fn about(self) -> &'static str {
                match self {
                    $(Mutant::$name => $about.trim_ascii(),)+
                }
            }
        }
    };
}

mutants! {
    /// Of nodes with as many routes the one with the highest id gives first.
    TieBreak,
    /// A node that joins takes one route too many.
    QuotaOffByOne,
    /// Routes return to their former owners in the order in which they left.
    ReverseForgotten,
    /// A node more than there are routes becomes active.
    MoreActiveThanRoutes,
    /// The epoch stays when the table changes.
    EpochNotRaised,
    /// The routes that the highest id gives back move without a word to anybody.
    HighestIdForgotten,
    /// A reserve node that takes over an id stays in reserve.
    ReserveTakenTwice,
    /// One heartbeat less is forgiven than was configured.
    SilenceTooShort,
    /// The last heartbeat of a node counts again when it is repeated.
    HeartbeatReplayed,
    /// Nodes pay for it that the daemon itself was late.
    LatenessNotForgiven,
    /// Whatever process says `hello` clears a suspect.
    SuspectClearedByAnybody,
    /// A SYN is dropped while the owner of its route is suspect.
    HeldSynsDropped,
    /// A SYN that a lost node has not answered is not decided anew.
    UnansweredSynsForgotten,
    /// The kernel keeps the connections of a lost node.
    LostFlowsTracked,
    /// A SYN is decided anew although its node has answered it just now.
    UnansweredNotAskedAgain,
    /// Packets of a moved route are not watched.
    MovedRoutesUnwatched,
    /// Apps are given the mark for browsers.
    MarksMixed,
    /// A flow goes to whoever owns its route now.
    FlowFollowsTheTable,
    /// The browsers of a lost node are not told.
    BrowserFlowsNotReset,
    /// The apps of a lost node are not told.
    AppFlowsNotReset,
    /// Whoever was told of the end of a flow is not asked whether that was heard.
    ProbesForgotten,
    /// A node that was lost and is back is not told which of its flows have ended.
    LeftoversNotCleared,
    /// All browsers are moved or ended at once.
    PacingOff,
    /// A drain that is not over at its deadline goes on.
    DrainDeadlineIgnored,
    /// A drain goes by a look at the flows that began before it.
    LookedAtTooEarly,
    /// The drain of a route that has returned goes on.
    DrainNotCancelled,
    /// Flows of one client host look the same at their node.
    SourcePortsCollide,
    /// The last byte of an odd number of bytes is not in their checksum.
    OddChecksum,
}

/// The number of the one that is made, counted from 1; 0 for none.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// Breaks the core of this process in one way, or repairs it.
pub fn make(mutant: Option<Mutant>) {
    MADE.store(mutant.map_or(0, |mutant| mutant as usize + 1), Ordering::SeqCst);
}

pub(crate) fn is_made(mutant: Mutant) -> bool {
    MADE.load(Ordering::Relaxed) == mutant as usize + 1
}

/// Its name in kebab-case.
impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        f.pad(&name)
    }
}
