//! Errors in one line: the client's own name their causes, and so do their causes.

use std::error::Error;

/// What an error says, and each of its causes that says something more.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let says = error.to_string();
        if !text.contains(&says) {
            text = format!("{text}: {says}");
        }
        cause = error.source();
    }
    text
}
