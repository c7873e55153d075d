//! Lines over the number of Services.

use super::{
    super::{interval::Interval, names::grouped},
    canvas::{Axis, BOTTOM, Canvas, LEFT, RIGHT},
};

/// A line: the series whose colour it has, what it looks like, and its points.
pub(super) struct Line {
    pub(super) series: usize,
    /// Whether it is of most flows, or of the slowest.
    pub(super) class: &'static str,
    pub(super) points: Vec<Point>,
}

/// A value at a number of Services.
pub(super) struct Point {
    pub(super) services: u32,
    pub(super) value: f64,
    pub(super) interval: Option<Interval>,
}

/// What a plot of lines says beside them.
pub(super) struct Words<'a> {
    pub(super) title: &'a str,
    pub(super) vertical: &'a str,
    pub(super) horizontal: &'a str,
    pub(super) series: &'a [&'a str],
}

/// Draws lines, with numbers of Services at even distances and in order.
pub(super) fn draw(words: &Words<'_>, axis: Axis, sizes: &[u32], lines: &[Line]) -> String {
    let mut canvas = Canvas::new(words.title, words.vertical, axis);
    canvas.legend(words.series);
    let places = f64::from(u8::try_from(sizes.len()).unwrap_or(u8::MAX).max(1));
    let x_of = |services: u32| {
        let index = sizes.iter().position(|size| *size == services).unwrap_or(0);
        let index = f64::from(u8::try_from(index).unwrap_or(u8::MAX));
        LEFT + (RIGHT - LEFT) * (index + 0.5) / places
    };
    for size in sizes {
        canvas.label("middle", x_of(*size), BOTTOM + 22.0, &grouped(*size));
    }
    for line in lines {
        // Beside each other, so that none hides another's interval.
        let aside = 7.0 * f64::from(u8::try_from(line.series).unwrap_or(u8::MAX)) - 14.0;
        let places: Vec<(f64, f64)> = line
            .points
            .iter()
            .map(|point| (x_of(point.services) + aside, axis.at(point.value)))
            .collect();
        canvas.connected(line.series, line.class, &places);
        let class = format!("line{}", line.series);
        for (point, place) in line.points.iter().zip(&places) {
            if let Some(interval) = &point.interval {
                canvas.whisker(&class, place.0, axis.at(interval.high), axis.at(interval.low));
            }
            canvas.dot(line.series, *place);
        }
    }
    canvas.horizontal(words.horizontal);
    canvas.finish()
}
