//! The picture of the proposal: routes down, nodes across, a colour a node.
//!
//! A route that has just moved is drawn in full colour, one that stayed is paler; the number of nodes above a column
//! has the colour of the node that joined, and so is the legend too.
//!
//! Failures follow to the right: the number of nodes left stands in a ring of the lost id's colour, which is named
//! above it.

mod palette;

use std::io::{self, Write};
use std::ops::RangeInclusive;

use halod_core::ids::NodeId;

use self::palette::Colour;
use super::{Plan, Step};

const MARGIN: f64 = 28.0;
/// Above the cells: title, the axis, the numbers of nodes; the notes come on top of it.
const HEAD: f64 = 108.0;
const NOTE_HEIGHT: f64 = 18.0;
/// Left of the cells: the numbers of routes.
const SIDE: f64 = 58.0;
/// Below the cells: how many routes moved.
const FOOT: f64 = 30.0;
/// Room for the title and the text, however few nodes there are.
const WIDTH_MIN: f64 = 480.0;
const CELL_WIDTH: f64 = 50.0;
/// Between the nodes that join and those that fail.
const GAP: f64 = 14.0;
/// Cells shrink to keep the picture about this high, but stay visible.
const HEIGHT_AIM: f64 = 1600.0;
const CELL_HEIGHT: RangeInclusive<f64> = 2.0..=25.0;
/// A cell lower than this has no room for a number, nor for a gap.
const LABELLED_HEIGHT_MIN: f64 = 13.0;

const INK: &str = "#1f2328";
const FAINT: &str = "#6b7280";

pub(super) fn write(out: &mut dyn Write, plan: &Plan) -> io::Result<()> {
    let layout = Layout::of(plan);
    layout.write_head(out, plan)?;
    layout.write_axes(out)?;
    for (column, step) in plan.steps().enumerate() {
        layout.write_step(out, column, &step)?;
    }
    writeln!(out, "</svg>")
}

/// What must be said in words, a line each.
fn notes(plan: &Plan) -> Vec<String> {
    let colours = match plan.on_failure() {
        None => "Full colour: the route has just moved to the node that joined.",
        Some(_) => "Full colour: the route's id has just changed.",
    };
    let rest = plan.on_failure().map(str::to_owned).into_iter().chain(plan.in_reserve());
    std::iter::once(colours.to_owned()).chain(rest).collect()
}

/// Where things are, in pixels.
struct Layout {
    routes: u16,
    joins: usize,
    failures: usize,
    cell_height: f64,
    /// Where the cells begin.
    top: f64,
}

impl Layout {
    const LEFT: f64 = MARGIN + SIDE;

    fn of(plan: &Plan) -> Self {
        let fitting = (HEIGHT_AIM / f64::from(plan.routes)).floor();
        let cell_height = fitting.clamp(*CELL_HEIGHT.start(), *CELL_HEIGHT.end());
        Self {
            routes: plan.routes,
            joins: usize::from(plan.active()),
            failures: plan.failed.len(),
            cell_height,
            top: MARGIN + HEAD + notes(plan).len() as f64 * NOTE_HEIGHT,
        }
    }

    fn bottom(&self) -> f64 {
        self.top + f64::from(self.routes) * self.cell_height
    }

    /// Where column `column` begins, counted from 0.
    fn left(&self, column: usize) -> f64 {
        let gap = if column < self.joins { 0.0 } else { GAP };
        Self::LEFT + column as f64 * CELL_WIDTH + gap
    }

    /// Where the last column ends.
    fn right(&self) -> f64 {
        self.left(self.joins + self.failures - 1) + CELL_WIDTH
    }

    fn is_labelled(&self) -> bool {
        self.cell_height >= LABELLED_HEIGHT_MIN
    }

