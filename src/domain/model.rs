//! Models: their names, and the lists of names and patterns that limits and keys are narrowed to.
//!
//! A name is trimmed and its ASCII letters are lowered wherever it enters, read from older records included, so that two
//! spellings never are two models.

use std::fmt;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, StrExt as _};

use super::{
    error::Invalid,
    id::MAX_NAME,
    price::PriceBook,
    text::{check_line, is_hidden, shown},
};

/// Most models that one list names.
pub const MAX_MODELS: usize = 64;
/// Stands for any text in a pattern, also for none.
const STAR: char = '*';
/// Most stars of a pattern.
pub const MAX_STARS: usize = 4;

/// Returns a name without blanks around it. What isn't seen, such as a line's end, is no blank, and refused.
fn trimmed(name: &str) -> &str {
    name.trim_matches(|c: char| c.is_whitespace() && !is_hidden(c))
}

/// Returns a name without blanks around it, in lower case.
fn normal(name: SmolStr) -> SmolStr {
    let trimmed = trimmed(&name);
    if trimmed.bytes().any(|byte| byte.is_ascii_uppercase()) {
        trimmed.to_ascii_lowercase_smolstr()
    } else if trimmed.len() < name.len() {
        SmolStr::new(trimmed)
    } else {
        name
    }
}

/// A model's name as it counts everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "SmolStr")]
pub struct Model(SmolStr);

impl Model {
    /// Checks and takes over a name that a caller gave in `field`. It stands in the ids of reservations, whose room is
    /// counted in bytes.
    ///
    /// # Errors
    /// [`Invalid`] when it is empty, too long or holds characters that aren't allowed.
    pub fn parse(field: &str, name: &str) -> Result<Self, Invalid> {
        let name = trimmed(name);
        if name.is_empty() {
            return Err(Invalid::new(field, format!("is empty; give 1 to {MAX_NAME} characters")));
        }
        if name.len() > MAX_NAME {
            let problem = format!("{} is {} bytes long; at most {MAX_NAME} are allowed", shown(name), name.len());
            return Err(Invalid::new(field, problem));
        }
        check_line(field, name, MAX_NAME)?;
        Ok(Self(normal(SmolStr::new(name))))
    }

    /// Checks the name of a model that is to have a price: one name, no pattern.
    ///
    /// # Errors
    /// As [`Self::parse`], and [`Invalid`] for a name that holds a star.
    pub fn parse_exact(field: &str, name: &str) -> Result<Self, Invalid> {
        let model = Self::parse(field, name)?;
        if model.as_str().contains(STAR) {
            let problem = format!(
                "{} holds a '{STAR}', but a price is of one model, never of a pattern: a request is priced by its \
                 model's exact name. Set a price for each model; lists of models, such as a budget's, take patterns",
                shown(model.as_str())
            );
            return Err(Invalid::new(field, problem));
        }
        Ok(model)
    }

