//! A plot's frame: title, axes and legend, and the text of an SVG file.
//!
//! Colours follow the reader's preference for light or dark by a style sheet of the file's own,
//! which also holds where a page embeds it as an image.

use std::fmt::Write as _;

pub(super) const WIDTH: f64 = 880.0;
pub(super) const HEIGHT: f64 = 460.0;
/// The drawing's edges: left, right, top, bottom.
pub(super) const LEFT: f64 = 70.0;
pub(super) const RIGHT: f64 = WIDTH - 20.0;
pub(super) const TOP: f64 = 84.0;
pub(super) const BOTTOM: f64 = HEIGHT - 64.0;

/// The colours of series, for a light page and a dark one; they differ for the colour-blind, too.
const COLOURS: [(&str, &str); 5] = [
    ("#767676", "#a0a0a0"),
    ("#c77700", "#f0a92d"),
    ("#b3400f", "#f07f4f"),
    ("#00795a", "#35c496"),
    ("#0064b4", "#5ab4f5"),
];

/// An SVG file that grows.
pub(super) struct Canvas {
    text: String,
}

/// A vertical axis: which value is where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Axis {
    /// From 0 to a round number above all values.
    pub(super) fn from_zero(most: f64) -> Self {
        let step = if most > 2.0 { 1.0 } else { 0.2 };
        Self { low: 0.0, high: (most / step).ceil() * step, logarithmic: false }
    }

    /// Between the powers of ten, or three times these, around all values.
    pub(super) fn logarithmic(least: f64, most: f64) -> Self {
        let marks = Self::marks();
        let low = marks.iter().rev().find(|mark| **mark <= least).copied().unwrap_or(1.0);
        let high = marks.iter().find(|mark| **mark >= most).copied().unwrap_or(1e6);
        Self { low, high: high.max(low * 3.0), logarithmic: true }
    }

    /// 1, 3, 10, 30 and so on.
    fn marks() -> Vec<f64> {
        (-3..7).flat_map(|power| [1.0, 3.0].map(|digit| digit * 10_f64.powi(power))).collect()
    }

    /// Where a value is on the canvas.
    pub(super) fn at(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        BOTTOM - part.clamp(0.0, 1.0) * (BOTTOM - TOP)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        if self.logarithmic {
            let inside = |mark: &f64| *mark >= self.low && *mark <= self.high * 1.001;
            return Self::marks()
                .into_iter()
                .filter(inside)
                .map(|mark| (mark, format!("{mark}")))
                .collect();
        }
        let step = if self.high > 2.0 { 0.5 } else { 0.2 };
        let mut ticks = Vec::new();
        let mut value = 0.0;
        while value <= self.high + 1e-9 {
            ticks.push((value, format!("{value:.1}")));
            value += step;
        }
        ticks
    }
}

impl Canvas {
    /// With a title, the name of the vertical axis, and the axis with its lines.
    pub(super) fn new(title: &str, vertical: &str, axis: Axis) -> Self {
        let mut canvas = Self { text: String::new() };
        let _ = write!(
            canvas.text,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n<title>{}</title>\n<style>\n{}\
             </style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n",
            escaped(title),
            style()
        );
        canvas.label("title", LEFT, 26.0, title);
        for (value, text) in axis.ticks() {
            let y = axis.at(value);
            canvas.line("grid", (LEFT, y), (RIGHT, y));
            canvas.label("end", LEFT - 8.0, y + 4.0, &text);
        }
        canvas.line("axis", (LEFT, TOP), (LEFT, BOTTOM));
        canvas.line("axis", (LEFT, BOTTOM), (RIGHT, BOTTOM));
        let middle = f64::midpoint(TOP, BOTTOM);
        let _ = writeln!(
            canvas.text,
            "<text class=\"middle\" transform=\"translate(20 {middle}) rotate(-90)\">{}</text>",
            escaped(vertical)
        );
        canvas
    }

