//! Makes a failing case smaller as long as it fails in the same way.

use halod_core::plane::PlaneKind;

use super::case::{Act, Case, LinkSpec};
use super::{Failure, run};

/// Runs that a search for a smaller case may take.
const RUNS_MAX: usize = 1_500;

/// The smallest case that was found to fail like `case`, and how it fails. `progress` hears of each that is smaller.
pub fn shrink(case: &Case, failure: &Failure, mut progress: impl FnMut(&Case)) -> (Case, Failure) {
    let (mut best, mut best_failure) = (case.clone(), failure.clone());
    let mut runs = 0;
    // What did not help before may help once something else is gone.
    loop {
        let before = best.clone();
        let mut index = 0;
        loop {
            let candidate = candidates(&best).nth(index);
            let Some(candidate) = candidate else { break };
            index += 1;
            if runs == RUNS_MAX {
                return (best, best_failure);
            }
            runs += 1;
            match run(&candidate).failure {
                Some(failure) if failure.kind == best_failure.kind => {
                    (best, best_failure) = (candidate, failure);
                    progress(&best);
                    // The list of candidates is another one now, of which those before `index` are much the same.
                    index = index.saturating_sub(1);
                }
                _ => {}
            }
        }
        if best == before {
            return (best, best_failure);
        }
    }
}

/// Cases that are a little smaller, the boldest first.
fn candidates(case: &Case) -> impl Iterator<Item = Case> {
    without_acts(case).chain(smaller_cluster(case)).chain(calmer(case)).chain(rounder(case))
}

/// Half of the acts, a quarter and so on, at every place.
fn without_acts(case: &Case) -> impl Iterator<Item = Case> {
    let count = case.acts.len();
    let lengths = std::iter::successors(Some(count / 2), |length| Some(length / 2)).take_while(|&length| length > 0);
    lengths.flat_map(move |length| {
        (0..count).step_by(length).map(move |start| {
            let mut smaller = case.clone();
            smaller.acts.drain(start..count.min(start + length));
            smaller
        })
    })
}

fn smaller_cluster(case: &Case) -> impl Iterator<Item = Case> {
    let halves =
        |number: u32| [1, number / 2, number.saturating_sub(1)].into_iter().filter(move |&n| 0 < n && n < number);
    let small = |number: u16| halves(number.into()).map(|number| number as u16);
    let nodes = small(case.nodes).map(|nodes| Case { nodes, acts: within(&case.acts, nodes), ..case.clone() });
    let browsers = small(case.browsers).map(|browsers| Case { browsers, ..case.clone() });
    let routes = small(case.routes).map(|routes| Case { routes, ..case.clone() });
    let no_events = (case.events > 0).then(|| Case { events: 0, ..case.clone() });
    let events = halves(case.events).map(|events| Case { events, ..case.clone() });
    let one_transport = case.transports.iter().filter(|_| case.transports.len() > 1);
    let transports = one_transport.map(|&transport| Case { transports: vec![transport], ..case.clone() });
    nodes.chain(browsers).chain(routes).chain(no_events).chain(events).chain(transports)
}

/// Without the acts of nodes that there are not any more.
fn within(acts: &[Act], nodes: u16) -> Vec<Act> {
    acts.iter().filter(|act| act.deed.node().is_none_or(|node| node <= nodes)).copied().collect()
}

/// Without what makes it special.
fn calmer(case: &Case) -> impl Iterator<Item = Case> {
    let quiet = LinkSpec { delay_max: case.link.delay_min, reorders: false, loss: 0, ..case.link };
    let once = LinkSpec { duplicates: 0, ..case.link };
    let plain = LinkSpec { delay_min: 1, delay_max: 1, reorders: false, loss: 0, duplicates: 0 };
    [
        Case { link: once, ..case.clone() },
        Case { link: quiet, ..case.clone() },
        Case { link: plain, ..case.clone() },
        Case { plane: PlaneKind::Rewrite, ..case.clone() },
        Case { survey: 0, ..case.clone() },
        Case { masquerade: false, ..case.clone() },
        Case { pace: None, ..case.clone() },
        Case { reserve: 0, ..case.clone() },
        Case { drain: 10_000, ..case.clone() },
        Case { misses: 3, ..case.clone() },
        Case { heartbeat: 50, ..case.clone() },
    ]
    .into_iter()
    .filter(move |calmer| calmer != case)
}

/// Times that are easier to read.
fn rounder(case: &Case) -> impl Iterator<Item = Case> {
    (0..case.acts.len()).flat_map(move |index| {
        let after = case.acts[index].after;
        let rounds = [0, 1, 10, 100, 1_000, after / 100 * 100, after / 10 * 10];
        rounds.into_iter().filter(move |&round| round < after).map(move |round| {
            let mut rounder = case.clone();
            rounder.acts[index].after = round;
            rounder
        })
    })
}
