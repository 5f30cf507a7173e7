//! Losses under the same circumstances, as scenarios: one node after another is lost, and another one joins in its place,
//! always under a fresh name, for HaloD holds back a name that keeps dying.

use std::time::Duration;

use super::{ACTIVE, BROWSERS, DEATHS_DEFAULT, HEARTBEAT, Kind, MISSES};
use crate::scenario::Scenario;

/// How long nothing happens before a node is lost, at least. When a join has come to rest, first bytes of browsers that
/// changed node are still under way; and a browser that loses a connection of less than 20 ms backs off.
const REST: Duration = Duration::from_millis(50);
/// Each death takes a host of its own; a world with more hosts takes longer to build than two.
const DEATHS_PER_WORLD: usize = 64;

/// Losses under the same circumstances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// How nodes are lost.
    pub kind: Kind,
    /// Nodes in reserve.
    pub reserve: u16,
    /// Number of routes.
    pub routes: u16,
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// How many nodes are lost.
    pub deaths: usize,
}

impl Cell {
    /// A cell for each kind and number of routes, without a reserve and with one. `count` deaths in each, or
    /// [`DEATHS_DEFAULT`] spread over all.
    pub fn grid(kinds: &[Kind], routes: &[u16], count: Option<usize>) -> Vec<Cell> {
        let mut cells = Vec::new();
        for &kind in kinds {
            for reserve in [0, 1] {
                cells.extend(routes.iter().map(|&routes| Cell {
                    kind,
                    reserve,
                    routes,
                    heartbeat: HEARTBEAT,
                    deaths: 0,
                }));
            }
        }
        let number = cells.len();
        for (index, cell) in cells.iter_mut().enumerate() {
            cell.deaths = count.unwrap_or(DEATHS_DEFAULT / number + usize::from(index < DEATHS_DEFAULT % number));
        }
        cells
    }

    /// One scenario for each world.
    pub fn scenarios(self) -> Vec<Scenario> {
        let worlds = self.deaths.div_ceil(DEATHS_PER_WORLD);
        let deaths = |world| DEATHS_PER_WORLD.min(self.deaths - world * DEATHS_PER_WORLD);
        (0..worlds).map(|world| self.scenario(world, deaths(world))).collect()
    }

    fn scenario(self, world: usize, deaths: usize) -> Scenario {
        let text = self.text(world, deaths);
        Scenario::parse("bench-failover.yaml", &text).unwrap_or_else(|mistakes| panic!("its own text: {mistakes}"))
    }

    /// The scenario of a world, as a file would say it.
    fn text(self, world: usize, deaths: usize) -> String {
        let Cell { kind, reserve, routes, .. } = self;
        let first = ACTIVE + usize::from(reserve);
        let (nodes, heartbeat) = (first + deaths, self.heartbeat.as_millis());
        let mut text = format!(
            "scenario: bench-failover\n\
             about: One node after another is lost.\n\
             seed: {world}\n\
             router: {{routes: {routes}, reserve: {reserve}, heartbeat: {heartbeat}ms, misses: {MISSES}}}\n\
             nodes: {{n: {nodes}}}\n\
             browsers: {{b: {{count: {BROWSERS}, transports: [iframe, xhr_stream, sse, xhr]}}}}\n\
             links: {{default: {{delay: 1ms}}}}\n\
             steps:\n\
             - join: n1..n{first}\n\
             - connect: b\n  expect: [{{connected: {BROWSERS}}}]\n"
        );
        for (death, (lost, joins)) in replacements(first, usize::from(reserve), deaths).enumerate() {
            let (verb, rest) = (kind.verb(), self.rest(death).as_millis());
            text +=
                &format!("- wait: {rest}ms\n- {verb}: n{lost}\n  expect: [{{failover: n{lost}}}]\n- join: n{joins}\n");
        }
        text
    }

    /// How long nothing happens before this death.
    pub(super) fn rest(self, death: usize) -> Duration {
        // Multiples of a prime, for many different times between two heartbeats.
        let spread = (death as u64 * 17) % self.heartbeat.as_millis() as u64;
        REST + Duration::from_millis(spread)
    }
}

/// Who is lost and who joins in its place, by number, from a world of `first` nodes of which `reserve` (0 or 1) wait. The
/// node in reserve is never the one that is lost; of the others each place is, in turn, the highest id among them.
fn replacements(first: usize, reserve: usize, deaths: usize) -> impl Iterator<Item = (usize, usize)> {
    // By the time for which they are active; who waits in reserve is last. The first node to join is active in any
    // case, so the second waits.
    let mut nodes: Vec<usize> = (1..=first).collect();
    nodes[1..].rotate_left(reserve);
    (0..deaths).map(move |death| {
        let lost = nodes.remove(death % ACTIVE);
        let joins = first + 1 + death;
        nodes.push(joins);
        (lost, joins)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_number_of_deaths_is_spread_over_all_cells() {
        let kinds = [Kind::Crash, Kind::PowerOff, Kind::Hang, Kind::Cut];
        let cells = Cell::grid(&kinds, &[24, 1024], None);
        assert_eq!(cells.len(), 16);
        assert_eq!(cells.iter().map(|cell| cell.deaths).sum::<usize>(), DEATHS_DEFAULT);
        assert_eq!(
            Cell::grid(&[Kind::Hang], &[24], Some(7)),
            [0, 1].map(|reserve| Cell { kind: Kind::Hang, reserve, routes: 24, heartbeat: HEARTBEAT, deaths: 7 })
        );
    }

    #[test]
    fn every_name_is_lost_once_and_each_place_in_turn() {
        let of = |reserve| replacements(ACTIVE + reserve, reserve, 6).collect::<Vec<_>>();
        assert_eq!(of(0), [(1, 5), (3, 6), (5, 7), (7, 8), (2, 9), (6, 10)]);
        // The second node waits until the first is lost, then the sixth does.
        assert_eq!(of(1), [(1, 6), (4, 7), (2, 8), (7, 9), (3, 10), (6, 11)]);
    }

    #[test]
    fn every_cell_makes_scenarios_with_all_its_deaths() {
        for cell in Cell::grid(&[Kind::Crash, Kind::Cut], &[24], Some(DEATHS_PER_WORLD + 1)) {
            let steps: Vec<usize> = cell.scenarios().iter().map(|scenario| scenario.steps.len()).collect();
            assert_eq!(steps, [2 + 3 * DEATHS_PER_WORLD, 5]);
        }
    }
}
