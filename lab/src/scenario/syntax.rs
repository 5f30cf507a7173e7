//! What the YAML reader has to say, in the words and the form of every other diagnostic.

use std::ops::Range;

use serde_saphyr::{DefaultMessageFormatter, Error, Location, MessageFormatter};

use super::diagnostic::{Diagnostic, hint};
use super::file::File;

/// Reads the text of a scenario file into its written form. The reader stops at the first mistake of form.
pub(crate) fn read(source: &str) -> Result<File, Diagnostic> {
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    serde_saphyr::from_str_with_options(source, options).map_err(|error| translate(source, error.without_snippet()))
}

fn translate(source: &str, error: &Error) -> Diagnostic {
    let span = error.location().map_or(0..0, |location| bytes(source, &location));
    let found = source.get(span.clone()).unwrap_or_default();
    let (message, label) = match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            (format!("unknown key \"{field}\""), hint(field, "the keys here are", expected.iter().copied()))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            (format!("unknown word \"{variant}\""), hint(variant, "one of", expected.iter().copied()))
        }
        Error::SerdeMissingField { field, .. } => (format!("the key \"{field}\" is missing"), "here".into()),
        Error::DuplicateMappingKey { .. } => (format!("the key \"{found}\" is given twice"), String::new()),
        Error::InvalidScalar { ty, .. } => (format!("\"{found}\" does not fit"), whole_number(ty)),
        Error::InvalidBooleanStrict { .. } => (format!("\"{found}\" does not fit"), "true or false".into()),
        Error::Unexpected { expected, .. } => ("a value of another kind is needed".into(), kind(expected).into()),
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            ("a value of another kind is needed".into(), kind(expected).into())
        }
        other => (DefaultMessageFormatter.format_message(other).into_owned(), String::new()),
    };
    Diagnostic { message, label, span }
}

/// What is expected, in the words of someone who writes the file.
fn kind(expected: &str) -> &str {
    match expected {
        "string scalar" | "scalar" => "a single value",
        "sequence start" | "a sequence" => "a list",
        "mapping start" => "a mapping, as in {key: value}",
        "enum" => "a mapping that begins with one of the known words",
        "u16" => "a whole number from 0 to 65535",
        other => other,
    }
}

fn whole_number(ty: &str) -> String {
    let max = match ty {
        "u8" => u64::from(u8::MAX),
        "u16" => u64::from(u16::MAX),
        "u32" => u64::from(u32::MAX),
        "u64" => u64::MAX,
        other => return format!("a value of type {other}"),
    };
    format!("a whole number from 0 to {max}")
}

/// The bytes that `location` means. Errors of the scanner know characters only.
fn bytes(source: &str, location: &Location) -> Range<usize> {
    let span = location.span();
    let to_usize = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    if let (Some(start), Some(length)) = (span.byte_offset(), span.byte_len()) {
        return to_usize(start)..to_usize(start).saturating_add(to_usize(length));
    }
    let at = |character: usize| source.char_indices().nth(character).map_or(source.len(), |(index, _)| index);
    at(to_usize(span.offset()))..at(to_usize(span.offset().saturating_add(span.len())))
}
