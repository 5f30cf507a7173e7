//! `lab fuzz`: random cases in the simulator, and the smallest scenario of the first that fails.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::run::progress_bar;
use crate::fuzz::{self, Case, Failure, Hunt};
use crate::report::Exit;

/// Draw random clusters and faults from seeds, run them in the simulator, and check that nothing breaks.
///
/// The first case that fails is made as small as possible and written as a scenario. Exit status 1 then.
#[derive(Debug, Args)]
pub(super) struct FuzzArguments {
    /// How many cases to run: 1,000 if neither this nor a time is given.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Stop after this time, as in 60s or 90min, however many cases are left.
    #[arg(long, value_parser = duration)]
    time: Option<Duration>,
    /// How many threads; as many as there are cores if not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Where to write the scenario of a failure.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Write the case of the first seed as a scenario, to standard output, and run nothing.
    #[arg(long)]
    show: bool,
}

impl FuzzArguments {
    pub(super) fn run(&self) -> Exit {
        if self.show {
            super::print(&Case::draw(self.from).to_string());
            return Exit::Pass;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let Self { from, time, .. } = *self;
        let seeds = self.seeds.unwrap_or(if time.is_some() { u64::MAX - from } else { 1_000 });
        let hunt = Hunt { from, seeds, time, threads: self.threads.unwrap_or(cores) };
        // A panic is a finding, and is told with its seed.
        std::panic::set_hook(Box::new(|_| {}));
        let bar = progress_bar(usize::try_from(seeds).unwrap_or(usize::MAX));
        if let (None, Some(time), Ok(style)) =
            (self.seeds, time, ProgressStyle::with_template("[{pos}] {elapsed} {wide_msg}"))
        {
            bar.set_style(style);
            bar.set_message(format!("cases, for {time:?}"));
        } else {
            bar.set_message("cases");
        }
        let begin = Instant::now();
        let found = hunt.run(|ran| bar.set_position(ran));
        let (wall, virtual_time) = (begin.elapsed().as_secs_f64(), found.virtual_time.as_secs_f64());
        bar.finish_and_clear();
        super::print(&format!(
            "{} cases from seed {from} in {wall:.1} s: {:.0} cases a second, {:.0} virtual seconds a second, transcripts {:016x}\n",
            found.ran,
            found.ran as f64 / wall,
            virtual_time / wall,
            found.transcripts,
        ));
        match found.failure {
            None => Exit::Pass,
            Some((case, failure)) => self.explain(&case, &failure, &bar),
        }
    }

    fn explain(&self, case: &Case, failure: &Failure, bar: &ProgressBar) -> Exit {
        super::print(&format!(
            "\nseed {} fails: {}\n  {}\n  again: lab fuzz --from {0} --seeds 1\n",
            case.seed, failure.kind, failure.what
        ));
        bar.reset();
        let (least, failure) = fuzz::shrink(case, failure, |smaller| {
            bar.set_message(format!(
                "shrinking: {} acts, {} nodes, {} browsers",
                smaller.acts.len(),
                smaller.nodes,
                smaller.browsers
            ));
        });
        bar.finish_and_clear();
        let path = self.out.join(format!("{}.yaml", least.name()));
        match std::fs::write(&path, least.to_string()) {
            Ok(()) => super::print(&format!(
                "\nthe least that fails in this way is in {}; run it: lab run --engine sim {0}\n  {}: {}\n",
                path.display(),
                failure.kind,
                failure.what
            )),
            Err(error) => eprintln!("error: {}: {error}", path.display()),
        }
        Exit::Fail
    }
}

/// A duration as scenarios write it.
fn duration(text: &str) -> Result<Duration, String> {
    crate::scenario::duration(text)
}
