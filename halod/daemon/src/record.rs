//! `--record`: what the core is told, as lines in a file.
//!
//! Whoever tells the core something appends the line to a buffer in memory; a thread of its own writes that out, at least
//! twice a second. The packet path never waits for the disk: if lines come faster than they can be written, the buffer is
//! full at some time, and the record ends there and says so.
//!
//! The order of the lines is that in which the core was told, as far as it matters to the core. The plane is told
//! something, and the line is appended, behind the plane's lock only. The cluster is told something by one thread only, and
//! it neither sees the plane nor is seen by it, but in three ways: a timeout, for which it looks at the plane's flows,
//! and what the plane is told on its behalf, to publish a routing and to end a flow. All three happen behind the lock
//! and have lines of their own.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use halod_core::cluster;
use halod_core::plane::Seen;
use halod_core::record::{End, Head, Input, write_cluster_input, write_packet};
use halod_core::time::Instant;
use halod_core::wire::Checksum;

/// Bytes that may wait for the disk, and as many that are being written.
const WAITING_MAX: usize = 32 * 1024 * 1024;
/// How many bytes are worth writing at once.
const BATCH: usize = 256 * 1024;
/// How long fewer wait.
const WRITE_WITHIN: Duration = Duration::from_millis(500);
/// Secrets of sessions are in it.
const MODE: u32 = 0o600;

/// A record that is being written. It is complete on disk, and ends, when this is dropped.
pub(crate) struct Recording {
    recorder: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// Takes lines for a record; the default takes none.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Option<Arc<Shared>>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Told when there is a batch, or the end.
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Nothing is taken any more.
    end: Option<End>,
}

/// The file of a record that has not begun.
pub(crate) struct RecordFile {
    file: File,
    ends_within_a_line: bool,
}

impl RecordFile {
    /// Opens the file at `path`, which only its owner can read if it is new.
    ///
    /// # Errors
    ///
    /// It cannot be opened or read.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
        let ends_within_a_line = ends_within_a_line(&mut file)?;
        Ok(Self { file, ends_within_a_line })
    }

    /// Begins a record at its end.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(crate) fn begin(self, head: &Head) -> io::Result<Recording> {
        let Self { mut file, ends_within_a_line } = self;
        let mut first = Vec::new();
        if ends_within_a_line {
            first.push(b'\n');
        }
        head.write(&mut first);
        file.write_all(&first)?;
        // Address space only, until it is needed; a buffer that grows would stop the packet threads for a while.
        let room = || Vec::with_capacity(WAITING_MAX + BATCH);
        let waiting = Waiting { lines: room(), end: None };
        let shared = Arc::new(Shared { waiting: Mutex::new(waiting), more: Condvar::new() });
        let recorder = Arc::clone(&shared);
        let writer = thread::Builder::new().name("record".into()).spawn(move || {
            if let Err(error) = write_out(&shared, &mut file, room()) {
                shared.lock().end.get_or_insert(End::Stopped);
                tracing::error!(%error, "the record cannot be written on");
            }
        })?;
        Ok(Recording { recorder, writer: Some(writer) })
    }
}

impl Recording {
    /// Where its lines are given.
    pub(crate) fn recorder(&self) -> Recorder {
        Recorder(Some(Arc::clone(&self.recorder)))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let end = if thread::panicking() { End::Panicked } else { End::Stopped };
        self.recorder.lock().end.get_or_insert(end);
        self.recorder.more.notify_one();
        // It has nothing to say if it panicked, and all is lost then anyway.
        let _ = self.writer.take().map(JoinHandle::join);
    }
}

impl Recorder {
    /// The cluster is about to be told this.
    pub(crate) fn cluster_input(&self, at: Instant, input: &cluster::Input) {
        self.append(|lines| write_cluster_input(at, input, lines));
    }

    /// The plane is about to be told this.
    pub(crate) fn input(&self, at: Instant, input: &Input) {
        self.append(|lines| input.write(at, lines));
    }

    /// The plane is about to decide about this packet.
    pub(crate) fn packet(&self, at: Instant, seen: Seen, checksum: Checksum, packet: &mut [u8]) {
        self.append(|lines| write_packet(at, seen, checksum, packet, lines));
    }

    fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(shared) = &self.0 else { return };
        let mut waiting = shared.lock();
        if waiting.end.is_some() {
            return;
        }
        let before = waiting.lines.len();
        if before >= WAITING_MAX {
            waiting.end = Some(End::Overflow);
            shared.more.notify_one();
            return;
        }
        write(&mut waiting.lines);
        // Once a batch: to tell is a system call.
        if before < BATCH && waiting.lines.len() >= BATCH {
            shared.more.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes until the record ends. The lock is held for as long as it takes to exchange two buffers.
fn write_out(shared: &Shared, file: &mut impl Write, mut batch: Vec<u8>) -> io::Result<()> {
    loop {
        let few = |waiting: &mut Waiting| waiting.lines.len() < BATCH && waiting.end.is_none();
        let waiting = shared.more.wait_timeout_while(shared.lock(), WRITE_WITHIN, few);
        let (mut waiting, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut waiting.lines, &mut batch);
        let end = waiting.end;
        drop(waiting);
        if end == Some(End::Overflow) {
            tracing::error!("packets come faster than the record can be written; it ends here");
        }
        end.into_iter().for_each(|end| end.write(&mut batch));
        file.write_all(&batch)?;
        if end.is_some() {
            return Ok(());
        }
        batch.clear();
    }
}

/// Whether a former record was torn: its writer was killed.
fn ends_within_a_line(file: &mut File) -> io::Result<bool> {
    // A pipe or a device has no end to look at.
    if !file.metadata()?.is_file() || file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use halod_core::ids::Epoch;

    use super::*;

    fn shared() -> Arc<Shared> {
        Arc::default()
    }

    fn written(shared: &Shared) -> String {
        let mut file = Vec::new();
        write_out(shared, &mut file, Vec::new()).unwrap();
        String::from_utf8(file).unwrap()
    }

    #[test]
    fn lines_are_written_in_order_and_the_end_after_them() {
        let shared = shared();
        let recorder = Recorder(Some(Arc::clone(&shared)));
        recorder.input(Instant::from_nanos(7), &Input::Expire);
        recorder.input(Instant::from_nanos(5), &Input::Timeout);
        shared.lock().end = Some(End::Stopped);
        recorder.input(Instant::from_nanos(9), &Input::Expire);
        assert_eq!(written(&shared), "[7,\"expire\"]\n[5,\"timeout\"]\n{\"end\":\"stopped\"}\n");
    }

    #[test]
    fn what_the_disk_is_too_slow_for_ends_the_record() {
        let shared = shared();
        let recorder = Recorder(Some(Arc::clone(&shared)));
        let input =
            Input::Publish { epoch: Epoch(1), masquerades: [([10, 0, 0, 1].into(), [10, 0, 0, 2].into())].into() };
        while shared.lock().end.is_none() {
            recorder.input(Instant::ORIGIN, &input);
        }
        let buffered = shared.lock().lines.len();
        recorder.input(Instant::ORIGIN, &input);
        assert_eq!(shared.lock().lines.len(), buffered, "nothing more is taken");
        assert!((WAITING_MAX..WAITING_MAX + 100).contains(&buffered));
        assert!(written(&shared).ends_with("}}]\n{\"end\":\"overflow\"}\n"));
    }
}
