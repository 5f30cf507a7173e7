//! `lab replay`: a record of a daemon, fed to the core again.

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use halod_core::record::{End, Input, Line};
use halod_core::time::Instant;
use indicatif::{ProgressBar, ProgressStyle};

use super::print;
use crate::monitor::Broken;
use crate::replay::{Lines, RecordError, Replay};
use crate::report::Exit;
use crate::scenario::duration;

/// Lines from one look at the progress to the next.
const PROGRESS_EVERY: u64 = 4096;

#[derive(Debug, Args)]
pub(super) struct ReplayArguments {
    /// What `halod run --record` has written.
    file: PathBuf,
    /// Stop at this time since the daemon's start, as in 12.5s.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    until: Option<Duration>,
    /// Print each input, and what the core made of it, with its time.
    #[arg(long, short)]
    verbose: bool,
}

impl ReplayArguments {
    pub(super) fn run(&self) -> Exit {
        match self.replay() {
            Ok(exit) => exit,
            Err(error) => {
                eprintln!("{error}");
                Exit::Usage
            }
        }
    }

    fn replay(&self) -> Result<Exit, RecordError> {
        let path = self.file.display().to_string();
        let named = |error| RecordError::Read { path: path.clone(), error };
        let file = File::open(&self.file).map_err(named)?;
        let progress = progress_bar(file.metadata().map_err(named)?.len());
        let mut lines = Lines::new(&path, BufReader::new(file));
        let mut record: Option<Record> = None;
        while let Some((number, line)) = lines.next_line()? {
            if number % PROGRESS_EVERY == 0 {
                progress.set_position(lines.bytes_read());
            }
            match (line, &mut record) {
                (Line::Head(head), record) => {
                    let began = Record { replay: Replay::new(&head), ending: Ending::Killed };
                    record.replace(began).iter().for_each(Record::tell);
                }
                (Line::End(end), Some(record)) => record.ending = Ending::Said(end),
                (Line::Input(at, input), Some(record)) => {
                    if let Some(broken) = self.feed(record, number, at, input) {
                        progress.finish_and_clear();
                        record.ending = Ending::Broken;
                        record.tell();
                        print(&format!("broken       at line {number} of {path}: {broken}\n"));
                        return Ok(Exit::Fail);
                    }
                }
                (_, None) => unreachable!("the first line is a head"),
            }
        }
        progress.finish_and_clear();
        record.iter().for_each(Record::tell);
        Ok(Exit::Pass)
    }

    /// Feeds a line, and says what is wrong then.
    fn feed(&self, record: &mut Record, line: u64, at: Instant, input: Input) -> Option<String> {
        let is_beyond = self.until.is_some_and(|until| at.since(Instant::ORIGIN) > until);
        if is_beyond || record.ending == Ending::Asked {
            record.ending = Ending::Asked;
            return None;
        }
        let replay = &mut record.replay;
        let fed =
            catch_unwind(AssertUnwindSafe(|| replay.feed(line, at, input, &mut |at, what| self.say(at, line, what))));
        if fed.is_err() { Some("the core panicked".into()) } else { replay.broken().map(Broken::to_string) }
    }

    fn say(&self, at: Instant, line: u64, what: &dyn fmt::Display) {
        if self.verbose {
            let at = at.since(Instant::ORIGIN).as_secs_f64();
            print(&format!("{at:>14.6} {line:>8} {what}\n"));
        }
    }
}

/// One record of the file.
struct Record {
    replay: Replay,
    ending: Ending,
}

/// Why nothing was fed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The record says why it is over.
    Said(End),
    /// It does not.
    Killed,
    /// `--until`
    Asked,
    /// Something was wrong.
    Broken,
}

impl Record {
    fn tell(&self) {
        print(&format!("{}ends         {}\n", self.replay.summary(), self.ending));
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::Said(End::Stopped) => "where the daemon stopped",
            Ending::Said(End::Panicked) => "where the daemon panicked",
            Ending::Said(End::Overflow) => "where inputs came faster than they could be written",
            Ending::Killed => "without a last line: the daemon was killed, or runs on",
            Ending::Asked => "where it was told to",
            Ending::Broken => "where an invariant broke",
        })
    }
}

/// A line of progress on a terminal; nothing in a pipe.
fn progress_bar(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{bytes} of {total_bytes} {wide_bar} {eta}") {
        bar.set_style(style);
    }
    bar
}
