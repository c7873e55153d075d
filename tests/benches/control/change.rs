//! One change of one endpoint: from before it is written until the first packet that goes the new
//! way was sent.

use std::{
    net::SocketAddr,
    sync::mpsc::{self, Sender},
    thread,
    time::{Duration, Instant},
};

use crate::{
    objects::PORTS,
    result::Measured,
    stage::{Stage, ask},
};

/// How long a change may take.
const LONGEST: Duration = Duration::from_secs(20);
/// How long one answer is waited for.
const ANSWER: Duration = Duration::from_millis(50);
/// Between two questions: the processors are the agent's too.
const BETWEEN: Duration = Duration::from_micros(50);
/// Between two changes: what the agent does behind the first is done.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn measure(stage: &Stage, changes: u32, measured: &mut Measured) {
    let target = stage.changed();
    let mut times = Vec::new();
    for number in 1..=changes {
        thread::sleep(PAUSE);
        let [before, after] = [number - 1, number].map(|number| PORTS[number as usize % 2]);
        let time = thread::scope(|scope| {
            let (asked, is_asked) = mpsc::channel();
            let watcher = scope
                .spawn(|| stage.outside().run(|| first_answer_of(after, before, target, asked)));
            is_asked.recv().expect("the watcher asks");
            let begun = Instant::now();
            stage.change(after);
            watcher.join().expect("a client's answer").saturating_duration_since(begun)
        });
        times.push(time);
    }
    measured.times("one change until a packet goes its way", times);
}

/// When the question was sent that the new server has answered. Who waits is told as soon as the old
/// one has answered one.
fn first_answer_of(new: u16, old: u16, target: SocketAddr, asked: Sender<()>) -> Instant {
    let begun = Instant::now();
    let mut asked = Some(asked);
    loop {
        assert!(begun.elapsed() < LONGEST, "{target} does not lead to {new}");
        let sent = Instant::now();
        match ask(target, ANSWER) {
            Ok(server) if server == new => return sent,
            Ok(server) => {
                assert_eq!(server, old);
                if let Some(asked) = asked.take() {
                    asked.send(()).expect("it is waited for");
                }
            }
            // A socket of the kernel's was full, or a question was lost.
            Err(_) => {}
        }
        thread::sleep(BETWEEN);
    }
}
