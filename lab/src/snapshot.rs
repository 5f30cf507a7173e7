//! What a scenario has to produce: the part of its outcome that every legal timing yields, as text.
//!
//! An engine fills a [`Snapshot`]; its [`Display`](fmt::Display) is compared with the file of the scenario in
//! `snapshots/`. Counts of attempts and durations are not in it: they belong in the report.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use halod_core::ids::{NodeId, RouteId};

use crate::orbited::Transport;

/// The outcome of a scenario.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The state after each step and what changed in it, in order.
    pub steps: Vec<StepSnapshot>,
    /// What became of the events of each app that had a load, by the app's name.
    pub loads: BTreeMap<String, LoadOutcome>,
    /// What became of the connections of each app that held some, by the app's name.
    pub holds: BTreeMap<String, HoldOutcome>,
}

/// The state after a step and what changed in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepSnapshot {
    /// The verb and its arguments, as written.
    pub step: String,
    /// The owner of each route, from route 1 on.
    pub owners: Vec<Option<NodeId>>,
    /// The name of the node that holds each id.
    pub holders: BTreeMap<NodeId, String>,
    /// The names of the nodes in reserve.
    pub reserve: BTreeSet<String>,
    /// The names of the nodes that are held.
    pub held: BTreeSet<String>,
    /// Who changed node in this step, by the name of the group; a group that is not connected may be left out.
    pub reconnects: BTreeMap<String, Reconnects>,
}

/// How many browsers of a group changed node (first byte from another node; a browser that changes twice counts
/// twice).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reconnects {
    /// Connected browsers whose route moved.
    pub on_moved_routes: u32,
    /// Reconnects among those.
    pub of_moved: u32,
    /// Reconnects among the other browsers of the group.
    pub others: u32,
}

/// What became of the events of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOutcome {
    /// Events dispatched, each counted once however often it was sent.
    pub events: u64,
    /// Events shown by a browser.
    pub shown: u64,
    /// Events that were never shown.
    pub lost: u64,
    /// Events shown more than once.
    pub shown_twice: u64,
    /// Events shown after a later one of the same user.
    pub out_of_order: u64,
    /// Who lost how many: the group of browsers and what they speak. Who lost none may be left out.
    pub lost_by: BTreeMap<(String, Transport), LostCounts>,
}

/// Events that were never shown, by what the app was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LostCounts {
    /// That the browser has it: nobody will ever know.
    pub after_success: u64,
    /// That it failed, or nothing at all: another try might have saved it.
    pub after_failure: u64,
}

/// What became of the connections that an app held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HoldOutcome {
    /// Connections.
    pub flows: u32,
    /// Connections that were answered rightly each time that they were used.
    pub answered: u32,
}

/// Up to this many routes, a row of the table has as many columns as the proposal's example has routes.
const NARROW_ROUTES_MAX: usize = 240;

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = StepSnapshot::default();
        let before = std::iter::once(&start).chain(&self.steps);
        for (number, (step, before)) in self.steps.iter().zip(before).enumerate() {
            writeln!(f, "{}. {}", number + 1, step.step)?;
            step.write_changes(f, before)?;
        }
        if !self.loads.is_empty() || !self.holds.is_empty() {
            writeln!(f, "in the end")?;
        }
        for (app, load) in &self.loads {
            let LoadOutcome { events, shown, lost, shown_twice, out_of_order, lost_by } = load;
            writeln!(
                f,
                "   events of {app}: {events}, {shown} shown, {lost} lost, {shown_twice} shown twice, {out_of_order} out of order"
            )?;
            for ((group, transport), LostCounts { after_success, after_failure }) in lost_by {
                writeln!(
                    f,
                    "   lost by {group} over {transport}: {after_success} after Success, {after_failure} after Failure"
                )?;
            }
        }
        for (app, HoldOutcome { flows, answered }) in &self.holds {
            writeln!(f, "   flows held by {app}: {flows}, {answered} answered")?;
        }
        Ok(())
    }
}

impl Snapshot {
    /// How many routes changed owner, over all steps.
    pub fn moves(&self) -> usize {
        let start = StepSnapshot::default();
        let before = std::iter::once(&start).chain(&self.steps);
        self.steps.iter().zip(before).map(|(step, before)| step.moved_since(before).len()).sum()
    }
}

