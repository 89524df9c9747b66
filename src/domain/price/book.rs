//! The price book: one price a model, for all organizations.

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasher as _,
    sync::Arc,
};

use foldhash::quality::RandomState;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap as _};

use super::Price;
use crate::domain::{
    entity::PriceEntry,
    model::{Model, ModelPattern},
};

/// Most entries of a part. A change copies one part, and a pointer for each of the others.
const PART: usize = 128;
/// Models that one list of patterns is compared with to say which of them mean none. Whoever sets a limit chooses the patterns.
const MOST_COMPARED: usize = 10_000;

/// Shared with decisions that are under way, so that a change makes another book: of the same parts, but one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "BTreeMap<Model, PriceEntry>")]
pub struct PriceBook {
    /// None is empty; all together in the order of the models' names.
    parts: Vec<Arc<Vec<PriceEntry>>>,
    judged: Judged,
}

/// Lists of patterns that were judged by this book, by their hash, each with the bits of its unmatched ones. Another book judges
/// anew.
#[derive(Debug, Default)]
struct Judged {
    hashers: [RandomState; 2],
    lists: Mutex<HashMap<[u64; 2], u64>>,
}

impl Judged {
    /// Lists that are remembered.
    const MOST: usize = 4096;

    fn of(&self, patterns: &[ModelPattern], judge: impl FnOnce() -> u64) -> u64 {
        let hash = self.hashers.each_ref().map(|hasher| hasher.hash_one(patterns));
        if let Some(unmatched) = self.lists.lock().get(&hash) {
            return *unmatched;
        }
        let unmatched = judge();
        let mut lists = self.lists.lock();
        if lists.len() == Self::MOST {
            lists.clear();
        }
        lists.insert(hash, unmatched);
        unmatched
    }
}

/// A copy is about to be changed.
impl Clone for Judged {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PriceBook {
    /// Returns what the model costs now.
    pub fn price(&self, model: &Model) -> Option<Price> {
        self.get(model).map(|entry| entry.price.in_force())
    }

    pub fn get(&self, model: &Model) -> Option<&PriceEntry> {
        let part = self.parts.get(self.part_of(model)?)?;
        part.binary_search_by(|entry| entry.model.cmp(model)).ok().and_then(|at| part.get(at))
    }

    pub fn set(&mut self, entry: PriceEntry) {
        self.judged = Judged::default();
        let Some(no) = self.part_of(&entry.model) else {
            self.parts.push(Arc::new(vec![entry]));
            return;
        };
        let part = Arc::make_mut(&mut self.parts[no]);
        match part.binary_search_by(|other| other.model.cmp(&entry.model)) {
            Ok(at) => part[at] = entry,
            Err(at) => part.insert(at, entry),
        }
        if part.len() > PART {
            let rest = part.split_off(PART / 2);
            self.parts.insert(no + 1, Arc::new(rest));
        }
    }

    pub fn remove(&mut self, model: &Model) {
        self.judged = Judged::default();
        let Some(no) = self.part_of(model) else { return };
        let Ok(at) = self.parts[no].binary_search_by(|entry| entry.model.cmp(model)) else { return };
        let part = Arc::make_mut(&mut self.parts[no]);
        part.remove(at);
        if part.is_empty() {
            self.parts.remove(no);
        }
    }

    /// In the order of the models' names, those after `after`.
    pub fn after<'a>(&'a self, after: Option<&'a Model>) -> impl Iterator<Item = &'a PriceEntry> {
        let from = after.and_then(|after| self.part_of(after)).unwrap_or(0);
        let entries = self.parts.iter().skip(from).flat_map(|part| part.iter());
        entries.skip_while(move |entry| after.is_some_and(|after| entry.model <= *after))
    }

    /// Returns the bits of those patterns that mean no model in the book, of [`u64::BITS`] at most.
    pub fn unmatched(&self, patterns: &[ModelPattern]) -> u64 {
        self.judged.of(patterns, || self.judge(patterns, &mut { MOST_COMPARED }))
    }

    /// The same, with `left` comparisons at most. What isn't judged by then counts as matched.
    fn judge(&self, patterns: &[ModelPattern], left: &mut usize) -> u64 {
        let unmatched = patterns.iter().map(|pattern| self.has_match(pattern, left) == Some(false));
        unmatched.zip(0..u64::BITS).fold(0, |bits, (unmatched, no)| bits | u64::from(unmatched) << no)
    }

    /// Returns whether any model in the book is meant; `None` where that would take more comparisons. Looks only at those that
    /// begin as the pattern does.
    fn has_match(&self, pattern: &ModelPattern, left: &mut usize) -> Option<bool> {
        if let Some(model) = pattern.exact() {
            return Some(self.get(model).is_some());
        }
        let head = pattern.head();
        let from = self.parts.partition_point(|part| part.last().is_some_and(|last| last.model.as_str() < head));
        let entries = self.parts.iter().skip(from).flat_map(|part| part.iter().map(|entry| &entry.model));
        let begun = entries.skip_while(|model| model.as_str() < head);
        for model in begun.take_while(|model| model.as_str().starts_with(head)) {
            *left = left.checked_sub(1)?;
            if pattern.matches(model) {
                return Some(true);
            }
        }
        Some(false)
    }

