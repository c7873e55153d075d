//! Lists cut into their items before they are parsed.
//!
//! A parser holds a whole document at once, in many times the space of its text, and parses all of
//! it again where one item of a large `List` was edited. So the items are found by the layout that
//! `kubectl get -o yaml` and every other printer of block style gives them, and parsed one at a
//! time. That the cut was right is confirmed by parsing: text cut within quotes or brackets, or
//! away from an anchor that it refers to, does not parse by itself. What does not parse, or is no
//! list, is parsed whole, which also says what is wrong in terms of the file.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A list in YAML's block style, cut.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct YamlList<'a> {
    /// The list without its items.
    pub(super) rest: String,
    /// The items, each the text of a sequence of one.
    pub(super) items: Vec<&'a str>,
}

/// A list in JSON.
#[derive(Debug, Deserialize)]
pub(super) struct JsonList<'a> {
    #[serde(borrow, rename = "apiVersion")]
    pub(super) api_version: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) kind: Cow<'a, str>,
    /// The text of each item.
    #[serde(borrow)]
    pub(super) items: Vec<&'a RawValue>,
}

/// Cuts a document that has `items:` among its topmost keys, and below it a block sequence.
pub(super) fn cut(document: &str) -> Option<YamlList<'_>> {
    const KEY: &str = "items:";
    if !document.contains("\nitems:") && !document.starts_with(KEY) {
        return None;
    }
    let mut rest = String::new();
    let mut lines = Lines { text: document, offset: 0 };
    loop {
        let (_, line) = lines.next()?;
        rest.push_str(line);
        if line.starts_with("...") {
            return None;
        }
        if line.trim_end() == KEY {
            break;
        }
    }
    let mut items = Vec::new();
    // The indentation of the dashes, and where the current item began.
    let mut item: Option<(usize, usize)> = None;
    let end = loop {
        let Some((offset, line)) = lines.next() else {
            break document.len();
        };
        let content = line.trim_start_matches(' ');
        if content.trim_end().is_empty() || content.starts_with('#') {
            continue;
        }
        let indentation = line.len() - content.len();
        let is_dash =
            content.strip_prefix('-').is_some_and(|after| after.starts_with([' ', '\r', '\n']));
        match item {
            None if is_dash => item = Some((indentation, offset)),
            Some((dashes, begin)) if indentation == dashes && is_dash => {
                items.push(document.get(begin..offset)?);
                item = Some((dashes, offset));
            }
            Some((dashes, _)) if indentation > dashes => {}
            // Back among the topmost keys.
            Some(_) if indentation == 0 && !is_dash => break offset,
            _ => return None,
        }
    };
    let (_, begin) = item?;
    items.push(document.get(begin..end)?);
    let after = document.get(end..)?;
    if after.lines().any(|line| line.starts_with("...")) {
        return None;
    }
    rest.push_str(after);
    Some(YamlList { rest, items })
}

/// Lines with their ends, each with its offset.
struct Lines<'a> {
    text: &'a str,
    offset: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        let line = self.text.get(offset..)?.split_inclusive('\n').next()?;
        self.offset += line.len();
        Some((offset, line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sequences_are_cut_at_their_dashes() {
        let rest = "kind: List\nitems:\nmetadata: {}\n";
        for (text, items) in [
            (
                "kind: List\nitems:\n- a: 1\n  b:\n  - 2\n- c: |\n\n    - d\n# e\n- f\nmetadata: {}\n",
                vec!["- a: 1\n  b:\n  - 2\n", "- c: |\n\n    - d\n# e\n", "- f\n"],
            ),
            (
                "kind: List\nitems:\n# x\n  - a: 1\n  -\n    b: 2\nmetadata: {}\n",
                vec!["  - a: 1\n", "  -\n    b: 2\n"],
            ),
        ] {
            let list = cut(text).unwrap();
            assert_eq!((list.rest.as_str(), list.items), (rest, items));
        }
        assert_eq!(cut("items:\r\n- a\r\n").unwrap().items, ["- a\r\n"]);
        assert_eq!(cut("---\nitems:\n- a").unwrap().items, ["- a"]);
    }

    #[test]
    fn what_is_laid_out_otherwise_is_not_cut() {
        for text in [
            "",
            "kind: Pod\n",
            "items: []\n",
            "items:\n",
            "items: [\n- a\n]\n",
            "items:\n  a: 1\n",
            "items:\n  - a\n - b\n",
            "items:\n  - a\n- b\n",
            "items:\n  - a\n b: 1\n",
            "spec:\n  items:\n  - a\n",
            "kind: List\n...\nitems:\n- a\n",
            "items:\n- a\nkind: List\n...\n",
        ] {
            assert_eq!(cut(text), None, "{text:?}");
        }
    }
}
