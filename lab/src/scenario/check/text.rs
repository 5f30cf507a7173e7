//! A step as it is written, for the heading of its part of the snapshot.

/// The step that begins at byte `start`, without its expectations and comments, in one line.
pub(super) fn as_written(source: &str, start: usize) -> String {
    let column = start - source[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let mut lines = source[start..].lines();
    let first = lines.next().unwrap_or_default();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let rest = lines
        .take_while(|line| line.trim().is_empty() || indent(line) >= column)
        .take_while(|line| !(indent(line) == column && line.trim_start().starts_with("expect:")));
    let words = std::iter::once(first).chain(rest).flat_map(|line| without_comment(line).split_whitespace());
    words.collect::<Vec<_>>().join(" ")
}

/// `line` up to a comment; a `#` in a quoted text begins none.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (index, c) in line.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            None if (c == '"' || c == '\'') && !before.is_alphanumeric() => quote = Some(c),
            None if c == '#' && before.is_whitespace() => return &line[..index],
            _ => {}
        }
        before = c;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_shown_in_one_line_without_expectations_and_comments() {
        let source = "steps:\n  - join: [n1,   n2]   # both\n    expect: [{active: n1}]\n\
                      \x20 - run:\n      on: c1\n      # why\n      command: \"echo # no comment\"\n    expect:\n      - x\n  - wait: 1s\n";
        let shown: Vec<String> = source.match_indices("- ").map(|(at, _)| as_written(source, at + 2)).collect();
        assert_eq!(shown, ["join: [n1, n2]", "run: on: c1 command: \"echo # no comment\"", "x", "wait: 1s"]);
    }
}
