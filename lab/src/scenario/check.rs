//! From the written form to the checked one: resolves names, reads quantities and walks through the steps.
//!
//! Every mistake of meaning is collected. Whatever a mistake leaves unknown is left out and checked no further, so that
//! one mistake makes one diagnostic.

mod expectations;
mod faults;
mod hosts;
mod names;
mod steps;
mod text;
mod weather;

use std::ops::Range;
use std::path::Path;

use halod::queue::Queues;
use halod_core::plane::PlaneKind;

use self::hosts::{Hosts, Links};
use self::steps::Walk;
use super::diagnostic::Diagnostic;
use super::file::{self, File};
use super::located::{At, Unit};
use super::quantity::Quantity;
use super::span::{Measures, Span};
use super::{Budget, Invariant, Only, ROUTES_MAX, Router, Scenario};

/// Mistakes found so far.
#[derive(Debug, Default)]
struct Mistakes(Vec<Diagnostic>);

impl Mistakes {
    fn add(&mut self, span: &Range<usize>, message: impl Into<String>, label: impl Into<String>) {
        self.0.push(Diagnostic { message: message.into(), label: label.into(), span: span.clone() });
    }

    /// The value of a quantity, unless its text is wrong.
    fn quantity<Q: Quantity>(&mut self, unit: &Unit<Q>) -> Option<Q> {
        let At { value: text, span } = &unit.text;
        match Q::parse(text) {
            Ok(quantity) => Some(quantity),
            Err(label) => {
                self.add(span, format!("\"{text}\" is not {}", Q::NAME), label);
                None
            }
        }
    }

    /// The value of an optional quantity, the default if it is not given or wrong.
    fn quantity_or<Q: Quantity>(&mut self, unit: Option<&Unit<Q>>, default: Q) -> Q {
        unit.and_then(|unit| self.quantity(unit)).unwrap_or(default)
    }

    /// Adds a mistake unless `number` is from 1 to `max`.
    fn count<N: Copy + Into<u64>>(&mut self, number: &At<N>, what: &str, max: u64) -> bool {
        let value = number.value.into();
        let fits = (1..=max).contains(&value);
        if !fits {
            self.add(&number.span, format!("{value} is not a possible number of {what}"), format!("from 1 to {max}"));
        }
        fits
    }
}

/// Checks `file`, which was read from `source` at `path`.
pub(super) fn check(path: &str, source: &str, file: &File) -> Result<Scenario, Vec<Diagnostic>> {
    let mut mistakes = Mistakes::default();
    check_name(&mut mistakes, path, &file.scenario);
    if file.about.value.trim().is_empty() {
        mistakes.add(&file.about.span, "the scenario says nothing about itself", "a sentence or two");
    }
    let router = router(&mut mistakes, &file.router);
    let links = Links::read(&mut mistakes, file);
    let hosts = Hosts::read(&mut mistakes, file, &router, &links);
    let only = file.only.as_ref().map(|only| only.engine);
    let steps = Walk::new(&mut mistakes, source, &router, &hosts, only, file.losses).steps(&file.steps);
    let budget = budget(&mut mistakes, &file.budget, &router, &hosts);
    if !mistakes.0.is_empty() {
        return Err(mistakes.0);
    }
    let Hosts { nodes, browsers, apps, clients } = hosts;
    Ok(Scenario {
        name: file.scenario.value.clone(),
        about: file.about.value.trim().to_owned(),
        tags: file.tags.iter().copied().collect(),
        only: file.only.as_ref().map(|only| Only { engine: only.engine, because: only.because.clone() }),
        needs: file.needs.clone(),
        seed: file.seed.unwrap_or(1),
        router,
        nodes,
        browsers,
        apps,
        clients,
        steps,
        losses: file.losses,
        always: file.always.as_deref().unwrap_or(&Invariant::ALL).iter().copied().collect(),
        budget,
    })
}

fn check_name(mistakes: &mut Mistakes, path: &str, name: &At<String>) {
    let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if name.value != stem {
        let message = format!("the scenario is called \"{}\", but its file \"{stem}\"", name.value);
        mistakes.add(&name.span, message, "both have the same name");
    }
}

fn router(mistakes: &mut Mistakes, router: &At<file::Router>) -> Router {
    use std::time::Duration;
    let file::Router {
        routes, plane, reserve, heartbeat, misses, drain, queues, queue_len, masquerade, family, ..
    } = &router.value;
    let file::Router { survey, pace, redial, .. } = &router.value;
    mistakes.count(routes, "routes", ROUTES_MAX.into());
    if let Some(misses) = misses {
        mistakes.count(misses, "misses", 1_000);
    }
    if let Some(queues) = queues.as_ref().filter(|queues| Queues::new(0, queues.value).is_none()) {
        mistakes.add(&queues.span, format!("{} queues are not possible", queues.value), "1, 2, 4, 8 or 16");
    }
    if let Some(length) = queue_len {
        mistakes.count(length, "packets", 65_536);
    }
    let heartbeat_read = mistakes.quantity_or(heartbeat.as_ref(), Duration::from_millis(50));
    if let Some(heartbeat) = heartbeat.as_ref().filter(|_| heartbeat_read.is_zero()) {
        mistakes.add(&heartbeat.text.span, "heartbeats need time between them", "more than zero");
    }
    Router {
        routes: routes.value,
        reserve: reserve.unwrap_or(1),
        heartbeat: heartbeat_read,
        misses: misses.as_ref().map_or(3, |misses| misses.value),
        drain: mistakes.quantity_or(drain.as_ref(), Duration::from_secs(10)),
        plane: plane.map(PlaneKind::from),
        queues: queues.as_ref().map(|queues| queues.value),
        queue_len: queue_len.as_ref().map(|length| length.value),
        survey: mistakes.quantity_or(survey.as_ref(), Duration::ZERO),
        masquerade: *masquerade,
        family: family.unwrap_or_default(),
        pace: pace.as_ref().and_then(|pace| mistakes.quantity(pace)),
        redial: redial.as_ref().and_then(|redial| mistakes.quantity(redial)),
    }
}

/// Of several links the slowest counts.
fn budget(mistakes: &mut Mistakes, budget: &file::Budget, router: &Router, hosts: &Hosts) -> Budget {
    let round_trip = hosts.nodes.iter().map(|node| node.link.round_trip()).max().unwrap_or_default();
    let measures = Measures { heartbeat: router.heartbeat, round_trip };
    let mut length = |span: &Option<Unit<Span>>| Some(mistakes.quantity(span.as_ref()?)?.length(measures));
    let (failover, outage_p99) = (length(&budget.failover), length(&budget.outage_p99));
    let delivery_p99 = length(&budget.delivery_p99);
    let router_cpu = budget.router_cpu.as_ref().and_then(|share| mistakes.quantity(share));
    let delivery_ratio =
        budget.delivery_ratio.as_ref().filter(|ratio| mistakes.count(ratio, "times longer", 1_000_000));
    Budget { failover, outage_p99, delivery_ratio: delivery_ratio.map(|ratio| ratio.value), delivery_p99, router_cpu }
}

#[cfg(test)]
mod tests;
