//! Runs a scenario: step by step, what is done, what has to come of it, and what is written down.

use std::time::Duration;

use anyhow::Context;
use halod_core::time::Instant;

use crate::engine::{Engine, Order};
use crate::ledger::Ledger;
use crate::report::{Figures, Verdict};
use crate::scenario::{
    Action, BrowserGroup, Condition, Expectation, Fault, Flap, Invariant, Load, LossRule, Node, Rate, Ref, Run,
    Scenario, Step, Stray, WITHIN_DEFAULT, Way,
};
use crate::snapshot::Snapshot;
use crate::timing::{self, LoadTimes, LossTimes, RestTimes, RouterCpu, Spread};

/// How long the last events may take after the last step.
const LOADS_WITHIN: Duration = Duration::from_secs(30);

/// The shortest wait that says what HaloD's process uses of a core, of which the kernel counts hundredths of a second.
const REST_MIN: Duration = Duration::from_secs(1);

/// How long an event that a node has handed over may take to be shown. Nothing tells of one that never will be.
const HANDED_OVER_WITHIN: Duration = Duration::from_millis(250);

/// What came of a scenario.
#[derive(Debug)]
pub struct Outcome {
    /// What it produced; without the steps after one that failed.
    pub snapshot: Snapshot,
    /// What was not as expected, but for times; empty if all was.
    pub failures: Vec<String>,
    /// What took longer than it may, or was too early; and nodes that were lost for no reason, which is too early as well.
    pub overtime: Vec<String>,
    /// The most by which the engine's own timers were late, or a node's heartbeats.
    pub late_max: Duration,
    /// The times of each loss of a node.
    pub losses: Vec<LossTimes>,
    /// What became of its loads; `None` without one.
    pub load: Option<LoadTimes>,
    /// What HaloD's process used during each `wait` of a second or more, where it is a process.
    pub rests: Vec<RestTimes>,
    /// On the engine's clock.
    pub duration: Duration,
}

impl Outcome {
    /// What to make of it.
    pub fn verdict(&self) -> Verdict {
        if !self.failures.is_empty() {
            Verdict::Fail([self.failures.as_slice(), &self.overtime].concat())
        } else if self.overtime.is_empty() {
            Verdict::Pass
        } else {
            match timing::invalid(self.late_max, &self.overtime) {
                Some(why) => Verdict::Invalid(why),
                None => Verdict::Fail(self.overtime.clone()),
            }
        }
    }

    /// The figures for the table.
    pub fn figures(&self) -> Figures {
        let steps = &self.snapshot.steps;
        let changes = steps.iter().flat_map(|step| step.reconnects.values());
        Figures {
            moves: self.snapshot.moves() as u64,
            reconnects: changes.map(|counts| u64::from(counts.of_moved) + u64::from(counts.others)).sum(),
            events_lost: self.snapshot.loads.values().map(|load| load.lost).sum(),
        }
    }
}

/// Runs `scenario` on `engine` to its end or to the first step that fails. `progress` hears of each step.
pub fn run(scenario: &Scenario, engine: &mut dyn Engine, mut progress: impl FnMut(usize, &Step)) -> Outcome {
    let start = engine.now();
    let mut play = Play {
        engine,
        ledger: Ledger::new(scenario),
        scenario,
        step: "",
        overtime: Vec::new(),
        load: None,
        rests: Vec::new(),
    };
    let mut snapshot = Snapshot::default();
    let mut failures = Vec::new();
    let mut texts: Vec<&str> = Vec::new();
    let mut is_over = true;
    for (index, step) in scenario.steps.iter().enumerate() {
        progress(index, step);
        if let Err(error) = play.step(step) {
            let whose = if error.is::<FalseAlarm>() { &mut play.overtime } else { &mut failures };
            whose.push(format!("line {}: {}: {error:#}", step.line, step.text));
            is_over = false;
            break;
        }
        play.collect_closings(scenario);
        texts.push(step.text.as_str());
        if step.comes_to_rest() {
            snapshot.steps.push(play.ledger.close_step(texts.join("; ")));
            texts.clear();
        }
    }
    if is_over && let Err(error) = play.finish_loads() {
        failures.push(format!("{error:#}"));
    }
    failures.extend(play.ledger.take_faults());
    play.ledger.close(&mut snapshot);
    if scenario.always.contains(&Invariant::NoEventLost) && is_over && failures.is_empty() {
        failures.extend(lost_events(&snapshot));
    }
    let losses = play.ledger.loss_times();
    let rests = std::mem::take(&mut play.rests);
    let mut overtime = play.overtime;
    overtime.extend(timing::over_budget(scenario.budget, &losses));
    overtime.extend(timing::over_rest(scenario.budget, &rests));
    let deliveries = play.ledger.deliveries();
    overtime.extend(timing::over_ratio(scenario.budget, &deliveries));
    let load = play.load.filter(|_| is_over).map(|span| span.times(deliveries));
    overtime.extend(load.as_ref().and_then(|load| timing::over_delivery(scenario.budget, &load.deliveries)));
    Outcome {
        snapshot,
        failures,
        overtime,
        late_max: play.engine.late_max().unwrap_or_default(),
        losses,
        load,
        rests,
        duration: play.engine.now().since(start),
    }
}