impl StepSnapshot {
    /// The routes whose owner is another node, by name, than in `before`, or that had none.
    pub fn moved_since(&self, before: &StepSnapshot) -> BTreeSet<RouteId> {
        let routes = (0..self.owners.len()).map(RouteId::from_index);
        routes.filter(|&route| self.owner(route).is_some_and(|owner| before.owner(route) != Some(owner))).collect()
    }

    /// The name of the node that owns `route`.
    fn owner(&self, route: RouteId) -> Option<&str> {
        let id = self.owners.get(route.index()).copied().flatten()?;
        self.holders.get(&id).map(String::as_str)
    }

    /// What is different from `before`; a line that says so if nothing is.
    fn write_changes(&self, f: &mut fmt::Formatter<'_>, before: &StepSnapshot) -> fmt::Result {
        let mut quiet = true;
        if self.owners != before.owners && !self.owners.is_empty() {
            write_table(f, &self.owners)?;
            quiet = false;
        }
        if self.holders != before.holders {
            let holders = self.holders.iter().map(|(id, name)| format!("{id}={name}"));
            writeln!(f, "   holders: {}", words(holders))?;
            quiet = false;
        }
        if self.reserve != before.reserve {
            writeln!(f, "   reserve: {}", words(self.reserve.iter().cloned()))?;
            quiet = false;
        }
        if self.held != before.held {
            writeln!(f, "   held: {}", words(self.held.iter().cloned()))?;
            quiet = false;
        }
        let moved = self.moved_since(before);
        if !moved.is_empty() {
            writeln!(f, "   moved {}: {}", moved.len(), Ranges(&moved))?;
            quiet = false;
        }
        for (group, reconnects) in &self.reconnects {
            let Reconnects { on_moved_routes, of_moved, others } = reconnects;
            if (*on_moved_routes, *of_moved, *others) != (0, 0, 0) {
                writeln!(f, "   reconnects {group}: {of_moved} of {on_moved_routes} on moved routes, {others} others")?;
                quiet = false;
            }
        }
        if quiet { writeln!(f, "   nothing moved") } else { Ok(()) }
    }
}

/// The table in aligned columns, each row with the number of its first route.
pub(crate) fn write_table(f: &mut fmt::Formatter<'_>, owners: &[Option<NodeId>]) -> fmt::Result {
    let columns = if owners.len() <= NARROW_ROUTES_MAX { 24 } else { 32 };
    let highest = owners.iter().flatten().map(|id| id.number()).max().unwrap_or(0);
    let (id_width, route_width) = (highest.to_string().len(), owners.len().to_string().len());
    for (row, owners) in owners.chunks(columns).enumerate() {
        write!(f, "   {:>route_width$} |", row * columns + 1)?;
        for owner in owners {
            let owner = owner.map_or(".".to_owned(), |id| id.to_string());
            write!(f, " {owner:>id_width$}")?;
        }
        writeln!(f)?;
    }
    Ok(())
}

fn words(items: impl Iterator<Item = String>) -> String {
    let words = items.collect::<Vec<_>>().join(" ");
    if words.is_empty() { "none".to_owned() } else { words }
}

