//! The question which connections the kernel tracks, on a thread of its own: to go through its table takes the kernel some
//! 10 ms, however few connections there are, and the control loop has nodes to hear of meanwhile.

use std::future::pending;
use std::io;

use halod_core::flow::FlowKey;
use halod_core::plane::steer::Entry;
use tokio::task::{JoinHandle, spawn_blocking};

use super::Conntrack;

/// One that is being answered, if any.
#[derive(Debug, Default)]
pub(crate) struct Question(Option<JoinHandle<io::Result<Vec<Entry>>>>);

impl Question {
    /// Asks for all TCP connections with a translated destination that `is_service`, in the network namespace of this thread.
    pub(crate) fn ask(&mut self, is_service: impl Fn(&FlowKey) -> bool + Send + 'static) {
        let conntrack = Conntrack::open();
        self.0 = Some(spawn_blocking(move || conntrack?.entries(is_service)));
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.is_some()
    }

    /// The answer; never if nothing is asked.
    ///
    /// # Errors
    ///
    /// Those of [`Conntrack::open`] and of [`Conntrack::entries`].
    pub(crate) async fn answer(&mut self) -> io::Result<Vec<Entry>> {
        let answer = match &mut self.0 {
            Some(answer) => answer.await,
            None => pending().await,
        };
        self.0 = None;
        answer.unwrap_or_else(|panic| Err(io::Error::other(panic)))
    }
}
