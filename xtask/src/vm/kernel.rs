//! The kernels that are booted: the oldest that shunt runs on, and the first with tcx that Debian
//! keeps for years.

use std::{collections::BTreeMap, fmt};

use clap::ValueEnum;

/// A line of kernels; the newest one that Debian has of it is booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernel {
    /// Debian 12's own.
    #[value(name = "6.1")]
    V6_1,
    /// The one that Debian 12 has besides, which is Debian 13's.
    #[value(name = "6.12")]
    V6_12,
}

impl Kernel {
    /// All of them, the oldest first.
    pub(crate) const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];

    /// The line's name, as `uname -r` begins.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// How TC programs are attached on it, as `shunt check` says.
    pub(super) const fn tc(self) -> &'static str {
        match self {
            Self::V6_1 => "clsact",
            Self::V6_12 => "tcx",
        }
    }

    /// Modules that it cannot do without, and what `shunt check` calls the feature.
    pub(super) fn needed_modules(self) -> BTreeMap<String, String> {
        let modules: &[(&str, &str)] = match self {
            Self::V6_1 => &[("veth", "veth"), ("sch_ingress", "clsact")],
            Self::V6_12 => &[("veth", "veth"), ("bridge", "bridge")],
        };
        modules.iter().map(|(module, name)| ((*module).to_owned(), (*name).to_owned())).collect()
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
