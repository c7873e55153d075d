//! A table of measurements.

use std::fmt::Write as _;

/// A row: what was measured, and its cells.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) cells: Vec<String>,
}

/// Lays rows out below a heading, numbers to the right.
pub(super) fn lay_out(heading: &Row, rows: &[Row]) -> String {
    let all = || std::iter::once(heading).chain(rows);
    let first = all().map(|row| row.name.len()).max().unwrap_or(0);
    let width = |column: usize| {
        all().filter_map(|row| row.cells.get(column)).map(String::len).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in all() {
        let _ = write!(text, "{:first$}", row.name);
        for (column, cell) in row.cells.iter().enumerate() {
            let _ = write!(text, "  {cell:>width$}", width = width(column));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, cells: &[&str]) -> Row {
        Row { name: name.to_owned(), cells: cells.iter().map(|&cell| cell.to_owned()).collect() }
    }

    #[test]
    fn numbers_stand_below_each_other() {
        let text = lay_out(&row("case", &["ns"]), &[row("a", &["5"]), row("longer", &["1234"])]);
        assert_eq!(text, "case      ns\na          5\nlonger  1234\n");
    }
}
