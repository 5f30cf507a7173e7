//! Complete lines from a descriptor that is read only when epoll says that it has something.

use std::io;
use std::os::fd::OwnedFd;

use nix::unistd::read;

/// A command is at most this long, in bytes.
const LINE_LENGTH_MAX: usize = 1 << 20;

pub(super) struct Lines {
    input: OwnedFd,
    partial: Vec<u8>,
}

impl Lines {
    pub(super) fn new(input: OwnedFd) -> Self {
        Self { input, partial: Vec::new() }
    }

    /// Reads once, and returns the lines that are complete now; `None` at the end of the input.
    pub(super) fn read(&mut self) -> io::Result<Option<Vec<Vec<u8>>>> {
        let mut buffer = [0; 64 << 10];
        let length = match read(&self.input, &mut buffer) {
            Ok(0) => return Ok(None),
            Ok(length) => length,
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        self.partial.extend(&buffer[..length]);
        let complete = self.partial.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        if self.partial.len() - complete > LINE_LENGTH_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a command is too long"));
        }
        let rest = self.partial.split_off(complete);
        let lines = std::mem::replace(&mut self.partial, rest);
        Ok(Some(lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()))
    }
}
