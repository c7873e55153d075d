//! Settings from environment variables: `SHUNT_` and the flag's name in capitals.

use std::{error::Error as _, ffi::OsString};

use clap::{
    ArgMatches, Args as _, Command, FromArgMatches as _,
    error::{ContextKind, ContextValue},
};

use super::{ConfigError, settings::Settings};

/// The variable that says what `--name` says.
pub fn variable(name: &str) -> String {
    format!("SHUNT_{}", name.to_uppercase().replace('-', "_"))
}

/// Reads the layer; `lookup` returns the value of a variable. An empty value is as good as none,
/// and variables that are no setting are somebody else's (Kubernetes sets `SHUNT_PORT` for a
/// Service that is called `shunt`).
pub(super) fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Settings, ConfigError> {
    let command = Settings::augment_args(Command::new("environment").no_binary_name(true));
    let mut settings = Settings::default();
    for name in command.get_arguments().filter_map(clap::Arg::get_long) {
        let variable = variable(name);
        let Some(value) = lookup(&variable).filter(|value| !value.is_empty()) else {
            continue;
        };
        let mut flag = OsString::from(format!("--{name}="));
        flag.push(&value);
        let parsed = command
            .clone()
            .try_get_matches_from([flag])
            .and_then(|matches: ArgMatches| Settings::from_arg_matches(&matches));
        match parsed {
            Ok(one) => settings = one.over(settings),
            Err(error) => {
                let value = value.to_string_lossy().into_owned();
                return Err(ConfigError::Environment { variable, value, reason: reason(&error) });
            }
        }
    }
    Ok(settings)
}

/// What clap has against a value, in one line.
fn reason(error: &clap::Error) -> String {
    match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::Strings(valid))) => format!("use one of {}", valid.join(", ")),
        (None, _) => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_value_is_refused_with_the_name_of_its_variable() {
        let lookup = |bad: &'static str, value: &'static str| {
            read(move |name| (name == bad).then(|| value.into())).unwrap_err().to_string()
        };
        assert_eq!(
            lookup("SHUNT_XDP", "sometimes"),
            "environment variable SHUNT_XDP=sometimes: use one of auto, native, generic, off"
        );
        assert_eq!(
            lookup("SHUNT_MAX_SERVICES", "0"),
            "environment variable SHUNT_MAX_SERVICES=0: number would be zero for non-zero type"
        );
    }

    #[test]
    fn an_empty_variable_is_no_setting() {
        assert_eq!(read(|_| Some(OsString::new())).unwrap(), Settings::default());
    }
}
