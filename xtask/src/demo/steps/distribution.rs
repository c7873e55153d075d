//! New connections go to backends as a fair die falls.

use anyhow::{Context, Result, ensure};
use tests::statistics::{chi_square, probability_of_three};

use crate::demo::scene::{Answer, Scene};

const CONNECTIONS: u64 = 300;
/// A fair die is called unfair once in so many demos.
const UNLIKELY: f64 = 1e-5;

pub(super) fn three_backends(scene: &mut Scene) -> Result<()> {
    let answer = scene.run(
        "ip netns exec default.client curl -sS 'http://10.96.45.123/?[1-300]' \\\n        \
         | cut -d' ' -f1 | sort | uniq -c",
    )?;
    let counts = counts(&answer);
    let sum = counts.as_ref().map_or(0, |counts| counts.iter().sum());
    let all = counts.as_ref().map_or_else(
        |error| Err(anyhow::anyhow!("{error:#}")),
        |_| {
            ensure!(sum == CONNECTIONS, "{sum} were answered");
            Ok(())
        },
    );
    scene.proves("each of the 300 connections was answered", all);
    let counts = counts?;
    ensure!(counts.len() == 3, "{} backends answered", counts.len());
    let statistic = chi_square(&counts);
    let probability = probability_of_three(statistic);
    let fair = (|| {
        ensure!(probability > UNLIKELY, "chi-square {statistic:.2}");
        Ok(())
    })();
    scene.proves(
        &format!(
            "each backend gets a third: chance differs as much {:.0} times in 100 (chi-square \
             {statistic:.2})",
            probability * 100.0
        ),
        fair,
    );
    Ok(())
}

/// The counts of `uniq -c`; only backends of Service `web` may have answered.
fn counts(answer: &Answer) -> Result<Vec<u64>> {
    answer
        .succeeded()?
        .text
        .lines()
        .map(|line| {
            let (count, server) =
                line.trim().split_once(' ').with_context(|| format!("not a count: {line:?}"))?;
            ensure!(server.starts_with("web-"), "{server} answered");
            count.parse().with_context(|| format!("not a count: {line:?}"))
        })
        .collect()
}
