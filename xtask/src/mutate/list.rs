//! The mutations, from `mutations.toml`.

use anyhow::{Context, Result};
use serde::Deserialize;

/// A rule, and how it is broken.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mutation {
    /// What is then the case, in words.
    pub(super) name: String,
    /// The file, relative to the top folder.
    pub(super) file: String,
    /// What stands there, exactly once.
    pub(super) before: String,
    /// What is put in its place.
    pub(super) after: String,
}

#[derive(Deserialize)]
struct List {
    mutation: Vec<Mutation>,
}

/// All of them.
pub(super) fn all() -> Result<Vec<Mutation>> {
    let list: List = toml::from_str(include_str!("mutations.toml"))
        .context("reading xtask/src/mutate/mutations.toml")?;
    Ok(list.mutation)
}

impl Mutation {
    /// The file's text with the rule broken.
    pub(super) fn apply(&self, text: &str) -> Result<String> {
        let Self { name, file, before, after } = self;
        let found = text.matches(before.as_str()).count();
        anyhow::ensure!(
            found == 1,
            "{file}: what `{name}` is to replace stands there {found} times, not once; correct \
             xtask/src/mutate/mutations.toml:\n{before}"
        );
        Ok(text.replacen(before, after, 1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::repository::Repository;

    #[test]
    fn every_mutation_changes_one_place_of_the_sources() {
        let repository = Repository::find().unwrap();
        let all = all().unwrap();
        assert!(all.iter().filter(|one| one.file.starts_with("datapath/")).count() >= 30);
        for mutation in &all {
            let text = repository.read(&mutation.file).unwrap();
            assert_ne!(mutation.apply(&text).unwrap(), text, "{}", mutation.name);
        }
        let names: BTreeSet<_> = all.iter().map(|mutation| &mutation.name).collect();
        assert_eq!(names.len(), all.len(), "two mutations have one name");
    }

    #[test]
    fn a_text_that_is_there_twice_is_not_replaced() {
        let mutation = Mutation {
            name: "x".to_owned(),
            file: "y".to_owned(),
            before: "a".to_owned(),
            after: "b".to_owned(),
        };
        assert_eq!(mutation.apply("cac").unwrap(), "cbc");
        assert!(mutation.apply("aa").is_err());
        assert!(mutation.apply("c").is_err());
    }
}
