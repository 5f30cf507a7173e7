//! A mistake in the file and how it is shown: as compilers do, with the line and a caret.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// What is wrong, where, and what to do.
#[derive(Debug)]
pub(super) struct Mistake {
    /// What is wrong, in one line.
    title: String,
    /// The bytes of the file that are wrong.
    span: Range<usize>,
    /// What stands beside the caret.
    label: String,
    /// What to do, in one line of its own.
    help: Option<String>,
}

impl Mistake {
    /// `title` says what is wrong; `label` stands beside the caret under `span`.
    pub(super) fn new(title: impl Into<String>, span: Range<usize>, label: impl Into<String>) -> Self {
        Self { title: title.into(), span, label: label.into(), help: None }
    }

    /// Adds what to do.
    #[must_use]
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The mistake in the file `name` that holds `text`, for a person.
    pub(super) fn render(&self, name: &str, text: &str) -> String {
        let place = AnnotationKind::Primary.span(self.span.clone()).label(&self.label);
        let snippet = Snippet::source(text).path(name).annotation(place);
        let help = self.help.as_ref().map(|help| Level::HELP.message(help));
        let report = Level::ERROR.primary_title(&self.title).element(snippet).elements(help);
        Renderer::plain().render(&[report])
    }
}

impl From<toml::de::Error> for Mistake {
    fn from(error: toml::de::Error) -> Self {
        let span = error.span().unwrap_or_default();
        let message = error.message();
        match UnknownKey::parse(message) {
            Some(unknown) => unknown.at(span),
            None => Self::new(message.lines().collect::<Vec<_>>().join("; ").replace("field", "key"), span, ""),
        }
    }
}

/// A key that does not exist, among those that do.
struct UnknownKey<'a> {
    key: &'a str,
    known: Vec<&'a str>,
}

impl<'a> UnknownKey<'a> {
    /// Reads serde's own words: "unknown field `a`, expected one of `b`, `c`".
    fn parse(message: &'a str) -> Option<Self> {
        let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
        Some(Self { key: quoted.next()?, known: quoted.collect() })
    }

    fn at(&self, span: Range<usize>) -> Mistake {
        const SIMILARITY_MIN: f64 = 0.7;
        let similarity = |known: &str| strsim::jaro_winkler(self.key, known);
        let best = self.known.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
        let label = match best {
            Some(best) if similarity(best) >= SIMILARITY_MIN => format!("did you mean `{best}`?"),
            _ => "there is no such key".into(),
        };
        let title = format!("unknown key `{}`", self.key);
        Mistake::new(title, span, label).help(format!("known here: {}", self.known.join(", ")))
    }
}
