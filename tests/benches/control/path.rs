//! The path from objects to maps by itself, stage by stage, without an agent around it.

use std::{env, fs, time::Duration};

use serde_json::Value;
use tests::process;

use crate::{objects, result::Measured, stage::Stage};

/// How long all stages may take together.
const LONGEST: Duration = Duration::from_mins(5);

/// The stages by their names in what `control-path` prints.
const STAGES: [(&str, &str); 5] = [
    ("read", "path alone: files to objects"),
    ("take", "  objects into the cluster"),
    ("compile", "  compile"),
    ("write", "  write all to the kernel's maps (sync)"),
    ("change", "  one change, from its text to the maps"),
];

pub(crate) fn measure(stage: Stage, measured: &mut Measured) {
    let program = env::var("SHUNT_CONTROL_PATH").expect("where control-path is");
    let Some((folder, topology)) = stage.into_folder() else { return };
    let bpffs = topology.sandbox().bpffs().join("path");
    fs::create_dir_all(&bpffs).expect("a folder for pins");
    let changed = topology.sandbox().root().join("changed.yaml");
    let text = serde_yaml_ng::to_string(&objects::changed_slice(objects::PORTS[1]));
    fs::write(&changed, text.expect("JSON is YAML")).expect("writing the change");
    let mut command = topology.node(0).netns().command(&program);
    command.args([folder.path(), &changed, &bpffs]);
    let finished = process::finish(&mut command, LONGEST);
    assert_eq!(finished.code, 0, "{finished:?}");
    let times: Value = serde_json::from_str(&finished.stdout).expect("times");
    for (stage, what) in STAGES {
        let time =
            |clock: usize| Duration::from_micros(times[stage][clock].as_u64().expect("a time"));
        measured.time(what, time(0));
        if stage == "write" {
            measured.time("    the same, processor's time", time(1));
        }
    }
}