    fn write_head(&self, out: &mut dyn Write, plan: &Plan) -> io::Result<()> {
        let width = (self.right() + MARGIN).max(WIDTH_MIN);
        let height = self.bottom() + FOOT + MARGIN;
        write!(out, r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" "#)?;
        write!(out, r#"viewBox="0 0 {width} {height}" fill="{INK}" text-anchor="middle" "#)?;
        writeln!(out, r#"font-family="Helvetica, Arial, 'DejaVu Sans', sans-serif" font-size="13">"#)?;
        writeln!(out, "<title>{}</title>", plan.title())?;
        writeln!(out, r#"<rect width="100%" height="100%" fill="white"/>"#)?;

        let title = format!(r#"text-anchor="start" font-size="22" font-weight="bold" x="{MARGIN}""#);
        write_text(out, &title, MARGIN + 20.0, plan.title())?;
        let note = format!(r#"text-anchor="start" fill="{FAINT}" x="{MARGIN}""#);
        for (index, line) in notes(plan).into_iter().enumerate() {
            write_text(out, &note, MARGIN + 44.0 + index as f64 * NOTE_HEIGHT, line)?;
        }
        Ok(())
    }

    fn write_axes(&self, out: &mut dyn Write) -> io::Result<()> {
        let middle = f64::midpoint(Self::LEFT, self.left(self.joins - 1) + CELL_WIDTH);
        write_text(out, &format!(r#"fill="{FAINT}" x="{middle}""#), self.top - 42.0, "nodes")?;
        let side = format!(r#"text-anchor="end" fill="{FAINT}" x="{}""#, Self::LEFT - 10.0);
        write_text(out, &side, self.top - 14.0, "route")?;
        write_text(out, &side, self.bottom() + 22.0, "moved")?;
        for route in self.ticks() {
            let middle = self.top + (f64::from(route) - 0.5) * self.cell_height;
            write_text(out, &side, middle + 4.5, route)?;
        }
        Ok(())
    }

    /// The routes whose number stands beside their row: all of them, or the first and every so many.
    fn ticks(&self) -> impl Iterator<Item = u16> {
        const DISTANCE_MIN: f64 = 15.0;
        let is_apart = |every: &u16| f64::from(*every) * self.cell_height >= DISTANCE_MIN;
        let every = (0..16).map(|power| 1 << power).find(is_apart).unwrap_or(1 << 15);
        (1..=self.routes).filter(move |route| every == 1 || *route == 1 || route % every == 0)
    }

    fn write_step(&self, out: &mut dyn Write, column: usize, step: &Step) -> io::Result<()> {
        let left = self.left(column);
        let middle = left + CELL_WIDTH / 2.0;
        match step.failed {
            None => self.write_join_head(out, step.nodes, middle)?,
            Some(failed) => self.write_failure_head(out, failed, step.nodes, middle)?,
        }
        for (index, (owner, moved)) in step.table.iter().zip(step.moved_by_index()).enumerate() {
            let top = self.top + index as f64 * self.cell_height;
            let full = owner.map_or(Colour::NOBODY, Colour::of);
            let colour = if moved { full } else { full.paler() };
            self.write_cell(out, left, top, colour)?;
            if self.is_labelled() {
                let weight = if moved { r#" font-weight="bold""# } else { "" };
                let attributes = format!(r#"x="{middle}" fill="{}"{weight}"#, colour.readable_ink());
                let name = owner.map_or_else(|| "-".to_owned(), |owner| owner.to_string());
                write_text(out, &attributes, top + self.cell_height / 2.0 + 4.5, name)?;
            }
        }
        let attributes = format!(r#"x="{middle}" fill="{FAINT}""#);
        write_text(out, &attributes, self.bottom() + 22.0, step.moved.len())
    }

    fn write_join_head(&self, out: &mut dyn Write, nodes: usize, middle: f64) -> io::Result<()> {
        const RADIUS: f64 = 13.0;
        let colour = Colour::of(NodeId::from_index(nodes - 1));
        let y = self.top - 19.0;
        writeln!(out, r#"<circle cx="{middle}" cy="{y}" r="{RADIUS}" fill="{colour}"/>"#)?;
        let attributes = format!(r#"x="{middle}" font-weight="bold" fill="{}""#, colour.readable_ink());
        write_text(out, &attributes, y + 4.5, nodes)
    }

    /// "id 2 lost" over the number of nodes left.
    fn write_failure_head(&self, out: &mut dyn Write, failed: NodeId, nodes: usize, middle: f64) -> io::Result<()> {
        const RADIUS: f64 = 11.5;
        let colour = Colour::of(failed);
        let y = self.top - 19.0;
        let small = format!(r#"x="{middle}" font-size="11" fill="{FAINT}""#);
        write_text(out, &small, self.top - 50.0, format_args!("id {failed}"))?;
        write_text(out, &small, self.top - 38.0, "lost")?;
        write!(out, r#"<circle cx="{middle}" cy="{y}" r="{RADIUS}" "#)?;
        writeln!(out, r#"fill="white" stroke="{colour}" stroke-width="3"/>"#)?;
        write_text(out, &format!(r#"x="{middle}" font-weight="bold""#), y + 4.5, nodes)
    }

    fn write_cell(&self, out: &mut dyn Write, left: f64, top: f64, colour: Colour) -> io::Result<()> {
        let (gap, radius) = if self.is_labelled() { (1.0, 3.0) } else { (0.0, 0.0) };
        let (x, y) = (left + 1.0, top + gap / 2.0);
        let (width, height) = (CELL_WIDTH - 2.0, self.cell_height - gap);
        writeln!(out, r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}" fill="{colour}"/>"#)
    }
}

/// A line of text with its baseline at `y`. Nothing that is drawn needs escaping.
fn write_text(out: &mut dyn Write, attributes: &str, y: f64, content: impl std::fmt::Display) -> io::Result<()> {
    writeln!(out, r#"<text {attributes} y="{y}">{content}</text>"#)
}

#[cfg(test)]
mod tests {
    use super::super::{Format, written};

    #[test]
    fn a_cell_a_route_and_step_with_its_owner_in_it() {
        let svg = written(24, 8, &[], Format::Svg);
        assert_eq!(svg.matches("<rect x=").count(), 24 * 8);
        // 192 cells, 8 heads, 8 feet, 24 routes, 3 words, a title and a note.
        assert_eq!(svg.matches("<text ").count(), 192 + 8 + 8 + 24 + 3 + 2);
        assert_eq!(svg.matches("font-weight=\"bold\"").count(), 1 + 8 + (24 + 12 + 8 + 6 + 4 + 4 + 3 + 3));
    }

    #[test]
    fn a_failure_is_one_more_column_under_the_lost_id() {
        let svg = written(24, 4, &[2, 1], Format::Svg);
        assert_eq!(svg.matches("<rect x=").count(), 24 * 6);
        assert_eq!(svg.matches(">lost<").count(), 2);
        let heads = [">nodes<", ">4<", ">id 2<", ">3<", ">id 1<", ">2<"];
        let in_order = heads.iter().try_fold(svg.as_str(), |rest, head| Some(rest.split_once(head)?.1));
        assert!(in_order.is_some(), "{heads:?} from left to right");
    }

    #[test]
    fn low_cells_have_no_numbers() {
        let svg = written(1024, 2, &[], Format::Svg);
        assert_eq!(svg.matches("<rect x=").count(), 2048);
        assert!(!svg.contains(">1023<"), "only every so many routes have their number");
    }

    #[test]
    fn nodes_without_a_route_are_named() {
        assert!(written(5, 9, &[], Format::Svg).contains(">Nodes 6 to 9 stay in reserve: no route is left for them.<"));
    }
}
