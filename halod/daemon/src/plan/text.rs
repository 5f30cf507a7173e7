//! A plan for people: a row a route, a column a number of nodes, then one a failure; `*` where a route has just moved.

use std::io::{self, Write};

use halod_core::ids::NodeId;

use super::{Plan, Step};

/// Columns of text that fit a terminal beside each other.
const WIDTH_MAX: usize = 100;

pub(super) fn write(out: &mut dyn Write, plan: &Plan) -> io::Result<()> {
    match plan.on_failure() {
        None => writeln!(out, "{}. * marks a route that moved to the node that joined.", plan.title())?,
        Some(on_failure) => {
            writeln!(out, "{}. * marks a route whose id has just changed.", plan.title())?;
            writeln!(out, "{on_failure}")?;
        }
    }
    if let Some(in_reserve) = plan.in_reserve() {
        writeln!(out, "{in_reserve}")?;
    }

    let layout = Layout::of(plan);
    let mut steps = plan.steps();
    loop {
        let columns: Vec<Step> = steps.by_ref().take(layout.columns_max).collect();
        if columns.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        layout.write_columns(out, &columns)?;
    }
}

/// How wide things are.
struct Layout {
    routes: u16,
    heading: usize,
    cell: usize,
    columns_max: usize,
}

impl Layout {
    fn of(plan: &Plan) -> Self {
        let digits = |number: u16| number.to_string().len();
        let heading = digits(plan.routes).max("nodes".len());
        // The line "moved" begins with N, the widest number there is.
        let cell = 2 + digits(plan.routes);
        Self { routes: plan.routes, heading, cell, columns_max: ((WIDTH_MAX - heading) / (cell + 1)).max(1) }
    }

    fn write_columns(&self, out: &mut dyn Write, columns: &[Step]) -> io::Result<()> {
        let number = |number: usize| (number.to_string(), false);
        self.write_row(out, "nodes", columns.iter().map(|step| number(step.nodes)))?;
        if columns.iter().any(|step| step.failed.is_some()) {
            self.write_row(out, "lost", columns.iter().map(|step| (name(step.failed, ""), false)))?;
        }
        self.write_row(out, "moved", columns.iter().map(|step| number(step.moved.len())))?;
        let rule = "-".repeat(self.heading + columns.len() * (self.cell + 1));
        writeln!(out, "{}", rule.trim_end())?;

        let moved: Vec<Vec<bool>> = columns.iter().map(Step::moved_by_index).collect();
        for index in 0..usize::from(self.routes) {
            let cells = columns.iter().zip(&moved).map(|(step, moved)| (name(step.table[index], "-"), moved[index]));
            self.write_row(out, &(index + 1).to_string(), cells)?;
        }
        Ok(())
    }

    /// One line: what stands in each cell, and whether it is marked.
    fn write_row(
        &self,
        out: &mut dyn Write,
        heading: &str,
        cells: impl Iterator<Item = (String, bool)>,
    ) -> io::Result<()> {
        let mut row = format!("{heading:>width$}", width = self.heading);
        for (content, is_marked) in cells {
            row += &format!("{content:>width$}{}", if is_marked { '*' } else { ' ' }, width = self.cell);
        }
        writeln!(out, "{}", row.trim_end())
    }
}

/// The number of `node`, or what stands for nobody.
fn name(node: Option<NodeId>, nobody: &str) -> String {
    node.map_or_else(|| nobody.to_owned(), |node| node.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::{Format, written};

    #[test]
    fn routes_are_rows_and_steps_are_columns() {
        let expected = "\
5 routes on 1 to 4 nodes. * marks a route that moved to the node that joined.

nodes  1   2   3   4
moved  5   2   1   1
---------------------
    1  1*  1   1   1
    2  1*  1   1   4*
    3  1*  1   3*  3
    4  1*  2*  2   2
    5  1*  2*  2   2
";
        assert_eq!(written(5, 4, &[], Format::Text), expected);
    }

    #[test]
    fn failures_are_further_columns() {
        let expected = "\
5 routes on 1 to 3 nodes, 3 lost. * marks a route whose id has just changed.
The highest id's node takes over a lost id; its own routes return.

nodes  1   2   3   2   1   0
 lost              2   2   1
moved  5   2   1   1   2   5
-----------------------------
    1  1*  1   1   1   1   -*
    2  1*  1   1   1   1   -*
    3  1*  1   3*  1*  1   -*
    4  1*  2*  2   2   1*  -*
    5  1*  2*  2   2   1*  -*
";
        assert_eq!(written(5, 3, &[2, 2, 1], Format::Text), expected);
    }

    #[test]
    fn a_wide_table_goes_on_below() {
        let text = written(40, 40, &[], Format::Text);
        assert_eq!(text.lines().filter(|line| line.starts_with("nodes")).count(), 3);
        assert!(text.lines().all(|line| line.len() <= super::WIDTH_MAX));
    }

    #[test]
    fn a_reserve_is_said_to_take_over() {
        let text = written(2, 3, &[1], Format::Text);
        assert!(text.contains("\nA node in reserve takes over a lost id, else the highest id's.\n"));
        assert!(text.contains("\nmoved  2   1   0\n"), "{text}");
    }

    #[test]
    fn nodes_without_a_route_are_named() {
        let second_line = |nodes| written(2, nodes, &[], Format::Text).lines().nth(1).unwrap_or_default().to_owned();
        assert_eq!(second_line(2), "");
        assert_eq!(second_line(3), "Node 3 stays in reserve: no route is left for it.");
        assert_eq!(second_line(9), "Nodes 3 to 9 stay in reserve: no route is left for them.");
    }
}
