//! Tests that this machine cannot run are ignored, with the reason beside the name. It is known before any test runs:
//! what a test finds out later, cargo-nextest would count as passed.

use libtest_mimic::{Failed, Trial};

/// A test, ignored if there is an obstacle. Run all the same, it fails.
pub(crate) fn trial<T>(name: impl Into<String>, obstacle: Option<&str>, test: T) -> Trial
where
    T: FnOnce() -> Result<(), Failed> + Send + 'static,
{
    match obstacle {
        None => Trial::test(name, test),
        Some(reason) => {
            let reason = reason.replace('\n', " ");
            let kind = format!("skipped: {reason}");
            Trial::test(name, move || Err(reason.into())).with_ignored_flag(true).with_kind(kind)
        }
    }
}
