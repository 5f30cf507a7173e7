//! A random case: a small cluster, what befalls it and when. Written out it is a scenario.

use std::collections::BTreeMap;
use std::fmt;

use halod_core::plane::PlaneKind;

use crate::orbited::Transport;
use crate::scenario::Way;

/// How long everything may take to come to rest after the last fault. A name that died often is held for up to a minute.
const REST_SECONDS: u32 = 150;

/// A case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What it was drawn from; seeds the scenario as well.
    pub seed: u64,
    /// Number of routes.
    pub routes: u16,
    /// Nodes that are kept in reserve.
    pub reserve: u16,
    /// Time between heartbeats, in milliseconds.
    pub heartbeat: u32,
    /// Heartbeats that may be missing.
    pub misses: u32,
    /// How long a moved route may drain, in milliseconds.
    pub drain: u32,
    /// Connections a second that HaloD may end; its own default if `None`.
    pub pace: Option<u32>,
    /// HaloD's data plane.
    pub plane: PlaneKind,
    /// How long the kernel takes to say what it tracks, in milliseconds.
    pub survey: u32,
    /// Whether nodes see the router's address.
    pub masquerade: bool,
    /// Number of nodes.
    pub nodes: u16,
    /// Number of browsers.
    pub browsers: u16,
    /// What they speak, in turn.
    pub transports: Vec<Transport>,
    /// Events that are dispatched meanwhile, 0 for none, and how many a second.
    pub events: u32,
    /// See `events`.
    pub rate: u32,
    /// Every link, unless an act changes it.
    pub link: LinkSpec,
    /// What befalls it, in order.
    pub acts: Vec<Act>,
}

/// A link: what delays packets in one direction, in milliseconds, and how many of a hundred are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSpec {
    /// The shortest delay, in milliseconds.
    pub delay_min: u32,
    /// The longest, in milliseconds.
    pub delay_max: u32,
    /// Whether packets overtake each other.
    pub reorders: bool,
    /// How many are lost, in percent.
    pub loss: u32,
    /// How many arrive twice, in percent.
    pub duplicates: u32,
}

/// Something that is done, some time after what was done before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Act {
    /// Milliseconds after the act before.
    pub after: u32,
    /// What.
    pub deed: Deed,
}

/// What is done. Nodes are numbered from 1. What is not possible when its time has come, such as the crash of a node
/// that is down, is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are the verbs of a scenario")]
pub enum Deed {
    Join(u16),
    Leave(u16),
    Crash(u16),
    PowerOff(u16),
    Restart(u16),
    Hang(u16),
    Resume(u16),
    Cut(u16, Way),
    Heal(u16),
    /// Down for so long, up for so long, so often. Short ones only: whether the node is lost is a matter of luck.
    Flap(u16, u32),
    RelinkNode(u16, LinkSpec),
    RelinkBrowsers(LinkSpec),
    RelinkApp(LinkSpec),
    /// Only the heartbeats of a node take so long from now on.
    DelayHeartbeats(u16, u32),
    /// Every link as it was.
    Clear,
    /// Browsers do not read for so many milliseconds.
    Pause(u32),
    /// HaloD's clock jumps by so many milliseconds.
    Jump(u32),
}

impl Deed {
    /// Whom it befalls, if that is a node.
    pub(super) fn node(self) -> Option<u16> {
        match self {
            Deed::Join(node)
            | Deed::Leave(node)
            | Deed::Crash(node)
            | Deed::PowerOff(node)
            | Deed::Restart(node)
            | Deed::Hang(node)
            | Deed::Resume(node)
            | Deed::Cut(node, _)
            | Deed::Heal(node)
            | Deed::Flap(node, _)
            | Deed::RelinkNode(node, _)
            | Deed::DelayHeartbeats(node, _) => Some(node),
            Deed::RelinkBrowsers(_) | Deed::RelinkApp(_) | Deed::Clear | Deed::Pause(_) | Deed::Jump(_) => None,
        }
    }
}

impl Case {
    /// The name of its scenario.
    pub fn name(&self) -> String {
        format!("fuzz-{}", self.seed)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, routes, reserve, heartbeat, misses, drain, plane, masquerade, nodes, browsers, .. } = self;
        let pace = self.pace.map_or(String::new(), |pace| format!(", pace: {pace}/s"));
        let survey = if self.survey > 0 { format!(", survey: {}ms", self.survey) } else { String::new() };
        let masquerade = if *masquerade { ", masquerade: true" } else { "" };
        let transports: Vec<String> = self.transports.iter().map(word).collect();
        writeln!(f, "scenario: {}", self.name())?;
        writeln!(f, "about: Drawn from seed {seed}.")?;
        writeln!(f, "only: {{engine: sim, because: it was found there and depends on its timing}}")?;
        writeln!(f, "seed: {seed}")?;
        writeln!(
            f,
            "router: {{routes: {routes}, plane: {plane}, reserve: {reserve}, heartbeat: {heartbeat}ms, misses: {misses}, \
             drain: {drain}ms{survey}{pace}{masquerade}}}"
        )?;
        writeln!(f, "nodes: {{n: {nodes}}}")?;
        writeln!(f, "browsers: {{b: {{count: {browsers}, transports: [{}]}}}}", transports.join(", "))?;
        writeln!(f, "apps: {{a: {{}}}}")?;
        writeln!(f, "links: {{default: {{{}}}}}", self.link)?;
        writeln!(f, "losses: any")?;
        writeln!(f, "steps:")?;
        let mut steps = Steps { f, state: BTreeMap::new(), link: self.link };
        steps.begin(self)?;
        for act in &self.acts {
            steps.act(*act)?;
        }
        steps.end(self)
    }
}

