//! Values that many have in common: kept once, where they are set one after the other.

use std::sync::Arc;

use smallvec::SmallVec;

/// As many as the limits that a policy usually has.
const KEPT: usize = 8;

/// The values that were shared last. No part of the state: what is equal may be kept once or not.
#[derive(Debug, Clone)]
pub(super) struct Recent<T>(SmallVec<[Arc<T>; 1]>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(SmallVec::new())
    }
}

impl<T> PartialEq for Recent<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Recent<T> {}

impl<T: Clone + PartialEq> Recent<T> {
    /// One that equals `value`.
    pub(super) fn share(&mut self, value: &T) -> Arc<T> {
        if let Some(known) = self.0.iter().find(|known| ***known == *value) {
            return Arc::clone(known);
        }
        self.keep(Arc::new(value.clone()))
    }

    /// Lets go of a copy where an equal one is known.
    pub(super) fn replace(&mut self, held: &mut Arc<T>) {
        match self.0.iter().find(|known| **known == *held) {
            Some(known) => *held = Arc::clone(known),
            None => drop(self.keep(Arc::clone(held))),
        }
    }

    fn keep(&mut self, value: Arc<T>) -> Arc<T> {
        if self.0.len() == KEPT {
            self.0.remove(0);
        }
        self.0.push(Arc::clone(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_alike_is_kept_once_and_little_is_looked_through() {
        let mut recent = Recent::default();
        let first: Arc<String> = recent.share(&String::from("a"));
        assert!(Arc::ptr_eq(&first, &recent.share(&String::from("a"))));
        let mut other = Arc::new(String::from("a"));
        recent.replace(&mut other);
        assert!(Arc::ptr_eq(&first, &other));
        for no in 0..20 {
            assert_eq!(*recent.share(&no.to_string()), no.to_string());
        }
        assert_eq!(recent.0.len(), KEPT);
        assert!(!Arc::ptr_eq(&first, &recent.share(&String::from("a"))), "the oldest are let go of");
    }
}
