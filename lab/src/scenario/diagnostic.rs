//! Mistakes in a scenario file, shown with file, line, column and a caret.
//!
//! Knows text and byte ranges, nothing of scenarios.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// One mistake, at a range of bytes of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, as a sentence without an end: `unknown node "n9"`.
    pub message: String,
    /// What would be right, written beside the caret; may be empty.
    pub label: String,
    /// Which bytes of the file are meant.
    pub span: Range<usize>,
}

/// Every mistake that was found in one file, in the order of their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    path: String,
    source: String,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// The mistakes `list` of the file at `path` with the text `source`.
    pub(crate) fn new(path: &str, source: &str, mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(|diagnostic| diagnostic.span.start);
        Self { path: path.to_owned(), source: source.to_owned(), list }
    }

    /// The mistakes, in the order of their places.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// The text to print, with the escape sequences of a terminal. Print it through [`anstream`], which removes them
    /// where they do not belong.
    pub fn styled(&self) -> String {
        self.render(&Renderer::styled())
    }

    fn render(&self, renderer: &Renderer) -> String {
        let shown = self.list.iter().map(|diagnostic| {
            let annotation = AnnotationKind::Primary.span(self.visible(&diagnostic.span));
            let annotation =
                if diagnostic.label.is_empty() { annotation } else { annotation.label(diagnostic.label.as_str()) };
            let snippet = Snippet::source(&self.source).path(&self.path).annotation(annotation);
            renderer.render(&[Level::ERROR.primary_title(diagnostic.message.as_str()).element(snippet)])
        });
        shown.collect::<Vec<_>>().join("\n\n")
    }

    /// `span` within the text, at least one character wide where there is one.
    fn visible(&self, span: &Range<usize>) -> Range<usize> {
        let start = floor_char_boundary(&self.source, span.start);
        let width = self.source[start..].chars().next().filter(|&c| c != '\n').map_or(0, char::len_utf8);
        start..floor_char_boundary(&self.source, span.end).max(start + width)
    }
}

/// The plain text, without colours and without a newline at the end.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl std::error::Error for Diagnostics {}

/// The one of `known` that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong: "evnets" is near "events", but "c2" is not near "c1".
    let limit = word.chars().count() / 3;
    let distances = known.into_iter().map(|name| (strsim::damerau_levenshtein(word, name), name));
    distances.filter(|&(distance, _)| distance <= limit).min().map(|(_, name)| name)
}

/// A hint for the unknown `word`: the nearest of `known`, else all of them after `intro`.
pub(crate) fn hint<'a>(word: &str, intro: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => format!("{intro} {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

fn floor_char_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str, span: Range<usize>) -> String {
        let diagnostic = Diagnostic { message: "wrong".into(), label: "here".into(), span };
        Diagnostics::new("a.yaml", source, vec![diagnostic]).to_string()
    }

    #[test]
    fn a_caret_stands_under_the_place() {
        assert_eq!(shown("one\nü: two\n", 8..11), "error: wrong\n --> a.yaml:2:4\n  |\n2 | ü: two\n  |    ^^^ here");
    }

    #[test]
    fn a_place_beyond_the_text_or_inside_a_character_is_shown_nearby() {
        for span in [0..0, 1..2, 3..3, 99..120] {
            assert!(shown("ü\n", span).starts_with("error: wrong"));
        }
    }

    #[test]
    fn a_suggestion_is_near() {
        assert_eq!(nearest("evnets", ["events", "rate"]), Some("events"));
        assert_eq!(nearest("c2", ["c1"]), None);
        assert_eq!(nearest("colour", ["events", "rate"]), None);
    }
}
