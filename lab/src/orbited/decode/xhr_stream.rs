//! `xhr_stream` of Orbited 0.2: chunks that end with a line `|O|`. A ping is an empty chunk and a chunk `ping`.

use super::buffer::Buffer;
use super::{Cut, Decoded};

const DOT_COUNT: usize = 256;
const DELIMITER: &[u8] = b"\r\n|O|\r\n";

/// Takes the dots, which make browsers of the time hand out what comes after them at once.
pub(super) fn take_preamble(buffer: &mut Buffer) -> Cut<()> {
    let mut expected = [b'.'; DOT_COUNT + 4];
    expected[DOT_COUNT..].copy_from_slice(b"\r\n\r\n");
    match buffer.begins_with(&expected) {
        None => Ok(None),
        Some(false) => Err(format!("the stream does not begin with {DOT_COUNT} dots and an empty line")),
        Some(true) => {
            buffer.skip(expected.len());
            Ok(Some(()))
        }
    }
}

/// Takes chunks up to the first one that says something.
pub(super) fn take(buffer: &mut Buffer) -> Cut<Decoded> {
    while let Some(chunk) = buffer.take_until(DELIMITER)? {
        match chunk.as_slice() {
            b"" => {}
            b"ping" => return Ok(Some(Decoded::Ping)),
            _ => return Ok(Some(Decoded::Event { body: chunk, id: None })),
        }
    }
    Ok(None)
}
