//! `cargo xtask demo`: two nodes with pods, an outside, real traffic between all of them, and nothing
//! left behind.
//!
//! Each step shows the commands that a person would type and what they print, and checks what it
//! says they prove. A step that fails does not end the demo; its exit code tells.

mod before;
mod cast;
mod guide;
mod print;
mod processes;
mod record;
mod removal;
mod scene;
mod server;
mod stage;
mod steps;
mod view;
mod wires;

use std::{
    fs, io,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use self::{
    before::NETNS,
    cast::{NODES, OUTSIDE},
    print::{Format, Printer},
    scene::Scene,
    stage::{ROOT, Stage, agent_log, bpffs, run_dir},
    steps::STEPS,
};
use crate::{
    Outcome,
    build::{self, Artifacts},
    interrupt,
    process::{is_root, say},
    repository::Repository,
    setup,
};

/// What to do.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Arguments {
    /// Leave everything standing, and print the commands to play with it.
    #[arg(long, conflicts_with = "remove")]
    keep: bool,
    /// Print one JSON document at the end: steps, commands, what they printed, claims.
    #[arg(long, conflicts_with_all = ["remove", "step"])]
    json: bool,
    /// Wait for the Enter key before each step.
    #[arg(long, conflicts_with = "remove")]
    step: bool,
    /// Check that docs/layers.md tells what this run has shown, or write it.
    #[arg(long, conflicts_with = "remove", value_name = "PURPOSE")]
    guide: Option<guide::Purpose>,
    /// Remove what `--keep` left.
    #[arg(long)]
    remove: bool,
    /// Be the server of this name; the demo starts these itself.
    #[arg(long, hide = true, value_name = "NAME", requires_all = ["serve_in", "serve_port"])]
    serve: Option<String>,
    /// The network namespace to serve in.
    #[arg(long, hide = true, value_name = "NAMESPACE")]
    serve_in: Option<String>,
    /// The port to serve on.
    #[arg(long, hide = true, value_name = "PORT")]
    serve_port: Option<u16>,
    /// Serve TLS, with the certificate and key in this folder.
    #[arg(long, hide = true, value_name = "FOLDER")]
    serve_as: Option<PathBuf>,
}

/// Builds, sets the stage, plays every step, and removes everything.
pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> Result<Outcome> {
    if !is_root() {
        bail!("the demo makes network namespaces and loads programs: run it as root");
    }
    if let (Some(name), Some(namespace), Some(port)) =
        (&arguments.serve, &arguments.serve_in, arguments.serve_port)
    {
        match server::serve(namespace, name, port, arguments.serve_as.as_deref())? {}
    }
    if arguments.remove {
        if !Path::new(ROOT).exists() {
            say("no demo stands");
            return Ok(Outcome::Done);
        }
        return Ok(finish(&repository.target().join("release/shunt")));
    }
    Stage::require_free()?;
    let artifacts = Artifacts::given().map_or_else(|| build::everything(repository), Ok)?;
    setup::test_tools()?;
    interrupt::watch("removing what the demo made")?;
    tests::netns::remember_the_machine();

    let begun = Instant::now();
    let printer = Printer::new(if arguments.json { Format::Json } else { Format::Text });
    let pace = if arguments.step { Pace::ByKey } else { Pace::Steady };
    Stage::reserve()?;
    let mut removal = RemovalOnDrop(Some(artifacts.shunt.clone()));
    play(&printer, pace, Stage::set(repository, &artifacts)?)?;
    let (proven, not_proven) = printer.tally();
    let summary = format!(
        "{proven} claims proven, {not_proven} not, in {:.0} seconds",
        begun.elapsed().as_secs_f64()
    );
    printer.verdict(not_proven == 0, &summary);
    for failure in printer.record().failures() {
        say(&failure);
    }
    printer.finish()?;
    let mut played = if not_proven == 0 { Outcome::Done } else { Outcome::Negative };
    if let (Outcome::Done, Some(purpose)) = (played, arguments.guide) {
        played = guide::serve(purpose, repository, &printer.record())?;
    }
    removal.0 = None;
    if arguments.keep {
        how_to_play(&printer, &artifacts.shunt);
        return Ok(played);
    }
    match finish(&artifacts.shunt) {
        Outcome::Done => Ok(played),
        Outcome::Negative => Ok(Outcome::Negative),
    }
}

/// Takes the stage down where the demo does not come to its end: on an error, a signal or a panic.
struct RemovalOnDrop(Option<PathBuf>);

impl Drop for RemovalOnDrop {
    fn drop(&mut self) {
        if let Some(shunt) = &self.0 {
            finish(shunt);
        }
    }
}

