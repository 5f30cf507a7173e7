//! Runs a scenario: step by step, what is done, what has to come of it, and what is written down.

use std::time::Duration;

use anyhow::Context;
use halod_core::time::Instant;

use crate::engine::{Engine, Order};
use crate::ledger::Ledger;
use crate::report::Figures;
use crate::scenario::{Action, Condition, Expectation, Invariant, Load, Node, Ref, Run, Scenario, Step, Stray};
use crate::snapshot::Snapshot;

/// How long the last events may take after the last step.
const LOADS_WITHIN: Duration = Duration::from_secs(30);

/// What came of a scenario.
#[derive(Debug)]
pub struct Outcome {
    /// What it produced; without the steps after one that failed.
    pub snapshot: Snapshot,
    /// What was not as expected; empty if all was.
    pub failures: Vec<String>,
    /// On the engine's clock.
    pub duration: Duration,
}

impl Outcome {
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
    let mut play = Play { engine, ledger: Ledger::new(scenario) };
    let mut snapshot = Snapshot::default();
    let mut failures = Vec::new();
    for (index, step) in scenario.steps.iter().enumerate() {
        progress(index, step);
        if let Err(error) = play.step(step) {
            failures.push(format!("line {}: {}: {error:#}", step.line, step.text));
            break;
        }
        snapshot.steps.push(play.ledger.close_step(step.text.clone()));
    }
    if failures.is_empty()
        && let Err(error) = play.finish_loads()
    {
        failures.push(format!("{error:#}"));
    }
    failures.extend(play.ledger.take_faults());
    play.ledger.close(&mut snapshot);
    if scenario.always.contains(&Invariant::NoEventLost) && failures.is_empty() {
        failures.extend(lost_events(&snapshot));
    }
    Outcome { snapshot, failures, duration: play.engine.now().since(start) }
}

fn lost_events(snapshot: &Snapshot) -> impl Iterator<Item = String> {
    let broken =
        snapshot.loads.iter().filter(|(_, load)| (load.lost, load.shown_twice, load.out_of_order) != (0, 0, 0));
    broken.map(|(app, load)| {
        let (lost, twice, late) = (load.lost, load.shown_twice, load.out_of_order);
        format!("events of {app}: {lost} lost, {twice} shown twice, {late} out of order")
    })
}

struct Play<'a, 's> {
    engine: &'a mut dyn Engine,
    ledger: Ledger<'s>,
}

impl Play<'_, '_> {
    fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        let start = self.engine.now();
        let within = |time: Duration| start + time;
        match &step.action {
            Action::Join(nodes) => self.join(nodes, start)?,
            Action::Leave(node) => self.give(Order::Leave(*node))?,
            Action::Connect(group) => self.give(Order::Connect(*group))?,
            Action::Disconnect(group) => self.give(Order::Disconnect(*group))?,
            Action::Load(load) => self.give(Order::Load(load))?,
            Action::Hold(hold) => self.give(Order::Hold(hold))?,
            Action::Probe(app) => self.give(Order::Probe(*app))?,
            Action::Stray(stray) => self.stray(stray)?,
            Action::Wait(time) => self.await_all(within(*time), |_| Err(String::new())).or_else(passing)?,
            Action::Run(run) => self.run(run)?,
        }
        for expectation in &step.expect {
            self.expect(expectation, within(expectation.within))?;
        }
        if let Action::Load(Load { wait: true, .. }) = step.action {
            self.finish_loads()?;
        }
        Ok(())
    }

    fn give(&mut self, order: Order<'_>) -> anyhow::Result<()> {
        self.ledger.order(order);
        self.engine.give(order)
    }

    /// Nodes join one after another, so that their ids follow.
    fn join(&mut self, nodes: &[Ref<Node>], start: Instant) -> anyhow::Result<()> {
        let end = start + crate::scenario::WITHIN_DEFAULT;
        for &node in nodes {
            self.give(Order::Join(node))?;
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

    fn finish_loads(&mut self) -> anyhow::Result<()> {
        let end = self.engine.now() + LOADS_WITHIN;
        self.await_all(end, |ledger| ledger.check_loads())
            .with_context(|| format!("the last events within {LOADS_WITHIN:?}"))
    }

    /// Takes in observations until `check` is content, at most until `end`.
    fn await_all(&mut self, end: Instant, check: impl Fn(&Ledger<'_>) -> Result<(), String>) -> anyhow::Result<()> {
        loop {
            let wrong = match check(&self.ledger) {
                Ok(()) => return Ok(()),
                Err(wrong) => wrong,
            };
            let Some(seen) = self.engine.next(end)? else { return Err(NotInTime(wrong).into()) };
            self.ledger.see(seen);
            // A check costs more than an observation: all that wait are taken in first.
            while let Some(seen) = self.engine.next(Instant::ORIGIN)? {
                self.ledger.see(seen);
            }
        }
    }
}

/// What was the case when time was up.
#[derive(Debug)]
struct NotInTime(String);

impl std::fmt::Display for NotInTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotInTime {}

/// Time that was up is what a `wait` waits for.
fn passing(error: anyhow::Error) -> anyhow::Result<()> {
    if error.is::<NotInTime>() { Ok(()) } else { Err(error) }
}

fn describe(condition: Condition) -> String {
    match condition {
        Condition::Connected(browsers) => format!("{browsers} browsers connected"),
        Condition::Active(_) => "the node active".into(),
        Condition::Reserve(_) => "the node in reserve".into(),
        Condition::Delivered(events) => format!("{events} events shown"),
        Condition::FlowsAnswered(flows) => format!("{flows} held connections answered"),
        Condition::Settled => "all at rest".into(),
    }
}
