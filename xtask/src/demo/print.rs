//! What the demo looks like: at most 100 columns, with colour on a terminal alone.

use std::{
    cell::RefCell,
    env,
    io::{self, IsTerminal, Write},
    rc::Rc,
};

use super::{record::Record, steps::Layer};

/// The widest line, in columns.
const WIDTH: usize = 100;
/// The most lines that are shown of what a command printed.
const LONGEST: usize = 24;

/// What is printed on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Text, as things happen.
    Text,
    /// One JSON document, at the end.
    Json,
}

/// Prints on stdout, and keeps what was shown. A reader that goes away does not end the demo, which
/// still has to clean up.
#[derive(Clone, Debug)]
pub(super) struct Printer {
    format: Format,
    colour: bool,
    record: Rc<RefCell<Record>>,
}

/// A way to show text on a terminal, as the parameter of an SGR sequence (ECMA-48).
#[derive(Clone, Copy, Debug)]
enum Style {
    Bold = 1,
    Red = 31,
    Green = 32,
    Cyan = 36,
}

impl Printer {
    /// With colour if stdout is a terminal and `NO_COLOR` is not set.
    pub(super) fn new(format: Format) -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { format, colour: !refused && io::stdout().is_terminal(), record: Rc::default() }
    }

    /// A layer of the system, and what holds in it.
    pub(super) fn layer(&self, layer: Layer) {
        self.line("");
        self.line(&self.styled(Style::Bold, &format!("── {} ──", layer.name())));
        for wrapped in wrap(layer.what_holds(), WIDTH - 4) {
            self.line(&format!("    {wrapped}"));
        }
    }

    /// The headline of a step.
    pub(super) fn headline(&self, number: usize, layer: Layer, text: &'static str) {
        self.record.borrow_mut().begin(number, layer, text);
        self.line("");
        self.line(&self.styled(Style::Bold, &format!("{number:>2}. {text}")));
    }

    /// A sentence.
    pub(super) fn text(&self, text: &str) {
        for wrapped in wrap(text, WIDTH - 4) {
            self.told(None, "", &wrapped);
        }
    }

    /// A line of a step, whose beginning may have a colour.
    fn told(&self, style: Option<Style>, beginning: &str, rest: &str) {
        // A command of several lines is indented as it stands here.
        let seen = format!("{beginning}{rest}").replace("\n    ", "\n");
        self.record.borrow_mut().seen(seen.trim_end());
        let styled = style.map_or(beginning.to_owned(), |style| self.styled(style, beginning));
        self.line(&format!("    {styled}{rest}"));
    }

    /// A command as a person would type it.
    pub(super) fn command(&self, command: &str) {
        self.record.borrow_mut().command(command);
        self.told(Some(Style::Cyan), &format!("$ {command}"), "");
    }

    /// What a command printed: long lines and long texts are cut, and say so.
    pub(super) fn output(&self, text: &str) {
        self.record.borrow_mut().output(text);
        for shown in shorten(text) {
            self.told(None, "  ", &shown);
        }
    }

    /// A claim that holds.
    pub(super) fn proven(&self, claim: &str) {
        self.record.borrow_mut().claim(claim, None);
        self.claim(Style::Green, "proves: ", claim);
    }

    /// A claim that does not hold.
    pub(super) fn not_proven(&self, claim: &str, reason: &str) {
        self.record.borrow_mut().claim(claim, Some(reason));
        self.claim(Style::Red, "NOT PROVEN: ", &format!("{claim}: {reason}"));
    }

    /// The last line.
    pub(super) fn verdict(&self, good: bool, text: &str) {
        self.line("");
        let style = if good { Style::Green } else { Style::Red };
        self.line(&self.styled(style, text));
    }

    /// What was shown so far.
    pub(super) fn record(&self) -> Record {
        self.record.borrow().clone()
    }

    /// How many claims held, and how many did not.
    pub(super) fn tally(&self) -> (u32, u32) {
        self.record.borrow().tally()
    }

    /// Prints what was kept, where that is asked for.
    pub(super) fn finish(&self) -> anyhow::Result<()> {
        if self.format == Format::Json {
            let text = serde_json::to_string_pretty(&*self.record.borrow())?;
            // See `Printer`.
            let _ = writeln!(io::stdout(), "{text}");
        }
        Ok(())
    }

    fn claim(&self, style: Style, word: &str, claim: &str) {
        let indent = " ".repeat(word.len());
        for (index, wrapped) in wrap(claim, WIDTH - 4 - word.len()).iter().enumerate() {
            match index {
                0 => self.told(Some(style), word, wrapped),
                _ => self.told(None, &indent, wrapped),
            }
        }
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", style as u8) } else { text.to_owned() }
    }

    fn line(&self, text: &str) {
        if self.format == Format::Text {
            // See `Printer`.
            let _ = writeln!(io::stdout(), "{text}");
        }
    }
}

/// The lines of `text`, broken between words so that none is longer than `width`, words apart.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let length = lines[last].chars().count();
        if length > 0 && length + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if length > 0 {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines
}

fn shorten(text: &str) -> Vec<String> {
    let width = WIDTH - 6;
    let mut lines: Vec<String> = text
        .lines()
        .take(LONGEST)
        .map(|line| {
            let line = line.trim_end();
            if line.chars().count() > width {
                line.chars().take(width - 2).chain(" …".chars()).collect()
            } else {
                line.to_owned()
            }
        })
        .collect();
    let left = text.lines().count().saturating_sub(LONGEST);
    if left > 0 {
        lines.push(format!("… {left} more lines"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sentences_are_broken_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("unbreakable x", 3), ["unbreakable", "x"]);
    }

    #[test]
    fn what_is_cut_says_so() {
        let long = "x".repeat(200);
        let shown = shorten(&long);
        assert_eq!(shown[0].chars().count(), WIDTH - 6);
        assert!(shown[0].ends_with('…'));
        let many = "line\n".repeat(LONGEST + 3);
        assert_eq!(shorten(&many).last().unwrap(), "… 3 more lines");
    }

    #[test]
    fn without_colour_there_are_no_escapes() {
        let styled = |colour| {
            let printer = Printer { colour, ..Printer::new(Format::Text) };
            printer.styled(Style::Red, "x")
        };
        assert_eq!(styled(false), "x");
        assert_eq!(styled(true), "\x1b[31mx\x1b[0m");
    }
}
