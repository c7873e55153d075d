//! What the demo has shown, for machines: what `--json` prints.

use serde::Serialize;

use super::steps::Layer;

/// Everything that was shown, step by step.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    proven: u32,
    not_proven: u32,
    steps: Vec<StepRecord>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StepRecord {
    number: usize,
    layer: &'static str,
    headline: &'static str,
    commands: Vec<CommandRecord>,
    claims: Vec<ClaimRecord>,
    /// What a reader has seen of it, below its headline, line by line.
    #[serde(skip)]
    transcript: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct CommandRecord {
    command: String,
    /// All that it printed, on both streams.
    output: String,
}

#[derive(Clone, Debug, Serialize)]
struct ClaimRecord {
    claim: String,
    proven: bool,
    /// What was seen instead.
    reason: Option<String>,
}

impl Record {
    /// A step begins.
    pub(super) fn begin(&mut self, number: usize, layer: Layer, headline: &'static str) {
        let layer = layer.name();
        let (commands, claims, transcript) = (Vec::new(), Vec::new(), Vec::new());
        self.steps.push(StepRecord { number, layer, headline, commands, claims, transcript });
    }

    /// A command was run. What comes before the first step is how to repeat all of it, and is not
    /// kept.
    pub(super) fn command(&mut self, command: &str) {
        if let Some(step) = self.steps.last_mut() {
            let command = command.to_owned();
            step.commands.push(CommandRecord { command, output: String::new() });
        }
    }

    /// The last command has printed this.
    pub(super) fn output(&mut self, text: &str) {
        if let Some(command) = self.steps.last_mut().and_then(|step| step.commands.last_mut()) {
            command.output += text;
        }
    }

    /// A claim holds, or does not for this reason.
    pub(super) fn claim(&mut self, claim: &str, reason: Option<&str>) {
        match reason {
            None => self.proven += 1,
            Some(_) => self.not_proven += 1,
        }
        if let Some(step) = self.steps.last_mut() {
            step.claims.push(ClaimRecord {
                claim: claim.to_owned(),
                proven: reason.is_none(),
                reason: reason.map(str::to_owned),
            });
        }
    }

    /// A reader has seen this line.
    pub(super) fn seen(&mut self, line: &str) {
        if let Some(step) = self.steps.last_mut() {
            step.transcript.push(line.to_owned());
        }
    }

    /// The headline of each step, and what a reader has seen below it.
    pub(super) fn transcripts(&self) -> impl Iterator<Item = (&'static str, &[String])> {
        self.steps.iter().map(|step| (step.headline, step.transcript.as_slice()))
    }

    /// What was not proven, a line for each claim.
    pub(super) fn failures(&self) -> impl Iterator<Item = String> {
        self.steps.iter().flat_map(|step| {
            step.claims.iter().filter_map(move |claim| {
                let reason = claim.reason.as_ref()?;
                Some(format!(
                    "{}. {}: not proven: {}: {reason}",
                    step.number, step.headline, claim.claim
                ))
            })
        })
    }

    /// How many claims held, and how many did not.
    pub(super) fn tally(&self) -> (u32, u32) {
        (self.proven, self.not_proven)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn outputs_are_the_last_commands_and_claims_are_counted() {
        let mut record = Record::default();
        record.command("cd somewhere");
        record.begin(1, Layer::Veth, "A headline");
        record.command("ip link");
        record.output("eth0\n");
        record.claim("it is there", None);
        record.claim("it is up", Some("it is down"));
        assert_eq!(record.tally(), (1, 1));
        let failures: Vec<String> = record.failures().collect();
        assert_eq!(failures, ["1. A headline: not proven: it is up: it is down"]);
        let step = json!({
            "number": 1,
            "layer": "2 veth",
            "headline": "A headline",
            "commands": [{"command": "ip link", "output": "eth0\n"}],
            "claims": [
                {"claim": "it is there", "proven": true, "reason": null},
                {"claim": "it is up", "proven": false, "reason": "it is down"},
            ],
        });
        let expected = json!({"proven": 1, "notProven": 1, "steps": [step]});
        assert_eq!(serde_json::to_value(&record).unwrap(), expected);
    }
}
