//! Versions of the specification.

use super::{
    environment::Command,
    error::{CniError, Code},
};

/// Versions of the specification that the plugin speaks, oldest first.
pub const SUPPORTED_VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// A version that the plugin speaks; older ones are less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SpecVersion {
    V0_3_0,
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

impl SpecVersion {
    /// The version of answers to a runtime that names none.
    pub(super) const CURRENT: Self = Self::V1_1_0;

    const ALL: [Self; 5] = [Self::V0_3_0, Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The version that a configuration is of, where it has the command.
    pub(super) fn negotiate(asked: &str, command: Command) -> Result<Self, CniError> {
        let incompatible = |msg: String| CniError::new(Code::IncompatibleVersion, msg);
        let found = Self::ALL.into_iter().find(|version| version.as_str() == asked);
        let version = found.ok_or_else(|| {
            incompatible("incompatible CNI versions".to_owned()).details(format!(
                "cniVersion of the configuration is {asked:?}; shunt-cni speaks {}",
                SUPPORTED_VERSIONS.join(", ")
            ))
        })?;
        if version < command.since() {
            return Err(incompatible(format!(
                "cniVersion {asked} does not allow {}: it is of {} and later",
                command.as_str(),
                command.since().as_str()
            )));
        }
        Ok(version)
    }
}
