//! The command `halod`.

fn main() -> std::process::ExitCode {
    halod::main()
}
