//! What befalls others than nodes: links that get worse, browsers that stop, a clock that jumps, a machine that is busy,
//! HaloD itself.

use std::ops::Range;
use std::time::Duration;

use super::steps::{Halod, Walk};
use crate::scenario::file;
use crate::scenario::located::{At, Unit};
use crate::scenario::{Action, Engine, HalodOrder, LinkOf, LossRule};

impl Walk<'_> {
    pub(super) fn relink(&mut self, relink: &file::Relink) -> Option<Action> {
        let delay = relink.delay.as_ref().map(|delay| self.mistakes.quantity(delay));
        let loss = relink.loss.as_ref().map(|loss| self.mistakes.quantity(loss));
        let duplicates = relink.duplicates.as_ref().map(|duplicates| self.mistakes.quantity(duplicates));
        let datagrams = relink.datagrams.as_ref().map(|delay| self.mistakes.quantity(delay));
        let name = relink.of.value.as_str();
        let (of, mut link) = if let Some(app) = self.hosts.apps.find(|app| app.name == name) {
            (LinkOf::App(app), self.hosts.apps[app].link)
        } else if let Some(group) = self.hosts.browsers.find(|group| group.name == name) {
            (LinkOf::Browsers(group), self.hosts.browsers[group].link)
        } else {
            let node = self.node(name, &relink.of.span)?;
            (LinkOf::Node(node), self.hosts.nodes[node].link)
        };
        link.delay = delay.unwrap_or(Some(link.delay))?;
        link.loss = loss.unwrap_or(Some(link.loss))?;
        link.duplicates = duplicates.unwrap_or(Some(link.duplicates))?;
        if let Some(written) = &relink.datagrams {
            let delay = datagrams??;
            self.check_datagrams(of, written, delay);
            link.datagrams = Some(delay);
        }
        link.reorders = relink.reorders.unwrap_or(link.reorders);
        Some(Action::Relink(of, link))
    }

    /// A delay of a node's heartbeats begins with a silence that is longer than usual by as much.
    fn check_datagrams(&mut self, of: LinkOf, written: &Unit<Duration>, delay: Duration) {
        let span = &written.text.span;
        if !matches!(of, LinkOf::Node(_)) {
            self.mistakes.add(span, "only nodes send datagrams", "they are their heartbeats");
        }
        let harmless = self.router.silence_max().saturating_sub(self.router.heartbeat);
        if self.losses == LossRule::Ordered && delay > harmless {
            let message = "whether the node is lost by this is a matter of luck";
            self.mistakes.add(span, message, format!("at most {harmless:?}, or `losses: any`"));
        }
    }

    pub(super) fn pause(&mut self, pause: &file::Pause) -> Option<Action> {
        let time = self.mistakes.quantity(&pause.time);
        let group = self.group(&pause.browsers)?;
        Some(Action::Pause(group, time?))
    }

    pub(super) fn jump(&mut self, time: &Unit<Duration>) -> Option<Action> {
        if self.only != Some(Engine::Sim) {
            let message = "the clock of a kernel cannot be made to jump";
            self.mistakes.add(&time.text.span, message, "`only: {engine: sim, because: ..}` allows it");
        }
        self.mistakes.quantity(time).map(Action::Jump)
    }

    pub(super) fn halod(&mut self, order: &At<HalodOrder>) -> Option<Action> {
        if self.only != Some(Engine::Kernel) {
            let message = "in the simulator HaloD is no process of its own";
            self.mistakes.add(&order.span, message, "`only: {engine: kernel, because: ..}` allows it");
        }
        let (wanted, after) = match order.value {
            HalodOrder::Kill => (Halod::Running, Halod::Killed),
            HalodOrder::Start => (Halod::Killed, Halod::Running),
            HalodOrder::Stop => (Halod::Running, Halod::Stopped),
            HalodOrder::Continue => (Halod::Stopped, Halod::Running),
        };
        if self.halod != wanted {
            let message = format!("HaloD is {} here", self.halod.words());
            self.mistakes.add(&order.span, message, format!("it has to be {}", wanted.words()));
        }
        self.halod = after;
        Some(Action::Halod(order.value))
    }

    /// Nodes come and go by what HaloD says.
    pub(super) fn needs_halod(&mut self, span: &Range<usize>) {
        if self.halod != Halod::Running {
            let message = format!("HaloD is {} here", self.halod.words());
            self.mistakes.add(span, message, "nobody would answer the node");
        }
    }

    pub(super) fn busy(&mut self, time: &Unit<Duration>) -> Option<Action> {
        if self.only != Some(Engine::Kernel) {
            let message = "the simulator has no machine to keep busy";
            self.mistakes.add(&time.text.span, message, "`only: {engine: kernel, because: ..}` allows it");
        }
        self.mistakes.quantity(time).map(Action::Busy)
    }
}

impl Halod {
    fn words(self) -> &'static str {
        match self {
            Halod::Running => "running",
            Halod::Stopped => "stopped",
            Halod::Killed => "killed",
        }
    }
}