    /// A name made by quotad itself or read back from its own books, which may be from before names were normal.
    pub fn trusted(name: impl Into<SmolStr>) -> Self {
        Self(normal(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<SmolStr> for Model {
    fn from(name: SmolStr) -> Self {
        Self::trusted(name)
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Model {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The name of one model, or a pattern: each star stands for any text, also for none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelPattern(Model);

impl ModelPattern {
    /// # Errors
    /// As [`Model::parse`], and [`Invalid`] for too many stars.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let pattern = Self(Model::parse(field, text)?);
        let stars = pattern.as_str().matches(STAR).count();
        if stars > MAX_STARS {
            let problem =
                format!("{} holds {stars} '{STAR}'; a pattern has at most {MAX_STARS}", shown(pattern.as_str()));
            return Err(Invalid::new(field, problem));
        }
        Ok(pattern)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the one model that is named; `None` for a pattern.
    pub fn exact(&self) -> Option<&Model> {
        (!self.as_str().contains(STAR)).then_some(&self.0)
    }

    /// Returns what every match begins with.
    pub fn head(&self) -> &str {
        self.as_str().split(STAR).next().unwrap_or_default()
    }

    /// Compares in time that grows with both lengths only: each part between stars is searched once, from where the one
    /// before it ended, and never again from elsewhere, because the first place it is found at leaves most for the others.
    pub fn matches(&self, model: &Model) -> bool {
        let (pattern, name) = (self.as_str(), model.as_str());
        let Some((head, rest)) = pattern.split_once(STAR) else { return pattern == name };
        let Some(left) = name.strip_prefix(head) else { return false };
        let (parts, tail) = rest.rsplit_once(STAR).map_or((None, rest), |(parts, tail)| (Some(parts), tail));
        let Some(mut left) = left.strip_suffix(tail) else { return false };
        for part in parts.into_iter().flat_map(|parts| parts.split(STAR)) {
            let Some(at) = left.find(part) else { return false };
            left = &left[at + part.len()..];
        }
        true
    }
}

impl fmt::Display for ModelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The models that a limit or a key is narrowed to, by names and patterns; empty means all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<ModelPattern>", into = "Vec<ModelPattern>")]
pub struct Models(Option<Box<List>>);

/// A list that isn't empty.
#[derive(Debug)]
struct List {
    patterns: Box<[ModelPattern]>,
    /// Of a list that takes longer to go through than to remember.
    memo: Memo,
}

impl Models {
    /// # Errors
    /// [`Invalid`] for `field` when there are too many or one stands twice.
    pub fn checked(field: &str, patterns: Vec<ModelPattern>) -> Result<Self, Invalid> {
        if patterns.len() > MAX_MODELS {
            return Err(Invalid::new(field, format!("{} models; at most {MAX_MODELS} can be named", patterns.len())));
        }
        for (i, pattern) in patterns.iter().enumerate() {
            if patterns[..i].contains(pattern) {
                return Err(Invalid::new(field, format!("{pattern} stands twice")));
            }
        }
        Ok(Self::from(patterns))
    }

    pub fn include(&self, model: &Model) -> bool {
        let Some(list) = &self.0 else { return true };
        if list.is_quick() { list.matches(model) } else { list.memo.of(model, || list.matches(model)) }
    }

    pub fn patterns(&self) -> &[ModelPattern] {
        self.0.as_deref().map_or(&[], |list| &list.patterns)
    }

    /// Returns the entries that match no model with a price today: they bind nothing but requests that state their cost. One that
    /// isn't judged, because the list was compared with too many models by then, isn't among them.
    pub fn unmatched(&self, prices: &PriceBook) -> impl Iterator<Item = &ModelPattern> {
        let patterns = self.patterns();
        let unmatched = if patterns.is_empty() { 0 } else { prices.unmatched(patterns) };
        patterns.iter().enumerate().filter(move |(no, _)| unmatched & (1 << no) != 0).map(|(_, pattern)| pattern)
    }
}

impl List {
    /// Entries that are compared as fast as a memo is read.
    const FEW: usize = 4;

    fn is_quick(&self) -> bool {
        self.patterns.len() <= Self::FEW
    }

    fn matches(&self, model: &Model) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(model))
    }
}

/// What a list says is its patterns; a copy remembers for itself.
impl Clone for List {
    fn clone(&self) -> Self {
        Self { patterns: self.patterns.clone(), memo: Memo::default() }
    }
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

impl Eq for List {}

impl From<Vec<ModelPattern>> for Models {
    fn from(patterns: Vec<ModelPattern>) -> Self {
        if patterns.is_empty() {
            return Self(None);
        }
        Self(Some(Box::new(List { patterns: patterns.into(), memo: Memo::default() })))
    }
}

impl From<Models> for Vec<ModelPattern> {
    fn from(models: Models) -> Self {
        models.0.map_or_else(Self::new, |list| list.patterns.into())
    }
}

/// The models that a list was asked for last, each with the answer. A list never changes, so no answer is ever wrong; they make
/// room for each other, so that callers who name ever more models cost nobody memory.
#[derive(Debug, Default)]
struct Memo(Mutex<Vec<(Model, bool)>>);

impl Memo {
    /// Answers that are remembered.
    const SIZE: usize = 8;

    fn of(&self, model: &Model, find: impl FnOnce() -> bool) -> bool {
        // The organization's lock lets one caller in at a time; who meets another one all the same doesn't wait.
        let Some(mut known) = self.0.try_lock() else { return find() };
        if let Some((_, answer)) = known.iter().find(|(known, _)| known == model) {
            return *answer;
        }
        let answer = find();
        if known.len() == Self::SIZE {
            known.remove(0);
        } else if known.is_empty() {
            known.reserve_exact(Self::SIZE);
        }
        known.push((model.clone(), answer));
        answer
    }
}

#[cfg(test)]
mod tests;