/// Routes in ascending order; three or more in a row as `1-24`.
struct Ranges<'a>(&'a BTreeSet<RouteId>);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(u16, u16)> = Vec::new();
        for route in self.0.iter().map(|route| route.number()) {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == route => *last = route,
                _ => runs.push((route, route)),
            }
        }
        let runs = runs.into_iter().map(|(first, last)| match last - first {
            0 => first.to_string(),
            1 => format!("{first} {last}"),
            _ => format!("{first}-{last}"),
        });
        f.write_str(&runs.collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(ids: &[u16]) -> Vec<Option<NodeId>> {
        ids.iter().map(|&id| NodeId::new(id)).collect()
    }

    fn routes(numbers: impl IntoIterator<Item = u16>) -> BTreeSet<RouteId> {
        numbers.into_iter().filter_map(RouteId::new).collect()
    }

    fn holders(names: &[&str]) -> BTreeMap<NodeId, String> {
        names.iter().enumerate().map(|(index, name)| (NodeId::from_index(index), name.to_string())).collect()
    }

    fn reconnects(on_moved_routes: u32, of_moved: u32, others: u32) -> BTreeMap<String, Reconnects> {
        BTreeMap::from([("b".to_owned(), Reconnects { on_moved_routes, of_moved, others })])
    }

    fn check(snapshot: &Snapshot, expected: &str) {
        assert_eq!(snapshot.to_string(), expected);
    }

    #[test]
    fn a_scenario_from_its_first_step_to_its_last() {
        let first = StepSnapshot {
            step: "join: n1".into(),
            owners: owners(&[1; 24]),
            holders: holders(&["n1"]),
            ..Default::default()
        };
        let connect = StepSnapshot { step: "connect: b".into(), ..first.clone() };
        let mut table = [1; 24];
        for route in [6, 18, 22, 23, 24] {
            table[route - 1] = 2;
        }
        let second = StepSnapshot {
            step: "join: n2".into(),
            owners: owners(&table),
            holders: holders(&["n1", "n2"]),
            reserve: BTreeSet::from(["n3".into(), "n4".into()]),
            held: BTreeSet::from(["n5".into()]),
            reconnects: reconnects(40, 40, 0),
        };
        let left = StepSnapshot { step: "leave: n2".into(), owners: vec![None; 24], ..Default::default() };
        let lost_by = [((String::from("b"), Transport::XhrStream), LostCounts { after_success: 0, after_failure: 1 })];
        let load = LoadOutcome {
            events: 2000,
            shown: 1999,
            lost: 1,
            shown_twice: 2,
            out_of_order: 3,
            lost_by: BTreeMap::from(lost_by),
        };
        let snapshot = Snapshot {
            steps: vec![first, connect, second, left],
            loads: BTreeMap::from([("a".into(), load)]),
            holds: BTreeMap::from([("h".into(), HoldOutcome { flows: 1024, answered: 1023 })]),
        };
        assert_eq!(snapshot.moves(), 24 + 5);
        check(
            &snapshot,
            "\
1. join: n1
    1 | 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
   holders: 1=n1
   moved 24: 1-24
2. connect: b
   nothing moved
3. join: n2
    1 | 1 1 1 1 1 2 1 1 1 1 1 1 1 1 1 1 1 2 1 1 1 2 2 2
   holders: 1=n1 2=n2
   reserve: n3 n4
   held: n5
   moved 5: 6 18 22-24
   reconnects b: 40 of 40 on moved routes, 0 others
4. leave: n2
    1 | . . . . . . . . . . . . . . . . . . . . . . . .
   holders: none
   reserve: none
   held: none
in the end
   events of a: 2000, 1999 shown, 1 lost, 2 shown twice, 3 out of order
   lost by b over xhr_stream: 0 after Success, 1 after Failure
   flows held by h: 1024, 1023 answered
",
        );
    }

    #[test]
    fn what_moves_is_the_difference_by_name_and_columns_are_aligned() {
        let before = StepSnapshot { owners: owners(&[1, 2, 0]), holders: holders(&["n1", "n2"]), ..Default::default() };
        let mut after =
            StepSnapshot { owners: owners(&[3, 2, 10]), holders: holders(&["n4", "n3"]), ..Default::default() };
        after.holders.extend([(NodeId::from_index(2), "n1".into()), (NodeId::from_index(9), "n5".into())]);
        assert_eq!(after.moved_since(&before), routes([2, 3]));
        let text = Snapshot { steps: vec![before, after], ..Default::default() }.to_string();
        assert!(text.contains("\n   1 | 1 2 .\n"), "{text}");
        assert!(text.contains("\n   1 |  3  2 10\n"), "{text}");
    }

    #[test]
    fn a_large_table_has_rows_of_32() {
        let step = StepSnapshot { step: "join: n1".into(), owners: owners(&[1; 256]), ..Default::default() };
        let text = Snapshot { steps: vec![step], ..Default::default() }.to_string();
        let rows: Vec<&str> = text.lines().skip(1).map(|row| &row[..6]).collect();
        assert_eq!(rows, ["     1", "    33", "    65", "    97", "   129", "   161", "   193", "   225"]);
    }

    #[test]
    fn two_neighbours_make_no_range() {
        assert_eq!(Ranges(&routes([1, 2, 4, 6, 7, 8, 24])).to_string(), "1 2 4 6-8 24");
    }
}