fn lost_events(snapshot: &Snapshot) -> impl Iterator<Item = String> {
    let broken =
        snapshot.loads.iter().filter(|(_, load)| (load.lost, load.shown_twice, load.out_of_order) != (0, 0, 0));
    broken.map(|(app, load)| {
        let (lost, twice, disordered) = (load.lost, load.shown_twice, load.out_of_order);
        format!("events of {app}: {lost} lost, {twice} shown twice, {disordered} out of order")
    })
}

struct Play<'a, 's> {
    engine: &'a mut dyn Engine,
    ledger: Ledger<'s>,
    scenario: &'s Scenario,
    /// The text of the step.
    step: &'s str,
    /// Times that were not as expected.
    overtime: Vec<String>,
    load: Option<LoadSpan>,
    rests: Vec<RestTimes>,
}

/// From the first event to the last, so far.
#[derive(Clone, Copy)]
struct LoadSpan {
    begin: Mark,
    end: Mark,
}

/// A moment, and how long the router had used a core by then.
#[derive(Clone, Copy)]
struct Mark {
    at: Instant,
    router_cpu: Option<RouterCpu>,
}

impl LoadSpan {
    fn times(self, (before, after): (Spread, Spread)) -> LoadTimes {
        let Self { begin, end } = self;
        let router_cpu = end.router_cpu.zip(begin.router_cpu).map(|(end, begin)| end.since(begin));
        let deliveries = [before, after].iter().flat_map(Spread::times).copied().collect();
        LoadTimes { duration: end.at.since(begin.at), deliveries, router_cpu }
    }
}

