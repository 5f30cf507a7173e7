//! A plan for programs: `{"routes":N,"steps":[{"nodes":1,"moved":[...],"table":[...]},...]}` in one line.
//!
//! A step in which a node fails has `"failed":ID` after `nodes`; a route that nobody owns has `null` in `table`.

use std::io::{self, Write};

use super::Plan;

pub(super) fn write(out: &mut dyn Write, plan: &Plan) -> io::Result<()> {
    write!(out, r#"{{"routes":{},"steps":["#, plan.routes)?;
    for (index, step) in plan.steps().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        serde_json::to_writer(&mut *out, &step)?;
    }
    out.write_all(b"]}\n")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::{Format, written};

    #[test]
    fn twenty_four_routes_are_the_table_of_the_proposal() {
        let golden = include_str!("../../../core/tests/golden/routes-24.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        let plan: Value = serde_json::from_str(&written(24, 8, &[], Format::Json)).unwrap();
        assert_eq!(plan["routes"], golden["routes"]);
        assert_eq!(plan["steps"], golden["steps"]);
    }

    #[test]
    fn the_whole_text_is_one_line() {
        let expected = concat!(
            r#"{"routes":2,"steps":[{"nodes":1,"moved":[1,2],"table":[1,1]},"#,
            r#"{"nodes":2,"moved":[2],"table":[1,2]}]}"#,
            "\n"
        );
        assert_eq!(written(2, 3, &[], Format::Json), expected);
    }

    /// The steps after the joins, as they are written.
    fn failures(routes: u16, nodes: u16, failed: &[u16]) -> String {
        let joins = written(routes, nodes, &[], Format::Json);
        let joins = joins.strip_suffix("]}\n").unwrap();
        let whole = written(routes, nodes, failed, Format::Json);
        whole.strip_prefix(joins).expect("the joins come first, as ever").to_owned()
    }

    #[test]
    fn a_failure_undoes_the_last_join_and_names_the_id() {
        let expected = concat!(
            r#",{"nodes":3,"failed":1,"moved":[23,19,7,24,20,8],"#,
            r#""table":[1,1,1,1,1,1,1,1,3,3,3,3,2,2,2,2,2,2,2,2,3,3,3,3]}]}"#,
            "\n"
        );
        assert_eq!(failures(24, 4, &[1]), expected);
    }

    #[test]
    fn nobody_is_null() {
        let expected = concat!(
            r#",{"nodes":1,"failed":1,"moved":[2],"table":[1,1]},"#,
            r#"{"nodes":0,"failed":1,"moved":[2,1],"table":[null,null]}]}"#,
            "\n"
        );
        assert_eq!(failures(2, 2, &[1, 1]), expected);
    }

    #[test]
    fn a_node_in_reserve_takes_over_without_a_move() {
        let expected = concat!(
            r#",{"nodes":2,"failed":1,"moved":[],"table":[1,2]},"#,
            r#"{"nodes":1,"failed":2,"moved":[2],"table":[1,1]}]}"#,
            "\n"
        );
        assert_eq!(failures(2, 3, &[1, 2]), expected);
    }
}
