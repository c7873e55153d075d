//! Names that very many endpoints repeat, kept once: those of their nodes.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

static NAMES: Mutex<Names> = Mutex::new(Names { known: None, forget_above: 1024 });

struct Names {
    known: Option<HashSet<Arc<str>>>,
    forget_above: usize,
}

/// The one text of this name. Names that nothing has any more are forgotten in time.
pub(super) fn shared(name: String) -> Arc<str> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner).get(name)
}

impl Names {
    fn get(&mut self, name: String) -> Arc<str> {
        let known = self.known.get_or_insert_default();
        if let Some(name) = known.get(name.as_str()) {
            return Arc::clone(name);
        }
        if known.len() >= self.forget_above {
            known.retain(|name| Arc::strong_count(name) > 1);
            self.forget_above = 1024.max(2 * known.len());
        }
        let name: Arc<str> = name.into();
        known.insert(Arc::clone(&name));
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_forgotten_with_its_last_user() {
        let mut names = Names { known: None, forget_above: 1 };
        let one = names.get("a".to_owned());
        assert!(Arc::ptr_eq(&one, &names.get("a".to_owned())));
        drop(one);
        names.get("b".to_owned());
        assert_eq!(names.known.as_ref().map(HashSet::len), Some(1));
    }
}
