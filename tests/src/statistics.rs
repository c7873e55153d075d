//! Is the die fair?

/// The chi-square statistic of counts that should be equal.
pub fn chi_square(counts: &[u64]) -> f64 {
    let counts: Vec<f64> = counts
        .iter()
        .map(|count| f64::from(u32::try_from(*count).expect("a small count")))
        .collect();
    let expected =
        counts.iter().sum::<f64>() / f64::from(u32::try_from(counts.len()).expect("a few counts"));
    counts.iter().map(|count| (count - expected).powi(2) / expected).sum()
}

/// The probability that a fair die of three sides shows this much or more. With two degrees of
/// freedom it is exact.
pub fn probability_of_three(statistic: f64) -> f64 {
    (-statistic / 2.0).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_counts_are_fair_and_a_missing_third_is_not() {
        assert!((probability_of_three(chi_square(&[300, 300, 300])) - 1.0).abs() < 1e-12);
        assert!(probability_of_three(chi_square(&[333, 360, 307])) > 1e-3);
        assert!(probability_of_three(chi_square(&[500, 500, 0])) < 1e-6);
        assert!(probability_of_three(chi_square(&[450, 300, 250])) < 1e-6);
    }
}
