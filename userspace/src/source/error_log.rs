//! Says each error once: when it appears, not again at every later change.

use std::collections::BTreeSet;

use crate::source::SourceError;

/// The errors that were logged and still stand.
#[derive(Debug, Default)]
pub struct ErrorLog {
    standing: BTreeSet<SourceError>,
}

impl ErrorLog {
    /// Takes the complete list of what is wrong now, logs what was not wrong before, and notes at
    /// level info what is right again.
    pub fn update(&mut self, errors: &[SourceError]) {
        let now: BTreeSet<SourceError> = errors.iter().cloned().collect();
        for error in now.difference(&self.standing) {
            log_error(error);
        }
        for error in self.standing.difference(&now) {
            log::info!("no longer refused {}", place(error));
        }
        self.standing = now;
    }
}

fn log_error(error: &SourceError) {
    log::error!("refused {} reason={:?}", place(error), error.message);
}

/// The error's place as `key=value` fields.
fn place(error: &SourceError) -> String {
    let fields = [
        ("document", error.document.map(|number| number.to_string())),
        ("kind", error.kind.clone()),
        ("namespace", error.namespace.clone()),
        ("name", error.name.clone()),
        ("field", error.field.clone()),
    ];
    let mut place = format!("file={}", error.file.display());
    for (key, value) in fields {
        if let Some(value) = value {
            place.push(' ');
            place.push_str(key);
            place.push('=');
            place.push_str(&value);
        }
    }
    place
}
