//! What `shunt check` and the agent say of this kernel as it is, and of the same kernel without one
//! of its modules.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    super::job::{Answer, Job, Tests},
    job_command,
};

/// How long the kernel may take to clear away what used a module.
const UNLOADING: Duration = Duration::from_secs(30);

/// Requires that `shunt check` says yes, by the way of attaching that this kernel has, and no where
/// a module is not there; and that the agent does not start then, with the same words.
pub(super) fn check_with_and_without_modules(
    job: &Job,
    tests: &Tests,
    answer: &mut Answer,
) -> Result<()> {
    // First, while nothing uses them.
    for (module, feature) in &tests.needed_modules {
        let name = format!("check::without_{module}_the_agent_does_not_start");
        judge(answer, name, without(job, module, feature)?);
    }
    let check = shunt(job, &["check", "-o", "json"])?;
    let printed = text(&check.stdout);
    let said: serde_json::Value = serde_json::from_str(&printed)
        .with_context(|| format!("`shunt check -o json` printed {printed:?}"))?;
    let verdict = if !check.status.success() {
        Err(format!("`shunt check` says no: {printed} {}", text(&check.stderr)))
    } else if said["tcMode"] != tests.tc.as_str() {
        Err(format!("TC programs are attached by {}, not by {}", said["tcMode"], tests.tc))
    } else {
        Ok(())
    };
    judge(answer, format!("check::this_kernel_has_all_and_takes_{}", tests.tc), verdict);
    Ok(())
}

fn judge(answer: &mut Answer, name: String, verdict: Result<(), String>) {
    match verdict {
        Ok(()) => {
            eprintln!("    PASS [        ] {name}");
            answer.passed += 1;
        }
        Err(reason) => {
            eprintln!("    FAIL [        ] {name}\n{reason}");
            answer.failed.push(name);
        }
    }
}

fn without(job: &Job, module: &str, feature: &str) -> Result<Result<(), String>> {
    let file = module_file(module)?;
    let aside = file.with_extension("aside");
    fs::rename(&file, &aside).with_context(|| format!("hiding {}", file.display()))?;
    unload(module)?;
    let check = shunt(job, &["check"]);
    let agent = shunt(job, &["agent", "--node-name", "node1", "--manifests", "/tmp"]);
    fs::rename(&aside, &file).with_context(|| format!("restoring {}", file.display()))?;
    let (check, agent) = (check?, agent?);

    let named = format!("{feature}: needed for ");
    let sentence = [text(&check.stdout), text(&check.stderr)].concat();
    let sentence =
        sentence.lines().find_map(|line| Some(line.get(line.find(&named)?..)?.to_owned()));
    let Some(sentence) = sentence else {
        return Ok(Err(format!("`shunt check` does not name {feature}: {check:?}")));
    };
    eprintln!("         without {module}: {sentence}");
    if check.status.code() != Some(1) {
        return Ok(Err(format!("`shunt check` ended with {}", check.status)));
    }
    let refusal = text(&agent.stderr);
    if agent.status.success() || !refusal.contains(&sentence) {
        return Ok(Err(format!("the agent ended with {} and said {refusal:?}", agent.status)));
    }
    Ok(Ok(()))
}

/// Where a module of this kernel is.
fn module_file(module: &str) -> Result<PathBuf> {
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("asking for the kernel")?;
    let folder = Path::new("/lib/modules").join(release.trim());
    let list = folder.join("modules.dep");
    let text = fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
    for line in text.lines() {
        let path = line.split(':').next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        if name.split('.').next() == Some(module) {
            return Ok(folder.join(path));
        }
    }
    bail!("this kernel has no module {module}")
}

fn shunt(job: &Job, arguments: &[&str]) -> Result<Output> {
    let binary = job.environment.get("SHUNT_BIN").context("the job does not say where shunt is")?;
    // An agent that starts all the same does not end by itself.
    job_command(job, "timeout")
        .args(["300", binary])
        .args(arguments)
        .output()
        .with_context(|| format!("starting {binary}"))
}

/// Takes a module out of the kernel, once what used it is gone.
fn unload(module: &str) -> Result<()> {
    let started = Instant::now();
    while Path::new("/sys/module").join(module).exists() {
        let removed = Command::new("/sbin/rmmod").arg(module).output().context("starting rmmod")?;
        if !removed.status.success() && started.elapsed() > UNLOADING {
            bail!("module {module} stays: {}", text(&removed.stderr));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