impl<'s> Play<'_, 's> {
    fn step(&mut self, step: &'s Step) -> anyhow::Result<()> {
        let start = self.engine.now();
        self.step = &step.text;
        let within = |time: Duration| start + time;
        match &step.action {
            Action::Join(nodes) => self.join(nodes)?,
            Action::Leave(node) => drop(self.give(Order::Leave(*node))?),
            Action::Connect(group, rate) => self.connect(*group, *rate)?,
            Action::Disconnect(group, by) => drop(self.give(Order::Disconnect(*group, *by))?),
            Action::Load(load) => self.load(load)?,
            Action::Rate(change) => drop(self.give(Order::Rate(*change))?),
            Action::Hold(hold) => drop(self.give(Order::Hold(hold))?),
            Action::Probe(app) => drop(self.give(Order::Probe(*app))?),
            Action::Fault(fault, nodes) => self.fault(*fault, nodes)?,
            Action::Flap(flap) => self.flap(flap)?,
            Action::Relink(of, link) => drop(self.give(Order::Relink(*of, link))?),
            Action::Pause(group, time) => {
                let at = self.give(Order::Freeze(*group))?;
                self.pass(at + *time)?;
                self.give(Order::Thaw(*group))?;
            }
            Action::Jump(time) => drop(self.give(Order::Jump(*time))?),
            Action::Stray(stray) => self.stray(stray)?,
            Action::Wait(time) => self.rest(*time)?,
            Action::Busy(time) => {
                self.give(Order::Busy(*time))?;
                self.pass(within(*time))?;
            }
            Action::Halod(order) => drop(self.give(Order::Halod(*order))?),
            Action::Run(run) => self.run(run)?,
        }
        for expectation in &step.expect {
            match expectation.condition {
                Condition::Failover(node) => self.expect_failover(node, step, expectation, start)?,
                _ => self.expect(expectation, within(expectation.within))?,
            }
        }
        if let Action::Load(Load { wait: true, .. }) = step.action {
            self.finish_loads()?;
        }
        Ok(())
    }

    /// Gives an order, and says when it took effect.
    fn give(&mut self, order: Order<'_>) -> anyhow::Result<Instant> {
        let at = self.engine.give(order)?;
        self.ledger.order(at, order, self.step);
        Ok(at)
    }

    /// Browsers that should have connected already do so together.
    fn connect(&mut self, group: Ref<BrowserGroup>, rate: Option<Rate>) -> anyhow::Result<()> {
        let (start, count) = (self.engine.now(), self.scenario.browsers[group].count);
        let mut from = 0;
        while from < count {
            let due = |rate: Rate| 1 + self.engine.now().since(start).as_nanos() / rate.interval().as_nanos();
            let to = rate.map_or(count, |rate| u16::try_from(due(rate)).unwrap_or(count).min(count));
            self.give(Order::Connect { group, from, to })?;
            from = to;
            if let Some(rate) = rate {
                self.pass(start + rate.interval() * from.into())?;
            }
        }
        Ok(())
    }

    fn load(&mut self, load: &Load) -> anyhow::Result<()> {
        if self.load.is_none() {
            let begin = self.mark()?;
            self.load = Some(LoadSpan { begin, end: begin });
        }
        self.give(Order::Load(load))?;
        Ok(())
    }

    fn rest(&mut self, time: Duration) -> anyhow::Result<()> {
        let begin = self.mark()?;
        self.pass(begin.at + time)?;
        if time >= REST_MIN {
            let Mark { at, router_cpu } = self.mark()?;
            let cpu = router_cpu.zip(begin.router_cpu).map(|(end, begin)| end.since(begin).process);
            let (step, duration) = (self.step.to_owned(), at.since(begin.at));
            self.rests.extend(cpu.map(|router_cpu| RestTimes { step, duration, router_cpu }));
        }
        Ok(())
    }

    fn mark(&self) -> anyhow::Result<Mark> {
        Ok(Mark { at: self.engine.now(), router_cpu: self.engine.router_cpu()? })
    }

    fn fault(&mut self, fault: Fault, nodes: &[Ref<Node>]) -> anyhow::Result<()> {
        let at = self.give(Order::Fault(fault, nodes))?;
        let is_awaited = fault.is_loss() && fault != Fault::Restart && self.scenario.losses == LossRule::Ordered;
        if is_awaited && !self.ledger.is_missed(nodes) {
            // Nobody can tell when HaloD has noticed the loss of a reserve node or of the last one.
            let router = &self.scenario.router;
            self.pass(at + router.heartbeat * (router.misses + 2))?;
        }
        Ok(())
    }

    fn flap(&mut self, flap: &Flap) -> anyhow::Result<()> {
        for _ in 0..flap.times {
            for (fault, time) in [(Fault::Cut(Way::Both), flap.down), (Fault::Heal, flap.up)] {
                let order = Order::Fault(fault, std::slice::from_ref(&flap.node));
                // To a ledger that does not hear of it, the loss of the node is a fault.
                let at = if flap.loses { self.give(order)? } else { self.engine.give(order)? };
                self.pass(at + time)?;
            }
        }
        Ok(())
    }

    /// Lets time pass until `end`.
    fn pass(&mut self, end: Instant) -> anyhow::Result<()> {
        self.await_all(end, |_| Err(String::new())).or_else(passing)
    }

    /// Takes over what the engine has seen of the ends of processes.
    fn collect_closings(&mut self, scenario: &Scenario) {
        for (node, _) in scenario.nodes.entries() {
            if let Some(at) = self.engine.first_closing(node) {
                self.ledger.see_closing(node, at);
            }
        }
    }

    /// Nodes join one after another, so that their ids follow.
    fn join(&mut self, nodes: &[Ref<Node>]) -> anyhow::Result<()> {
        for &node in nodes {
            self.give(Order::Join(node))?;
            let end = self.engine.now() + WITHIN_DEFAULT;
            if self.scenario.losses == LossRule::Any {
                continue;
            }
            self.await_all(
                end,
                |ledger| {
                    if ledger.is_welcome(node) { Ok(()) } else { Err("a node was not welcomed".into()) }
                },
            )?;
        }
        Ok(())
    }

    fn stray(&mut self, stray: &Stray) -> anyhow::Result<()> {
        let answer = self.engine.stray(stray)?;
        anyhow::ensure!(answer == stray.answer, "the answer was {answer:?}, not {:?}", stray.answer);
        Ok(())
    }

    fn run(&mut self, run: &Run) -> anyhow::Result<()> {
        let outcome = self.engine.run(run)?;
        let said = || format!("stdout: {:?}, stderr: {:?}", outcome.stdout, outcome.stderr);
        anyhow::ensure!(
            outcome.status == Some(run.status.into()),
            "exit status {:?} instead of {}; {}",
            outcome.status,
            run.status,
            said()
        );
        if let Some(wanted) = &run.stdout {
            anyhow::ensure!(outcome.stdout.contains(wanted), "{wanted:?} is not in its output; {}", said());
        }
        Ok(())
    }

    fn expect(&mut self, expectation: &Expectation, end: Instant) -> anyhow::Result<()> {
        let condition = expectation.condition;
        self.await_all(end, |ledger| ledger.check(condition))
            .with_context(|| format!("{} within {:?}", describe(condition), expectation.within))
    }

    /// A failover that is too slow is waited for all the same: by how much is worth knowing.
    fn expect_failover(
        &mut self,
        node: Ref<Node>,
        step: &Step,
        expectation: &Expectation,
        start: Instant,
    ) -> anyhow::Result<()> {
        let Expectation { condition, within, not_before } = *expectation;
        self.await_all(start + within.max(WITHIN_DEFAULT), |ledger| ledger.check(condition)).context("failover")?;
        if let Some(at) = self.engine.first_closing(node) {
            self.ledger.see_closing(node, at);
        }
        let Some(time) = self.ledger.failover(node) else { return Ok(()) };
        let wrong = if time > within {
            format!("at most {within:?}")
        } else if time < not_before {
            format!("at least {not_before:?}")
        } else {
            return Ok(());
        };
        self.overtime.push(format!("line {}: {}: the failover took {time:?}, {wrong}", step.line, step.text));
        Ok(())
    }

    fn finish_loads(&mut self) -> anyhow::Result<()> {
        let end = self.engine.now() + LOADS_WITHIN;
        self.await_all(end, |ledger| ledger.check_loads())
            .with_context(|| format!("the last events within {LOADS_WITHIN:?}"))?;
        if let Some(LoadSpan { begin, .. }) = self.load {
            self.load = Some(LoadSpan { begin, end: self.mark()? });
        }
        if self.ledger.has_shown_all() { Ok(()) } else { self.pass(self.engine.now() + HANDED_OVER_WITHIN) }
    }

    /// Takes in observations until `check` is content, at most until `end` or a fault.
    fn await_all(&mut self, end: Instant, check: impl Fn(&Ledger<'_>) -> Result<(), String>) -> anyhow::Result<()> {
        loop {
            let now = self.engine.now();
            // A check costs more than an observation: all that wait are taken in first.
            self.catch_up(now)?;
            let faults = self.ledger.take_faults();
            anyhow::ensure!(faults.is_empty(), "{}", faults.join("; "));
            let alarms = self.ledger.take_false_alarms();
            if !alarms.is_empty() {
                return Err(FalseAlarm(alarms.join("; ")).into());
            }
            let Err(wrong) = check(&self.ledger) else { return Ok(()) };
            // What never stops being observed, as under load, must not keep this from ending.
            let seen = if now < end { self.engine.next(end)? } else { None };
            let Some(seen) = seen else { return Err(NotInTime(wrong).into()) };
            self.ledger.see(seen);
        }
    }

    /// Takes in what was observed before `now`.
    fn catch_up(&mut self, now: Instant) -> anyhow::Result<()> {
        while let Some(seen) = self.engine.next(Instant::ORIGIN)? {
            let at = seen.at;
            self.ledger.see(seen);
            if at >= now {
                break;
            }
        }
        Ok(())
    }
}

/// What was the case when time was up.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotInTime(String);

/// Who was lost though nothing befell it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct FalseAlarm(String);

/// Time that was up is what a `wait` waits for.
fn passing(error: anyhow::Error) -> anyhow::Result<()> {
    if error.is::<NotInTime>() { Ok(()) } else { Err(error) }
}

fn describe(condition: Condition) -> String {
    match condition {
        Condition::Connected(browsers) => format!("{browsers} browsers connected"),
        Condition::Active(_) => "the node active".into(),
        Condition::Reserve(_) => "the node in reserve".into(),
        Condition::Held(_) => "the node held".into(),
        Condition::Failover(_) => "the routes of the node taken over".into(),
        Condition::Delivered(events) => format!("{events} events shown"),
        Condition::FlowsAnswered(flows) => format!("{flows} held connections answered"),
        Condition::Settled => "all at rest".into(),
    }
}

#[cfg(test)]
mod tests;
