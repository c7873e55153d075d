//! Reading the table.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use maps_schema::address::Family;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    cast::Cast,
    file::{self, Families},
    packet::Packet,
    scenario::{Case, Config, Difference, Expected, Proxy, Scenario, Step, Way},
    twin,
};

/// All scenarios of both families, and the world that they happen in.
#[derive(Clone, Debug)]
pub struct Table {
    /// The cast, in IPv4 and in IPv6.
    pub casts: [Cast; 2],
    /// The scenarios, by file, each followed by its twin.
    pub scenarios: Vec<Scenario>,
    /// Why scenarios have no twin, by their names.
    pub without_twin: BTreeMap<String, String>,
}

/// Where the table is.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

impl Table {
    /// Reads the table that belongs to these tests.
    ///
    /// # Panics
    ///
    /// With the file, the scenario and the case that is wrong.
    pub fn read() -> Self {
        Self::read_folder(&folder()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Reads a folder.
    ///
    /// # Errors
    ///
    /// The file, the scenario and the case that is wrong, and how.
    pub fn read_folder(folder: &Path) -> Result<Self, String> {
        let world = read_yaml(&folder.join("world.yaml"))?;
        let v4: Cast = typed(world.clone(), "world.yaml")?;
        let mut v6: Cast = typed(twin::of(world), "the twin of world.yaml")?;
        v6.family = Family::V6;
        let mut table =
            Self { casts: [v4, v6], scenarios: Vec::new(), without_twin: BTreeMap::new() };
        let mut paths: Vec<PathBuf> = fs::read_dir(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
            .filter(|path| !path.ends_with("world.yaml"))
            .collect();
        paths.sort();
        for path in paths {
            table.add_file(&path)?;
        }
        let mut names = BTreeSet::new();
        for scenario in &table.scenarios {
            if !names.insert(scenario.id()) {
                return Err(format!("two scenarios are called {}", scenario.id()));
            }
        }
        Ok(table)
    }

    /// The cast of a family.
    pub fn cast(&self, family: Family) -> &Cast {
        let [v4, v6] = &self.casts;
        match family {
            Family::V4 => v4,
            Family::V6 => v6,
        }
    }

    /// The cast of a scenario, with both families where it is in both.
    pub fn cast_of(&self, families: &[Family]) -> Cast {
        match families {
            [family] => self.cast(*family).clone(),
            _ => self.cast(Family::V4).with(self.cast(Family::V6)),
        }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), String> {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let written = read_yaml(path)?;
        let v4: file::File = typed(written.clone(), &format!("{name}.yaml"))?;
        let v6: file::File = typed(twin::of(written), &format!("the twin of {name}.yaml"))?;
        for (v4, v6) in v4.scenarios.into_iter().zip(v6.scenarios) {
            let Some(as_written) = &v4.as_written else {
                self.add_scenario(&name, &v4, &[Family::V4])?;
                self.add_scenario(&name, &v6, &[Family::V6])?;
                continue;
            };
            let reason = as_written.because.clone();
            self.without_twin.insert(format!("{name}: {}", v4.name), reason);
            let families: &[Family] = match as_written.families {
                Families::V4 => &[Family::V4],
                Families::V6 => &[Family::V6],
                Families::Both => &[Family::V4, Family::V6],
            };
            self.add_scenario(&name, &v4, families)?;
        }
        Ok(())
    }

    fn add_scenario(
        &mut self,
        file: &str,
        written: &file::Scenario,
        families: &[Family],
    ) -> Result<(), String> {
        let about = |error| format!("{file}.yaml: {} {families:?}: {error}", written.name);
        let plain = file::Variant {
            name: String::new(),
            config: Value::Null,
            upstream: None,
            overrides: BTreeMap::new(),
        };
        let variants = if written.variants.is_empty() {
            std::slice::from_ref(&plain)
        } else {
            &written.variants
        };
        for variant in variants {
            let cast = self.cast_of(families);
            let scenario = expand(file, written, variant, (&cast, families)).map_err(about)?;
            self.scenarios.push(scenario);
        }
        Ok(())
    }
}

/// Reads YAML with its merge keys (`<<`) applied.
fn read_yaml(path: &Path) -> Result<Value, String> {
    let about = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| about(&error))?;
    let mut value: serde_yaml_ng::Value =
        serde_yaml_ng::from_str(&text).map_err(|error| about(&error))?;
    value.apply_merge().map_err(|error| about(&error))?;
    serde_json::to_value(value).map_err(|error| about(&error))
}

fn typed<T: DeserializeOwned>(value: Value, what: &str) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| format!("{what}: {error}"))
}

