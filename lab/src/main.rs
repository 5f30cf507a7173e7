//! The `lab` command. Started again by itself, it is also the daemon and every node and app of a scenario.

use std::process::ExitCode;

fn main() -> ExitCode {
    lab::cli::main()
}
