//! The snapshot files of `snapshots/`, in the format of insta.

use std::io;
use std::path::{Path, PathBuf};

use halod_core::plane::PlaneKind;

/// The file of a snapshot: a scenario's, or that of its times.
pub fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.snap"))
}

/// The name of the snapshot of a scenario's times. Planes take different times to the same end.
pub fn times(scenario: &str, plane: PlaneKind) -> String {
    match plane {
        PlaneKind::Rewrite => format!("{scenario}.times"),
        PlaneKind::Steer => format!("{scenario}.steer.times"),
    }
}

/// What a snapshot has to be; `None` if there is no file for it.
///
/// # Errors
///
/// The file cannot be read, or has no header.
pub fn read(dir: &Path, name: &str) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path(dir, name)) {
        Ok(text) => content(&text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What follows the header, which is enclosed by lines of three dashes.
fn content(text: &str) -> io::Result<String> {
    let body = text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n"));
    let (_, body) = body.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the header is missing"))?;
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_left_out() {
        let text = "---\nsource: lab/tests/scenarios.rs\n---\n1. join: n1\n---\n2. more\n";
        assert_eq!(content(text).expect("it has a header"), "1. join: n1\n---\n2. more\n");
        assert!(content("1. join: n1\n").is_err());
    }
}
