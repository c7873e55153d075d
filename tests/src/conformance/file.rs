//! The files as they are written, with all their shorthand. Unknown keys are refused.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{
    cast::Side,
    packet::{Fate, Target},
    scenario::{ObjectRef, Proxy, Upstream, Way},
};

/// A file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// What it is about; the heading in the guide.
    #[serde(default)]
    #[expect(dead_code, reason = "for those who read the file")]
    pub(super) subject: String,
    /// Anything that scenarios share by YAML's anchors.
    #[serde(default)]
    #[expect(dead_code, reason = "its anchors are used, not it")]
    pub(super) shared: serde::de::IgnoredAny,
    /// The scenarios.
    pub(super) scenarios: Vec<Scenario>,
}

/// A scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) section: String,
    pub(super) field: String,
    #[serde(default)]
    pub(super) says: String,
    pub(super) upstream: Option<Upstream>,
    /// The settings that differ from the cast's.
    #[serde(default)]
    pub(super) config: Value,
    #[serde(default)]
    pub(super) objects: Vec<Value>,
    /// Where there is one: it is written for these families, and has no twin.
    pub(super) as_written: Option<AsWritten>,
    /// Why no case of it is carried out in some ways.
    #[serde(default)]
    pub(super) skip: BTreeMap<Way, String>,
    #[serde(default)]
    pub(super) cases: Vec<Case>,
    #[serde(default)]
    pub(super) then: Vec<Then>,
    /// The same with other settings.
    #[serde(default)]
    pub(super) variants: Vec<Variant>,
}

/// Why a scenario has no twin.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AsWritten {
    pub(super) because: String,
    #[serde(default)]
    pub(super) families: Families,
}

/// The families that a scenario without a twin is written for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Families {
    #[default]
    #[serde(rename = "v4")]
    V4,
    #[serde(rename = "v6")]
    V6,
    #[serde(rename = "both")]
    Both,
}

/// What happens after the cases before.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Then {
    pub(super) name: String,
    #[serde(default)]
    pub(super) wait_seconds: u32,
    #[serde(default)]
    pub(super) set: Vec<Value>,
    #[serde(default)]
    pub(super) remove: Vec<ObjectRef>,
    pub(super) cases: Vec<Case>,
}

/// A scenario with other settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variant {
    pub(super) name: String,
    #[serde(default)]
    pub(super) config: Value,
    /// The test of kube-proxy's that it restates, where it is not the scenario's.
    pub(super) upstream: Option<Upstream>,
    /// The cases that come out otherwise, by name.
    #[serde(default)]
    pub(super) overrides: BTreeMap<String, Override>,
}

/// What comes out otherwise: a field that is left out stays as it was.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Override {
    pub(super) fate: Option<Fate>,
    pub(super) masquerade: Option<bool>,
    pub(super) differs: Option<BTreeMap<Proxy, Difference>>,
    pub(super) skip: Option<BTreeMap<Way, String>>,
}

/// A case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    /// The scenario's where it is left out.
    pub(super) section: Option<String>,
    /// An address, or the name of a client.
    pub(super) from: String,
    /// Where packets of `from` come from, where that is not where its address is.
    pub(super) side: Option<Side>,
    pub(super) to: Target,
    pub(super) fate: Fate,
    #[serde(default)]
    pub(super) masquerade: bool,
    #[serde(default)]
    pub(super) after_seconds: u32,
    pub(super) sticks_to: Option<String>,
    #[serde(default)]
    pub(super) differs: BTreeMap<Proxy, Difference>,
    #[serde(default)]
    pub(super) skip: BTreeMap<Way, String>,
    /// Those of the scenario's modes that have it: all where it is left out.
    pub(super) upstream: Option<Vec<Proxy>>,
}

/// What a mode of kube-proxy does otherwise: a field that is left out is as here.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Difference {
    pub(super) fate: Option<Fate>,
    pub(super) masquerade: Option<bool>,
    pub(super) because: String,
}