    /// What the series are called, in their order.
    pub(super) fn legend(&mut self, names: &[&str]) {
        let mut x = LEFT;
        for (series, name) in names.iter().enumerate() {
            self.rectangle(series, (x, 44.0), (14.0, 14.0));
            self.label("start", x + 20.0, 56.0, name);
            // Letters of this size are about so wide.
            x += 44.0 + 7.0 * f64::from(u8::try_from(name.len()).unwrap_or(u8::MAX));
        }
    }

    /// The name of the horizontal axis.
    pub(super) fn horizontal(&mut self, name: &str) {
        self.label("middle", f64::midpoint(LEFT, RIGHT), HEIGHT - 14.0, name);
    }

    /// A text whose class says which of its ends is at this place.
    pub(super) fn label(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let _ = writeln!(
            self.text,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
            escaped(text)
        );
    }

    /// A line of a class.
    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let _ = writeln!(
            self.text,
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    /// A filled rectangle of a series.
    pub(super) fn rectangle(&mut self, series: usize, at: (f64, f64), size: (f64, f64)) {
        let _ = writeln!(
            self.text,
            "<rect class=\"fill{series}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            at.0,
            at.1,
            size.0,
            size.1.max(0.0)
        );
    }

    /// A dot of a series.
    pub(super) fn dot(&mut self, series: usize, at: (f64, f64)) {
        let _ = writeln!(
            self.text,
            "<circle class=\"fill{series}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"/>",
            at.0, at.1
        );
    }

    /// Places of a series, connected; `class` says more of the line.
    pub(super) fn connected(&mut self, series: usize, class: &str, places: &[(f64, f64)]) {
        let places: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            self.text,
            "<polyline class=\"line{series} {class}\" points=\"{}\"/>",
            places.join(" ")
        );
    }

    /// An interval at a place: a line of a class with two ends.
    pub(super) fn whisker(&mut self, class: &str, x: f64, high: f64, low: f64) {
        self.line(class, (x, high), (x, low));
        for y in [high, low] {
            self.line(class, (x - 3.0, y), (x + 3.0, y));
        }
    }

    /// The text of the file.
    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

fn style() -> String {
    let mut style = String::from(
        "text{font:13px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1f2328}\n\
         .title{font-size:16px;font-weight:600}.end{text-anchor:end}.middle{text-anchor:middle}\n\
         .page{fill:#ffffff}.grid{stroke:#d8dee4}.axis{stroke:#57606a}\n\
         .whisker{stroke:#1f2328;stroke-width:1.2}.limit{stroke:#57606a;stroke-dasharray:6 4}\n\
         polyline{fill:none;stroke-width:2.2}.tail{stroke-dasharray:5 4}\n",
    );
    let colours = |style: &mut String, pick: fn(&(&'static str, &'static str)) -> &'static str| {
        for (series, colour) in COLOURS.iter().map(pick).enumerate() {
            let _ =
                writeln!(style, ".fill{series}{{fill:{colour}}}.line{series}{{stroke:{colour}}}");
        }
    };
    colours(&mut style, |pair| pair.0);
    style.push_str(
        "@media (prefers-color-scheme:dark){\ntext{fill:#e6edf3}.page{fill:#0d1117}\n\
         .grid{stroke:#30363d}.axis,.limit{stroke:#8b949e}.whisker{stroke:#e6edf3}\n",
    );
    colours(&mut style, |pair| pair.1);
    style.push_str("}\n");
    style
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_between_the_ends_of_their_axis() {
        let axis = Axis::from_zero(1.07);
        assert!((axis.at(0.0) - BOTTOM).abs() < 1e-9 && axis.at(1.0) > TOP);
        let axis = Axis::logarithmic(14.0, 700.0);
        assert!((axis.at(10.0) - BOTTOM).abs() < 1e-9);
        assert!((axis.at(1000.0) - TOP).abs() < 1e-9);
        assert!((axis.at(100.0) - f64::midpoint(TOP, BOTTOM)).abs() < 1e-9);
    }

    #[test]
    fn what_svg_would_misread_is_escaped() {
        let text = Canvas::new("a < b & c", "", Axis::from_zero(1.0)).finish();
        assert!(text.contains("a &lt; b &amp; c") && text.ends_with("</svg>\n"), "{text}");
    }
}
