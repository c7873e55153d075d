//! The fields of a document, one by one, by their paths.

use std::collections::BTreeMap;

use serde_yaml_ng::{Mapping, Value};

/// The key of kubeadm's ConfigMap that holds the configuration.
const KEY: &str = "config.conf";

/// The fields that have a value, by path, as `iptables.masqueradeAll`. What is null, empty or zero is
/// as good as absent, as in kube-proxy; `false` is not.
#[derive(Debug, Default)]
pub(super) struct Document(pub(super) BTreeMap<String, Value>);

impl Document {
    /// Reads a KubeProxyConfiguration, or a ConfigMap that has one.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mapping: Mapping = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
        let says = |key: &str| mapping.get(key).and_then(Value::as_str).unwrap_or_default();
        if (says("apiVersion"), says("kind")) == ("v1", "ConfigMap") {
            let inner = mapping.get("data").and_then(|data| data.get(KEY)).and_then(Value::as_str);
            let inner = inner.ok_or_else(|| {
                format!("the ConfigMap has no data[{KEY}]: name the one that kube-proxy is given")
            })?;
            return Self::read(inner).map_err(|reason| format!("data[{KEY}]: {reason}"));
        }
        let expected = ("kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration");
        if (says("apiVersion"), says("kind")) != expected {
            return Err(format!(
                "it is of apiVersion {:?} and kind {:?}: it must be a KubeProxyConfiguration of \
                 {}, or the ConfigMap of kubeadm that holds one",
                says("apiVersion"),
                says("kind"),
                expected.0
            ));
        }
        let mut fields = BTreeMap::new();
        flatten("", &mapping, &mut fields)?;
        fields.remove("apiVersion");
        fields.remove("kind");
        Ok(Self(fields))
    }

    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        self.0.get(path)
    }

    /// A text; an error where it is something else.
    pub(super) fn text(&self, path: &str) -> Result<Option<&str>, String> {
        let Some(value) = self.get(path) else { return Ok(None) };
        let text = value.as_str();
        text.map(Some).ok_or_else(|| format!("{path}: {} is no text", shown(value)))
    }

    /// A truth value; an error where it is something else.
    pub(super) fn truth(&self, path: &str) -> Result<Option<bool>, String> {
        let Some(value) = self.get(path) else { return Ok(None) };
        let truth = value.as_bool();
        truth.map(Some).ok_or_else(|| format!("{path}: {} is neither true nor false", shown(value)))
    }

    /// Texts; an error where there is something else.
    pub(super) fn texts(&self, path: &str) -> Result<Vec<&str>, String> {
        let Some(value) = self.get(path) else { return Ok(Vec::new()) };
        let texts = value.as_sequence().map(|list| list.iter().map(Value::as_str).collect());
        let texts: Option<Option<Vec<&str>>> = texts;
        texts.flatten().ok_or_else(|| format!("{path}: {} is no list of texts", shown(value)))
    }
}

/// What has fields that nobody names beforehand is one value.
const MAPS: [&str; 2] = ["featureGates", "metadata"];

fn flatten(
    above: &str,
    mapping: &Mapping,
    fields: &mut BTreeMap<String, Value>,
) -> Result<(), String> {
    for (key, value) in mapping {
        let key = key.as_str().ok_or_else(|| format!("{above}: {} is no name", shown(key)))?;
        let path = if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") };
        match value {
            Value::Mapping(inner) if !MAPS.contains(&path.as_str()) => {
                flatten(&path, inner, fields)?;
            }
            value if is_nothing(value) => {}
            value => {
                fields.insert(path, value.clone());
            }
        }
    }
    Ok(())
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(_) | Value::Tagged(_) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0s",
        Value::Sequence(list) => list.is_empty(),
        Value::Mapping(map) => map.is_empty(),
    }
}

/// A value in one line.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => serde_json::to_string(value).unwrap_or_else(|_| format!("{value:?}")),
    }
}
