//! `raw` of Orbited 0.2 and `xhr` of 0.1: bodies and nothing else. The lab's are JSON objects, which end by themselves.

use serde::de::IgnoredAny;

use super::buffer::Buffer;
use super::{Cut, Decoded};

/// Takes the first object (`raw`).
pub(super) fn take_first(buffer: &mut Buffer) -> Cut<Decoded> {
    buffer.skip_whitespace();
    let Some(length) = object_length(buffer.window())? else { return buffer.need_more() };
    Ok(Some(take(buffer, length)))
}

/// Takes the only object, once the stream has ended (`xhr`). `None` if there is none or its end is missing.
pub(super) fn take_last(buffer: &mut Buffer) -> Cut<Decoded> {
    let Some(length) = object_length(buffer.window())? else { return Ok(None) };
    if buffer.window().len() > length {
        return Err("bytes after the body of a poll".into());
    }
    Ok(Some(take(buffer, length)))
}

fn take(buffer: &mut Buffer, length: usize) -> Decoded {
    let body = buffer.window()[..length].to_vec();
    buffer.skip(length);
    Decoded::Event { body, id: None }
}

/// The length of the JSON object at the front, if its end has come.
fn object_length(bytes: &[u8]) -> Cut<usize> {
    match bytes.first() {
        None => return Ok(None),
        Some(b'{') => {}
        Some(_) => return Err("a body that is not a JSON object".into()),
    }
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => Ok(Some(values.byte_offset())),
        Some(Err(error)) if !error.is_eof() => Err(format!("a body that is not JSON: {error}")),
        Some(Err(_)) | None => Ok(None),
    }
}
