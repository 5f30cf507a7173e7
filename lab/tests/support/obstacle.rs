//! What keeps this machine from running the kernel engine.

use lab::engines::kernel::privileges;

/// The first thing that is missing. Moves a process that is not root into a user namespace, so it is to be called before
/// any thread is started.
pub(crate) fn of_kernel_engine() -> Option<String> {
    match privileges::enter() {
        Err(refusal) => Some(refusal.to_string()),
        Ok(_) => {
            privileges::probe().map_or_else(|error| Some(error.to_string()), |found| found.missing().map(str::to_owned))
        }
    }
}
