//! What the first packet of a flow pays for so many services: the time of a question and its answer
//! by a new flow, against a node with ten. The two nodes are asked in turns.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    result::Measured,
    stage::{Stage, ask},
};

/// How long one answer is waited for.
const ANSWER: Duration = Duration::from_secs(1);
/// Into how many parts the questions are split, for the spread of what they say.
const PARTS: usize = 20;

pub(crate) fn measure(stage: &Stage, packets: u32, measured: &mut Measured) {
    let targets = [0, 1].map(|node| stage.asked(node));
    let mut times = [Vec::new(), Vec::new()];
    stage.outside().run(|| {
        for number in 0..packets as usize {
            // Whoever is first has the caches as the other has left them: it is each in turns.
            for node in [number % 2, 1 - number % 2] {
                let targets = &targets[node];
                times[node].extend(time_of(targets[number / 2 % targets.len()]));
            }
        }
    });
    let [measured_node, twin] = &times;
    measured.note("first packet and its answer, p50", micros(median(measured_node)), "µs");
    let ratio =
        |(one, other): (&[Duration], &[Duration])| micros(median(one)) / micros(median(other));
    measured.note("  against ten services", ratio((measured_node, twin)), "×");
    let part = measured_node.len().min(twin.len()).div_ceil(PARTS);
    let mut ratios: Vec<f64> =
        measured_node.chunks(part).zip(twin.chunks(part)).map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (ratios.get(1), ratios.get(ratios.len().saturating_sub(2)))
    else {
        return;
    };
    measured.note("  the same, 5th of 100 parts", *least, "×");
    measured.note("  the same, 95th of 100 parts", *most, "×");
}

fn time_of(target: SocketAddr) -> Option<Duration> {
    let begun = Instant::now();
    ask(target, ANSWER).ok()?;
    Some(begun.elapsed())
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
