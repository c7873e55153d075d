//! QEMU: a machine with a processor, memory, two serial ports, and nothing else.

use std::{
    fmt,
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::job::Answer;
use crate::process::{find_program, say};

/// The program.
const QEMU: &str = "qemu-system-x86_64";

/// How long a kernel without anything to run may take to say so, where KVM works.
const TRIAL: Duration = Duration::from_secs(10);

/// What every kernel is told:
///
/// - memory is not zeroed when it is taken, and no measures against spying processors are taken,
///   which an emulated one does not need: both would make the verifier slower;
/// - where the kernel is in memory is no secret, so that two runs are alike;
/// - a panic ends the machine.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 loglevel=4 init_on_alloc=0 mitigations=off nokaslr \
                            apparmor=0 audit=0 random.trust_cpu=on rdinit=/xtask";

/// How instructions are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Processor {
    /// By the machine's own processor.
    Kvm,
    /// Translated, as fast as can be.
    Emulated,
    /// Translated and counted: time inside is the number of instructions, one each nanosecond, and
    /// time in which nothing is to be done does not pass outside.
    Counted,
}

impl Processor {
    /// The quickest one that works here: a kernel is booted to see whether KVM does, because on some
    /// machines its device is there and guests stand still.
    pub(super) fn quickest(image: &Path) -> Self {
        if !Path::new("/dev/kvm").exists() {
            return Self::Emulated;
        }
        let boot = Command::new(QEMU)
            .args(Self::Kvm.arguments())
            .args(["-m", "256", "-display", "none", "-nodefaults", "-no-reboot", "-kernel"])
            .arg(image)
            .args(["-append", "panic=-1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut boot) = boot else { return Self::Emulated };
        // A kernel that finds nothing to run panics, and that ends the machine.
        if wait(&mut boot, TRIAL) { Self::Kvm } else { Self::Emulated }
    }

    fn arguments(self) -> Vec<&'static str> {
        match self {
            Self::Kvm => vec!["-accel", "kvm", "-cpu", "host"],
            // The models with more features have larger page tables, and translate slower.
            Self::Emulated => vec!["-accel", "tcg,thread=multi", "-cpu", "qemu64,+rdrand"],
            Self::Counted => vec![
                "-accel",
                "tcg,thread=single",
                "-icount",
                "shift=0,sleep=off",
                "-cpu",
                "qemu64,+rdrand",
            ],
        }
    }

    /// How many a machine has: translated ones are slow enough one at a time, and another machine
    /// runs beside it.
    const fn count(self) -> &'static str {
        match self {
            Self::Kvm => "2",
            Self::Emulated | Self::Counted => "1",
        }
    }

    /// How many times as long tests wait for what takes processors' time.
    pub(super) const fn patience(self) -> u32 {
        match self {
            Self::Kvm => 1,
            Self::Emulated => 15,
            Self::Counted => 10,
        }
    }
}

impl fmt::Display for Processor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kvm => "KVM",
            Self::Emulated => "emulated, KVM does not work here",
            Self::Counted => "emulated, instructions counted",
        })
    }
}

/// A machine that can be started.
#[derive(Debug)]
pub(super) struct Machine {
    /// The kernel.
    pub(super) image: PathBuf,
    /// The file system.
    pub(super) archive: PathBuf,
    /// How instructions are carried out.
    pub(super) processor: Processor,
    /// Where the console's output and the answer are kept.
    pub(super) folder: PathBuf,
    /// A file that is locked as long as it is open: two machines in one folder take each other's
    /// answers.
    pub(super) _alone: File,
    /// What lines of the console begin with here.
    pub(super) prefix: String,
    /// How long it may run.
    pub(super) limit: Duration,
}

impl Machine {
    /// Runs it to its end, shows what its console says, and returns its answer.
    pub(super) fn run(&self) -> Result<Answer> {
        let log = self.folder.join("serial.log");
        let mut kept = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let started = Instant::now();
        let mut child = self
            .command()?
            .args(["-serial", "stdio", "-serial", "chardev:answer"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting QEMU")?;
        let lines = lines_of(&mut child)?;
        loop {
            let left = self.limit.saturating_sub(started.elapsed());
            match lines.recv_timeout(left) {
                Ok(line) => {
                    writeln!(kept, "{line}")
                        .with_context(|| format!("writing {}", log.display()))?;
                    eprintln!("{}{line}", self.prefix);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    end(&mut child);
                    bail!(
                        "the virtual machine was not done after {:?}: what it said is in {}; name \
                         fewer tests, or give more time with --minutes",
                        self.limit,
                        log.display()
                    );
                }
            }
        }
        let status = child.wait().context("waiting for QEMU")?;
        let answer = fs::read_to_string(self.answer()).unwrap_or_default();
        let answer = answer.lines().rfind(|line| line.starts_with('{'));
        let answer = answer.and_then(|line| serde_json::from_str(line).ok()).with_context(|| {
            format!(
                "the virtual machine ended ({status}) before it was done: the end of {} says why",
                log.display()
            )
        })?;
        say(&format!("{}{:?} in all", self.prefix, started.elapsed()));
        Ok(answer)
    }

    /// Runs it with its console on this terminal.
    pub(super) fn interact(&self) -> Result<()> {
        say("the machine ends with its shell; ctrl-a x ends it at once");
        let status = self
            .command()?
            .args(["-serial", "mon:stdio", "-serial", "chardev:answer"])
            .status()
            .context("starting QEMU")?;
        if !status.success() {
            bail!("QEMU ended with {status}");
        }
        Ok(())
    }

    fn command(&self) -> Result<Command> {
        let Some(qemu) = find_program(QEMU) else {
            bail!(
                "there is no {QEMU}; `apt-get install qemu-system-x86`, or `cargo xtask setup` as root"
            );
        };
        let answer = self.answer();
        let _ = fs::remove_file(&answer);
        let mut command = Command::new(qemu);
        command
            .args(self.processor.arguments())
            .args(["-machine", "pc", "-m", "3072", "-smp", self.processor.count()])
            .args(["-display", "none", "-nodefaults", "-no-user-config", "-no-reboot"])
            .arg("-kernel")
            .arg(&self.image)
            .arg("-initrd")
            .arg(&self.archive)
            .args(["-append", &format!("{COMMAND_LINE} -- guest")])
            .args(["-chardev", &format!("file,id=answer,path={}", answer.display())]);
        Ok(command)
    }

    fn answer(&self) -> PathBuf {
        self.folder.join("answer.json")
    }
}

/// The lines of a child's output, without the ends that a terminal gives them.
fn lines_of(child: &mut Child) -> Result<mpsc::Receiver<String>> {
    let stdout = child.stdout.take().context("QEMU's output is a pipe")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line);
            if sender.send(text.trim_end_matches(['\r', '\n']).to_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    Ok(lines)
}

/// Whether a child ends within the limit; it is ended after it.
fn wait(child: &mut Child, limit: Duration) -> bool {
    let started = Instant::now();
    while started.elapsed() < limit {
        if let Ok(Some(status)) = child.try_wait() {
            return status.success();
        }
        thread::sleep(Duration::from_millis(50));
    }
    end(child);
    false
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
