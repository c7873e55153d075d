//! Standard output: data only, and a reader that went away is no error.

use std::io::{self, Write as _};

use anyhow::Context as _;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::definition::Format;

/// Prints text as it is.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("writing to standard output"),
    }
}

/// Prints a value as JSON, or as `table` makes it for people.
pub(super) fn print_as<Value: Serialize + ?Sized>(
    format: Format,
    value: &Value,
    table: impl FnOnce(&Value) -> String,
) -> anyhow::Result<()> {
    match format {
        Format::Json => print(&(serde_json::to_string_pretty(value)? + "\n")),
        Format::Table => print(&table(value)),
    }
}

/// Columns without lines between them, as kubectl prints them; ends with a newline.
pub(super) fn columns<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    rows_below(Some(header.to_vec()), rows.into_iter().map(Vec::from))
}

/// The same, with as many columns as there are, and a header or none.
pub(super) fn rows_below(
    header: Option<Vec<&str>>,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .add_rows(rows);
    if let Some(header) = header {
        table.set_header(header);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.trim_fmt() + "\n"
}

/// Values with commas between them, or `<none>`.
pub(super) fn list<Value: ToString>(values: impl IntoIterator<Item = Value>) -> String {
    let values: Vec<_> = values.into_iter().map(|value| value.to_string()).collect();
    if values.is_empty() { "<none>".to_owned() } else { values.join(",") }
}

/// The value, or `<none>`.
pub(super) fn optional<Value: ToString>(value: Option<Value>) -> String {
    list(value)
}

/// `yes` or `no`.
pub(super) fn yes_or_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}
