//! Bars in groups, with the interval of each.

use super::{
    super::interval::Interval,
    canvas::{Axis, BOTTOM, Canvas, LEFT, RIGHT},
};

/// A group of bars: its name, and a bar for each series where it has one.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) bars: Vec<Option<Interval>>,
}

/// Draws groups beside each other, but for empty ones, with a line at 1.
pub(super) fn draw(title: &str, vertical: &str, series: &[&str], groups: &[Group]) -> String {
    let groups: Vec<&Group> =
        groups.iter().filter(|group| group.bars.iter().any(Option::is_some)).collect();
    let values = groups.iter().flat_map(|group| group.bars.iter().flatten());
    let most = values.map(|interval| interval.high.max(interval.median)).fold(1.0, f64::max);
    let axis = Axis::from_zero(most);
    let mut canvas = Canvas::new(title, vertical, axis);
    canvas.legend(series);
    let wide = |count: usize| f64::from(u8::try_from(count).unwrap_or(u8::MAX).max(1));
    let group_width = (RIGHT - LEFT) / wide(groups.len());
    let bar_width = group_width * 0.8 / wide(series.len());
    for (index, group) in groups.iter().enumerate() {
        let left = LEFT + group_width * (wide(index + 1) - 1.0) + group_width * 0.1;
        for (number, interval) in group.bars.iter().enumerate() {
            let Some(interval) = interval else { continue };
            let x = left + bar_width * (wide(number + 1) - 1.0);
            let y = axis.at(interval.median);
            canvas.rectangle(number, (x + 1.0, y), (bar_width - 2.0, BOTTOM - y));
            canvas.whisker(
                "whisker",
                x + bar_width / 2.0,
                axis.at(interval.high),
                axis.at(interval.low),
            );
        }
        canvas.label("middle", left + group_width * 0.4, BOTTOM + 22.0, &group.name);
    }
    canvas.line("limit", (LEFT, axis.at(1.0)), (RIGHT, axis.at(1.0)));
    canvas.horizontal("the dashed line is the raw veth pair; whiskers are 95 % intervals");
    canvas.finish()
}
