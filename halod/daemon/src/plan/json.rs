//! A plan for programs: `{"routes":N,"steps":[{"nodes":1,"moved":[...],"table":[...]},...]}` in one line.

use std::io::{self, Write};

use super::Plan;

pub(super) fn write(out: &mut dyn Write, plan: Plan) -> io::Result<()> {
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
        let plan: Value = serde_json::from_str(&written(24, 8, Format::Json)).unwrap();
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
        assert_eq!(written(2, 3, Format::Json), expected);
    }
}
