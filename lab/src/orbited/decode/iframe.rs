//! `iframe` of Orbited 0.2: an endless page of script elements. It is cut at `</script>`, as HTML does.

use super::buffer::Buffer;
use super::{Cut, Decoded};

const PAGE: &[u8] = b"<html>";
const SPAN: &[u8] = b"<span></span>";
/// The filler that makes browsers of the time render what comes after it at once.
const SPAN_COUNT: u32 = 100;

const SCRIPT: &[u8] = b"<script>";
const SCRIPT_END: &[u8] = b"</script>";

/// How much of the page's beginning has come.
#[derive(Debug, Default)]
pub(super) struct Preamble {
    page: bool,
    spans: u32,
}

impl Preamble {
    /// Takes all up to the last span. What stands before the first one (a script include) is the node's choice.
    pub(super) fn take(&mut self, buffer: &mut Buffer) -> Cut<()> {
        if !self.page {
            match buffer.begins_with(PAGE) {
                None => return Ok(None),
                Some(false) => return Err("the page does not begin with <html>".into()),
                Some(true) => self.page = true,
            }
        }
        while self.spans < SPAN_COUNT {
            let Some(_) = buffer.take_until(SPAN)? else { return Ok(None) };
            self.spans += 1;
        }
        Ok(Some(()))
    }
}

/// Takes one script element: `e(BODY)`, `p()` or, an addition of HaloD, `r()`.
pub(super) fn take(buffer: &mut Buffer) -> Cut<Decoded> {
    buffer.skip_whitespace();
    match buffer.begins_with(SCRIPT) {
        None => return Ok(None),
        Some(false) => return Err("bytes outside of a script element".into()),
        Some(true) => {}
    }
    let Some(element) = buffer.take_until(SCRIPT_END)? else { return Ok(None) };
    match &element[SCRIPT.len()..] {
        b"p();" => Ok(Some(Decoded::Ping)),
        b"r();" => Ok(Some(Decoded::ReconnectAsked)),
        [b'e', b'(', body @ .., b')', b';'] => Ok(Some(Decoded::Event { body: body.to_vec(), id: None })),
        _ => Err("a script that is neither e(BODY), p() nor r()".into()),
    }
}
