//! How often what is chosen.

use proptest::prelude::*;

/// True once in so many times.
pub(super) fn once_in(times: u32) -> impl Strategy<Value = bool> + Clone {
    // Shrinks to false.
    (0..times).prop_map(move |number| number + 1 == times)
}

/// One of some; the first is the plainest.
pub(super) fn one_of<T: Clone + std::fmt::Debug + 'static>(
    choices: &[T],
) -> impl Strategy<Value = T> + Clone {
    let choices = choices.to_vec();
    (0..choices.len()).prop_map(move |index| choices[index].clone())
}
