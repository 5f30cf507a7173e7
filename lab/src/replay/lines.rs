//! The lines of a record's file, one after another, and what is wrong with a file that is none.
//!
//! A last line without its newline is passed over: the daemon was killed while it wrote. So is one that cannot be read and
//! is followed by the head of the next record.

use std::fmt;
use std::io::{self, BufRead, Read};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use halod_core::record::{Line, LineError};

/// The longest line that is read, in bytes. The longest that is written has a message of 64 KiB, each byte of which is
/// six characters at most.
const LINE_LENGTH_MAX: u64 = 1024 * 1024;
/// What a head begins with.
const HEAD: &[u8] = b"{\"halod_record\":";
/// How much of a wrong line is shown.
const SHOWN_MAX: usize = 100;

/// Reads a record line by line.
#[derive(Debug)]
pub struct Lines<R> {
    path: String,
    source: R,
    number: u64,
    bytes_read: u64,
    /// The last line was cut off.
    torn: bool,
}

/// Why a file is no record.
#[derive(Debug)]
pub enum RecordError {
    /// It could not be read.
    Read {
        /// The file.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// A line of it is wrong; the text shows which, and where.
    Wrong(String),
}

impl<R: BufRead> Lines<R> {
    /// The lines of `source`; errors call it `path`.
    pub fn new(path: &str, source: R) -> Self {
        Self { path: path.to_owned(), source, number: 0, bytes_read: 0, torn: false }
    }

    /// The next line with its number, counted from 1. The first of all is a head.
    ///
    /// # Errors
    ///
    /// [`RecordError`]
    pub fn next_line(&mut self) -> Result<Option<(u64, Line)>, RecordError> {
        let is_first = self.number == 0;
        let Some(text) = self.read()? else {
            return if is_first { Err(self.no_record(b"")) } else { Ok(None) };
        };
        match Line::parse(&text) {
            Ok(line @ Line::Head(_)) => Ok(Some((self.number, line))),
            Ok(line) if !is_first => Ok(Some((self.number, line))),
            Ok(_) => Err(self.no_record(&text)),
            Err(_) if is_first && !text.starts_with(HEAD) => Err(self.no_record(&text)),
            Err(error) => {
                let wrong = self.wrong(&text, &error);
                let next = self.read()?;
                match next.map(|next| Line::parse(&next)) {
                    Some(Ok(head @ Line::Head(_))) => {
                        self.torn = true;
                        Ok(Some((self.number, head)))
                    }
                    _ => Err(wrong),
                }
            }
        }
    }

    /// How much of the file has been read, in bytes.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Whether a line was passed over because it had been cut off.
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// The next whole line, with its newline.
    fn read(&mut self) -> Result<Option<Vec<u8>>, RecordError> {
        let mut text = Vec::new();
        let read = self.source.by_ref().take(LINE_LENGTH_MAX).read_until(b'\n', &mut text);
        let length = read.map_err(|error| RecordError::Read { path: self.path.clone(), error })?;
        self.number += 1;
        self.bytes_read += length as u64;
        if text.ends_with(b"\n") {
            return Ok(Some(text));
        }
        if self.number == 1 && length > 0 || length as u64 == LINE_LENGTH_MAX {
            return Err(self.no_record(&text));
        }
        self.torn |= length > 0;
        Ok(None)
    }

    fn no_record(&self, text: &[u8]) -> RecordError {
        let title = if text.is_empty() { "the file is empty" } else { "this is no record of `halod run --record`" };
        self.shown(title, "a line of a record was expected", text, 0)
    }

    fn wrong(&self, text: &[u8], error: &LineError) -> RecordError {
        match error {
            LineError::Malformed { what, column } => {
                self.shown("a line is wrong", what, text, column.saturating_sub(1))
            }
            LineError::WrongVersion(_) => self.shown(&error.to_string(), "", text, 0),
        }
    }

    /// The line with a caret at `at`, and no more of it than a person can look at.
    fn shown(&self, title: &str, label: &str, text: &[u8], at: usize) -> RecordError {
        let text = String::from_utf8_lossy(text.trim_ascii_end());
        let begin = text.floor_char_boundary(at.saturating_sub(SHOWN_MAX / 2));
        let end = text.floor_char_boundary((begin + SHOWN_MAX).min(text.len()));
        let (shown, at) = (&text[begin..end], text.floor_char_boundary(at.min(end)) - begin);
        let width = shown[at..].chars().next().map_or(0, char::len_utf8);
        let line = usize::try_from(self.number.max(1)).unwrap_or(usize::MAX);
        let annotation = AnnotationKind::Primary.span(at..at + width).label(label);
        let snippet = Snippet::source(shown).path(self.path.as_str()).line_start(line).annotation(annotation);
        RecordError::Wrong(Renderer::plain().render(&[Level::ERROR.primary_title(title).element(snippet)]))
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Read { path, error } => write!(f, "error: cannot read {path}: {error}"),
            RecordError::Wrong(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for RecordError {}