/// Writes steps and keeps account of what is possible.
struct Steps<'f, 'g> {
    f: &'f mut fmt::Formatter<'g>,
    /// Nodes that run or whose links are cut.
    state: BTreeMap<u16, State>,
    link: LinkSpec,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct State {
    runs: bool,
    hangs: bool,
    is_cut: bool,
}

impl Steps<'_, '_> {
    fn begin(&mut self, case: &Case) -> fmt::Result {
        self.step("connect: b")?;
        if case.events > 0 {
            self.step(&format!("load: {{app: a, events: {}, rate: {}/s}}", case.events, case.rate))?;
        }
        Ok(())
    }

    fn act(&mut self, act: Act) -> fmt::Result {
        let steps = self.possible(act.deed);
        if steps.is_empty() {
            return Ok(());
        }
        if act.after > 0 {
            self.step(&format!("wait: {}ms", act.after))?;
        }
        steps.iter().try_for_each(|step| self.step(step))
    }

    /// The steps of a deed; none if it is not possible.
    fn possible(&mut self, deed: Deed) -> Vec<String> {
        match deed {
            Deed::RelinkBrowsers(link) => vec![format!("relink: {{of: b, {link}}}")],
            Deed::RelinkApp(link) => vec![format!("relink: {{of: a, {link}}}")],
            Deed::Clear => self.clear(),
            Deed::Pause(time) => vec![format!("pause: {{browsers: b, time: {time}ms}}")],
            Deed::Jump(time) => vec![format!("jump: {time}ms")],
            _ => deed.node().map(|n| befall(self.state.entry(n).or_default(), deed, n)).unwrap_or_default(),
        }
    }

    /// Every link as it was at the beginning.
    fn clear(&self) -> Vec<String> {
        let link = self.link;
        let nodes = self.state.keys().map(|n| format!("relink: {{of: n{n}, {link}}}"));
        nodes.chain(["b", "a"].map(|of| format!("relink: {{of: {of}, {link}}}"))).collect()
    }

    /// All faults end, and everything has to come to rest.
    fn end(&mut self, case: &Case) -> fmt::Result {
        for number in 1..=case.nodes {
            let State { hangs, is_cut, .. } = self.state.get(&number).copied().unwrap_or_default();
            if is_cut {
                self.step(&format!("heal: n{number}"))?;
            }
            if hangs {
                self.step(&format!("resume: n{number}"))?;
            }
        }
        self.clear().iter().try_for_each(|step| self.step(step))?;
        if !self.state.values().any(|state| state.runs) {
            self.step("join: n1")?;
        }
        let (connected, within) = (case.browsers, REST_SECONDS);
        let delivered = if case.events > 0 {
            format!(", {{delivered: {}, within: {within}s}}", case.events)
        } else {
            String::new()
        };
        writeln!(self.f, "  - wait: 1ms")?;
        writeln!(
            self.f,
            "    expect: [{{connected: {connected}, within: {within}s}}, {{settled: true, within: {within}s}}{delivered}]"
        )
    }

    fn step(&mut self, step: &str) -> fmt::Result {
        writeln!(self.f, "  - {step}\n    expect: [{{settled: false}}]")
    }
}

/// What befalls node `n`, if its state allows it.
fn befall(state: &mut State, deed: Deed, n: u16) -> Vec<String> {
    let State { runs, hangs, is_cut } = *state;
    let text = match deed {
        Deed::Join(_) if !runs && !is_cut => {
            state.runs = true;
            format!("join: n{n}")
        }
        Deed::Leave(_) if runs && !hangs && !is_cut => {
            state.runs = false;
            format!("leave: n{n}")
        }
        Deed::Crash(_) if runs => {
            *state = State { is_cut, ..State::default() };
            format!("crash: n{n}")
        }
        // A host that gets its power back has its link back.
        Deed::PowerOff(_) if runs => {
            *state = State::default();
            format!("power-off: n{n}")
        }
        Deed::Restart(_) if runs && !is_cut => {
            state.hangs = false;
            format!("restart: n{n}")
        }
        Deed::Hang(_) if runs && !hangs => {
            state.hangs = true;
            format!("hang: n{n}")
        }
        Deed::Resume(_) if runs && hangs => {
            state.hangs = false;
            format!("resume: n{n}")
        }
        Deed::Cut(_, way) if runs && !is_cut => {
            state.is_cut = true;
            format!("cut: {{host: n{n}, way: {}}}", word(&way))
        }
        Deed::Heal(_) if is_cut => {
            state.is_cut = false;
            format!("heal: n{n}")
        }
        Deed::Flap(_, down) if runs && !is_cut => {
            let (wait, heal) = (format!("wait: {down}ms"), format!("heal: n{n}"));
            let first = [format!("cut: n{n}"), wait.clone(), heal.clone(), wait.clone()];
            return first.into_iter().chain([format!("cut: {{host: n{n}, way: up}}"), wait, heal]).collect();
        }
        Deed::RelinkNode(_, link) => format!("relink: {{of: n{n}, {link}}}"),
        Deed::DelayHeartbeats(_, time) => format!("relink: {{of: n{n}, datagrams: {time}ms}}"),
        _ => return Vec::new(),
    };
    vec![text]
}

impl fmt::Display for LinkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delay_min, delay_max, reorders, loss, duplicates } = self;
        if delay_min == delay_max {
            write!(f, "delay: {delay_min}ms")?;
        } else {
            write!(f, "delay: {delay_min}ms..{delay_max}ms")?;
        }
        write!(f, ", loss: {loss}%, duplicates: {duplicates}%, reorders: {reorders}")
    }
}

/// A word of the language of scenarios.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}
