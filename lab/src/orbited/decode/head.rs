//! The head of an HTTP response: only whether it opens a stream of the expected kind.

use super::Cut;
use super::buffer::Buffer;

/// The longest head, in bytes.
const LENGTH_MAX: usize = 8 * 1024;

/// More headers than a node sends.
const HEADER_COUNT_MAX: usize = 64;

/// Takes a head with status 200 and this media type. Its `Content-Length` is not looked at: it is a made-up one in
/// Orbited's endless pages.
pub(super) fn take(buffer: &mut Buffer, media_type: &str) -> Cut<()> {
    let window = buffer.window();
    let window = &window[..window.len().min(LENGTH_MAX)];
    let mut headers = [httparse::EMPTY_HEADER; HEADER_COUNT_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(window) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if window.len() < LENGTH_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(format!("a response head is longer than {LENGTH_MAX} bytes")),
        Err(error) => return Err(format!("not an HTTP response: {error}")),
    };
    match response.code {
        Some(200) => {}
        other => return Err(format!("HTTP status {}", other.unwrap_or_default())),
    }
    let given = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("Content-Type"));
    let given = given.map(|header| String::from_utf8_lossy(header.value)).unwrap_or_default();
    if given.split(';').next().unwrap_or_default().trim() != media_type {
        return Err(format!("Content-Type is {given:?}, not {media_type}"));
    }
    buffer.skip(length);
    Ok(Some(()))
}