    /// The part that a model belongs to: the last one that begins at or before it, else the first. `None` in an empty book.
    fn part_of(&self, model: &Model) -> Option<usize> {
        let begun = self.parts.partition_point(|part| part.first().is_some_and(|first| first.model <= *model));
        (!self.parts.is_empty()).then(|| begun.saturating_sub(1))
    }
}

impl Eq for PriceBook {}

/// By what they hold, however it is divided.
impl PartialEq for PriceBook {
    fn eq(&self, other: &Self) -> bool {
        self.after(None).eq(other.after(None))
    }
}

impl From<BTreeMap<Model, PriceEntry>> for PriceBook {
    fn from(entries: BTreeMap<Model, PriceEntry>) -> Self {
        let mut book = Self::default();
        for entry in entries.into_values() {
            book.set(entry);
        }
        book
    }
}

impl Serialize for PriceBook {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let count = self.parts.iter().map(|part| part.len()).sum();
        let mut map = serializer.serialize_map(Some(count))?;
        for entry in self.parts.iter().flat_map(|part| part.iter()) {
            map.serialize_entry(&entry.model, entry)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{money::Nanos, price::ListPrice, time::Timestamp};

    fn model(no: u16) -> Model {
        Model::trusted(format!("model-{no:03}"))
    }

    fn entry(no: u16, usd: i64) -> PriceEntry {
        let price = ListPrice { input: Nanos::units(usd), ..ListPrice::default() };
        PriceEntry { model: model(no), price, update_time: Timestamp::from_micros(usd) }
    }

    proptest! {
        #[test]
        fn a_book_in_parts_is_a_map(changes in prop::collection::vec((0..700u16, prop::option::weighted(0.7, 0..9i64)), 0..1500)) {
            let (mut book, mut map) = (PriceBook::default(), BTreeMap::new());
            for (no, usd) in changes {
                if let Some(usd) = usd {
                    book.set(entry(no, usd));
                    map.insert(model(no), entry(no, usd));
                } else {
                    book.remove(&model(no));
                    map.remove(&model(no));
                }
            }
            prop_assert!(book.parts.iter().all(|part| (1..=PART).contains(&part.len())));
            prop_assert!(book.after(None).eq(map.values()));
            for no in 0..700 {
                prop_assert_eq!(book.get(&model(no)), map.get(&model(no)));
            }
            for no in [0, 1, 350, 699] {
                let after = model(no);
                prop_assert!(book.after(Some(&after)).eq(map.values().filter(|entry| entry.model > after)));
            }
            let written = postcard::to_stdvec(&book).unwrap();
            prop_assert_eq!(&written, &postcard::to_stdvec(&map).unwrap());
            let read: PriceBook = postcard::from_bytes(&written).unwrap();
            prop_assert_eq!(&read, &book);
        }
    }

    fn pattern(text: &str) -> ModelPattern {
        ModelPattern::parse("models", text).unwrap()
    }

    fn book(models: u16) -> PriceBook {
        let mut book = PriceBook::default();
        for no in 0..models {
            book.set(entry(no, 1));
        }
        book
    }

    #[test]
    fn a_list_is_compared_with_so_many_models_at_most_and_what_is_not_judged_is_not_called_unmatched() {
        let book = book(30_000);
        let patterns: Vec<_> = (0..64).map(|no| pattern(&format!("*none-{no}*"))).collect();
        let mut left = MOST_COMPARED;
        assert_eq!((book.judge(&patterns, &mut left), left), (0, 0));
        // Names are looked up.
        let patterns = ["*none*", "model-100", "none", "model-1000*"].map(pattern);
        assert_eq!(book.judge(&patterns, &mut { MOST_COMPARED }), 0b0100);
        assert_eq!(book.judge(&["*none*", "model-9*9", "*-299"].map(pattern), &mut 90_000), 0b001);
    }

    #[test]
    fn a_list_is_judged_once_by_each_book() {
        let mut book = book(300);
        let (patterns, others) = ([pattern("*-299"), pattern("*-300")], [pattern("*-300"), pattern("*-299")]);
        assert_eq!((book.unmatched(&patterns), book.unmatched(&others)), (0b10, 0b01));
        assert_eq!(book.judged.of(&patterns, || panic!("it was judged")), 0b10);
        let before = book.clone();
        book.set(entry(300, 1));
        assert_eq!((book.unmatched(&patterns), before.unmatched(&patterns)), (0, 0b10));
        book.remove(&model(299));
        assert_eq!(book.unmatched(&patterns), 0b01);
        for no in 0..3 * Judged::MOST {
            book.unmatched(&[pattern(&format!("none-{no}"))]);
        }
        assert!(book.judged.lists.lock().len() <= Judged::MOST, "whoever names ever more patterns costs no memory");
    }

    #[test]
    fn a_change_leaves_all_parts_but_one_shared() {
        let mut book = PriceBook::default();
        for no in 0..10_000 {
            book.set(entry(no, 1));
        }
        let before = book.clone();
        book.set(entry(5_000, 2));
        let own = book.parts.iter().filter(|part| before.parts.iter().all(|other| !Arc::ptr_eq(part, other)));
        assert_eq!(own.count(), 1);
        assert!(book.parts.len() <= 10_000 / (PART / 2) + 1, "{} parts", book.parts.len());
    }
}