/// Removes everything and says what is left.
fn finish(shunt: &Path) -> Outcome {
    let left = removal::remove(shunt);
    if left.is_empty() {
        say("removed everything: namespaces, links, mounts, processes and BPF objects as before");
        return Outcome::Done;
    }
    for line in &left {
        say(&format!("NOT REMOVED: {line}"));
    }
    Outcome::Negative
}

/// When the next step is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Steady,
    /// When the Enter key is pressed.
    ByKey,
}

/// Plays every step.
fn play(printer: &Printer, pace: Pace, mut stage: Stage) -> Result<()> {
    introduce(printer, &stage);
    stage.start_agents(&NODES)?;
    stage.start_servers()?;
    let mut scene = Scene::new(stage, printer.clone());
    let mut layer = None;
    for (index, step) in STEPS.iter().enumerate() {
        if pace == Pace::ByKey {
            wait_for_enter()?;
        }
        interrupt::check()?;
        if layer.replace(step.layer) != Some(step.layer) {
            printer.layer(step.layer);
        }
        printer.headline(index + 1, step.layer, step.headline);
        let result = panic::catch_unwind(AssertUnwindSafe(|| (step.play)(&mut scene)))
            .unwrap_or_else(|_| bail!("the step panicked; its message is on stderr"));
        // A signal also breaks what was under way; that is no finding.
        interrupt::check()?;
        if let Err(error) = result {
            scene.proves("the step runs to its end", Err(error));
        }
    }
    if printer.tally().1 > 0 {
        for node in NODES {
            let log = fs::read_to_string(agent_log(node)).unwrap_or_default();
            say(&format!("the log of {node}'s agent:\n{log}"));
        }
    }
    Ok(())
}

fn wait_for_enter() -> Result<()> {
    say("press Enter");
    io::stdin().read_line(&mut String::new()).context("waiting for the Enter key")?;
    Ok(())
}

fn introduce(printer: &Printer, stage: &Stage) {
    printer.verdict(true, "shunt: two nodes, their pods, Services, and the world outside");
    printer.output(PICTURE.trim_matches('\n'));
    printer.text(
        "Every server answers with its name and with the client's address as it saw it; the line \
         below, where there is one, is the same connection as its client saw it. The commands \
         are run as they stand, after these:",
    );
    let folder = stage.repository().display();
    printer.command(&format!("cd {folder}; export PATH=$PWD/target/release:$PATH"));
    let [_, run_dir, bpffs, authority, client] = stage.environment();
    printer.command(&format!("export {}={} {}={}", run_dir.0, run_dir.1, bpffs.0, bpffs.1));
    printer.command(&format!("export {}={}", authority.0, authority.1));
    printer.command(&format!("export {}='{}'", client.0, client.1));
    for node in NODES {
        printer.command(&format!("{} &", stage::agent_command(node)));
    }
}

/// What stands where.
const PICTURE: &str = r"
controlplane                                             node01
  eth0 172.30.1.2 ─────────────── router ─────────────── eth0 172.30.2.2
  cni0 192.168.0.1/24               │                    cni0 192.168.1.1/24
    ├─ client    ├─ echo-1        outside                  ├─ web-3
    ├─ web-1     ├─ solo          172.31.0.2               └─ shop-1
    └─ web-2     └─ coredns
";

fn how_to_play(printer: &Printer, shunt: &Path) {
    printer.verdict(true, "Everything stands. To play with it:");
    let folder = shunt.parent().unwrap_or(Path::new("."));
    let [first, second] = NODES;
    for command in [
        format!("export PATH={}:$PATH", folder.display()),
        format!(
            "export SHUNT_RUN_DIR={} SHUNT_BPFFS={}",
            run_dir(first).display(),
            bpffs(first).display()
        ),
        "ip netns exec default.client curl http://web".to_owned(),
        format!(
            "ip netns exec default.client curl --cacert {} https://kubernetes",
            stage::api_server().certificate.display()
        ),
        "ip netns exec default.client curl http://10.96.45.123".to_owned(),
        "ip netns exec default.client curl 'http://[fd00:10:96::45:123]'".to_owned(),
        "ip netns exec default.client curl http://172.31.0.2:8080".to_owned(),
        format!("nsenter --net={NETNS}/{first} curl http://10.96.45.123"),
        format!("ip netns exec {OUTSIDE} curl http://172.30.1.2:30080"),
        "shunt get services".to_owned(),
        format!("shunt get connections --run-dir {}", run_dir(second).display()),
        format!("$EDITOR {ROOT}/manifests/services.yaml    # the datapath follows"),
        format!("tail {}", agent_log(first).display()),
    ] {
        printer.command(&command);
    }
    printer.text("And to remove it:");
    printer.command("cargo xtask demo --remove");
}