/// One scenario under the settings of one variant, with nothing left out.
fn expand(
    file: &str,
    written: &file::Scenario,
    variant: &file::Variant,
    (cast, families): (&Cast, &[Family]),
) -> Result<Scenario, String> {
    let name = match variant.name.as_str() {
        "" => written.name.clone(),
        variant => format!("{}, {variant}", written.name),
    };
    let upstream = variant.upstream.as_ref().or(written.upstream.as_ref());
    let proxies = upstream.map(|upstream| match families {
        [Family::V6] if written.as_written.is_none() => upstream.ipv6.as_slice(),
        _ => upstream.proxies.as_slice(),
    });
    let mut unused: BTreeSet<&String> = variant.overrides.keys().collect();
    let mut names = BTreeSet::new();
    let mut cases = |cases: &[file::Case]| -> Result<Vec<Case>, String> {
        cases
            .iter()
            .map(|case| {
                if !names.insert(case.name.clone()) {
                    return Err(format!("two cases are called {:?}", case.name));
                }
                unused.remove(&case.name);
                let overrides = variant.overrides.get(&case.name);
                let around =
                    Around { scenario: written, proxies: proxies.unwrap_or_default(), cast };
                expand_case(case, overrides, &around)
                    .map_err(|error| format!("{:?}: {error}", case.name))
            })
            .collect()
    };
    let first = Step {
        name: String::new(),
        wait_seconds: 0,
        set: with_nodes(cast, &written.objects),
        remove: Vec::new(),
        cases: cases(&written.cases)?,
    };
    let mut steps = vec![first];
    for then in &written.then {
        steps.push(Step {
            name: then.name.clone(),
            wait_seconds: then.wait_seconds,
            set: then.set.clone(),
            remove: then.remove.clone(),
            cases: cases(&then.cases)?,
        });
    }
    if let Some(name) = unused.first() {
        return Err(format!("{:?} overrides {name:?}, which is no case", variant.name));
    }
    for step in &steps {
        check_sequence(&step.cases)?;
    }
    let sequence = steps.iter().flat_map(|step| &step.cases).any(is_in_sequence);
    Ok(Scenario {
        file: file.to_owned(),
        name,
        title: written.name.clone(),
        family: cast.family,
        families: families.to_vec(),
        without_twin: written.as_written.is_some(),
        section: written.section.clone(),
        field: written.field.clone(),
        says: written.says.clone(),
        upstream: upstream.cloned(),
        config: config(cast, [&written.config, &variant.config])?,
        steps,
        sequence,
    })
}

/// The scenario's objects, and the cast's Nodes that it has no others in place of.
fn with_nodes(cast: &Cast, objects: &[Value]) -> Vec<Value> {
    let is_replaced = |node: &Value| {
        objects.iter().any(|object| {
            object["kind"] == "Node" && object["metadata"]["name"] == node["metadata"]["name"]
        })
    };
    let mut all: Vec<Value> =
        cast.nodes.iter().filter(|node| !is_replaced(node)).cloned().collect();
    all.extend(objects.iter().cloned());
    all
}

/// The cast's settings, with those that are written in their place.
fn config<'a>(cast: &Cast, written: impl IntoIterator<Item = &'a Value>) -> Result<Config, String> {
    let mut config = cast.config.clone();
    for value in written {
        let Value::Object(fields) = value else { continue };
        for (name, value) in fields {
            let one = Value::Object([(name.clone(), value.clone())].into_iter().collect());
            let only: Config = typed(one, "config")?;
            match name.as_str() {
                "masquerade-all" => config.masquerade_all = only.masquerade_all,
                "detect-local" => config.detect_local = only.detect_local,
                "localhost-node-ports" => config.localhost_node_ports = only.localhost_node_ports,
                "node-port-addresses" => config.node_port_addresses = only.node_port_addresses,
                _ => config.service_cidrs = only.service_cidrs,
            }
        }
    }
    Ok(config)
}

/// What is around a case.
struct Around<'a> {
    scenario: &'a file::Scenario,
    /// The modes of kube-proxy that its rows are from.
    proxies: &'a [Proxy],
    cast: &'a Cast,
}

fn expand_case(
    case: &file::Case,
    overrides: Option<&file::Override>,
    &Around { scenario, proxies, cast }: &Around<'_>,
) -> Result<Case, String> {
    let none = file::Override::default();
    let overrides = overrides.unwrap_or(&none);
    let source = cast.client(&case.from)?;
    if source.is_ipv4() != case.to.address.is_ipv4() {
        return Err("`from` and `to` are of two families".to_owned());
    }
    let packet = Packet {
        source,
        side: case.side.unwrap_or_else(|| cast.side_of(source)),
        destination: case.to.address,
        protocol: case.to.protocol,
    };
    let expected = Expected {
        fate: overrides.fate.clone().unwrap_or_else(|| case.fate.clone()),
        masquerade: overrides.masquerade.unwrap_or(case.masquerade),
    };
    let mut skip: BTreeMap<Way, String> = scenario.skip.clone();
    skip.extend(overrides.skip.clone().unwrap_or_else(|| case.skip.clone()));
    let written = overrides.differs.as_ref().unwrap_or(&case.differs);
    let differs = written.iter().map(|(proxy, it)| (*proxy, difference(it, &expected))).collect();
    let has_it = |proxy: &&Proxy| case.upstream.as_ref().is_none_or(|own| own.contains(proxy));
    let upstream = proxies.iter().filter(has_it).copied().collect();
    Ok(Case {
        name: case.name.clone(),
        section: case.section.clone().unwrap_or_else(|| scenario.section.clone()),
        after_seconds: case.after_seconds,
        packet,
        expected,
        sticks_to: case.sticks_to.clone(),
        differs,
        skip,
        upstream,
    })
}

fn difference(written: &file::Difference, here: &Expected) -> Difference {
    let expected = Expected {
        fate: written.fate.clone().unwrap_or_else(|| here.fate.clone()),
        masquerade: written.masquerade.unwrap_or(here.masquerade),
    };
    Difference { expected, because: written.because.clone() }
}

fn is_in_sequence(case: &Case) -> bool {
    case.sticks_to.is_some() || case.after_seconds > 0
}

fn check_sequence(cases: &[Case]) -> Result<(), String> {
    let mut before = BTreeSet::new();
    for case in cases {
        if let Some(name) = &case.sticks_to
            && !before.contains(name)
        {
            return Err(format!("{:?} sticks to {name:?}, which is no case before it", case.name));
        }
        before.insert(&case.name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let table = Table::read();
        assert!(!table.scenarios.is_empty());
    }
}
