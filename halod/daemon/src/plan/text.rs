//! A plan for people: a row a route, a column a number of nodes, `*` where a route has just moved.

use std::io::{self, Write};

use super::{Plan, Step};

/// Columns of text that fit a terminal beside each other.
const WIDTH_MAX: usize = 100;

pub(super) fn write(out: &mut dyn Write, plan: Plan) -> io::Result<()> {
    writeln!(out, "{}. * marks a route that moved to the node that joined.", plan.title())?;
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
    fn of(plan: Plan) -> Self {
        let digits = |number: u16| number.to_string().len();
        let heading = digits(plan.routes).max("nodes".len());
        // The line "moved" begins with N, the widest number there is.
        let cell = 2 + digits(plan.routes);
        Self { routes: plan.routes, heading, cell, columns_max: ((WIDTH_MAX - heading) / (cell + 1)).max(1) }
    }

    fn write_columns(&self, out: &mut dyn Write, columns: &[Step]) -> io::Result<()> {
        self.write_row(out, "nodes", columns.iter().map(|step| (step.nodes, false)))?;
        self.write_row(out, "moved", columns.iter().map(|step| (step.moved.len() as u16, false)))?;
        let rule = "-".repeat(self.heading + columns.len() * (self.cell + 1));
        writeln!(out, "{}", rule.trim_end())?;

        let moved: Vec<Vec<bool>> = columns.iter().map(Step::moved_by_index).collect();
        for index in 0..usize::from(self.routes) {
            let cells = columns.iter().zip(&moved).map(|(step, moved)| (step.table[index].number(), moved[index]));
            self.write_row(out, &(index + 1).to_string(), cells)?;
        }
        Ok(())
    }

    fn write_row(
        &self,
        out: &mut dyn Write,
        heading: &str,
        cells: impl Iterator<Item = (u16, bool)>,
    ) -> io::Result<()> {
        let mut row = format!("{heading:>width$}", width = self.heading);
        for (number, moved) in cells {
            row += &format!("{number:>width$}{}", if moved { '*' } else { ' ' }, width = self.cell);
        }
        writeln!(out, "{}", row.trim_end())
    }
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
        assert_eq!(written(5, 4, Format::Text), expected);
    }

    #[test]
    fn a_wide_table_goes_on_below() {
        let text = written(40, 40, Format::Text);
        assert_eq!(text.lines().filter(|line| line.starts_with("nodes")).count(), 3);
        assert!(text.lines().all(|line| line.len() <= super::WIDTH_MAX));
    }

    #[test]
    fn nodes_without_a_route_are_named() {
        let second_line = |nodes| written(2, nodes, Format::Text).lines().nth(1).unwrap_or_default().to_owned();
        assert_eq!(second_line(2), "");
        assert_eq!(second_line(3), "Node 3 stays in reserve: no route is left for it.");
        assert_eq!(second_line(9), "Nodes 3 to 9 stay in reserve: no route is left for them.");
    }
}
