//! Which fields an Update changes.

use prost_types::FieldMask;

use crate::domain::error::Invalid;

/// The fields named, each one that the method can change.
#[derive(Debug)]
pub(in crate::api) struct Mask(Vec<String>);

impl Mask {
    /// # Errors
    /// [`Invalid`] when nothing is named, or something that can't be changed.
    pub(in crate::api) fn of(mask: Option<FieldMask>, allowed: &[&str]) -> Result<Self, Invalid> {
        let allowed_text = || allowed.join(", ");
        let FieldMask { paths } = mask.unwrap_or_default();
        if paths.is_empty() {
            let problem = format!("is empty; name the fields to change, of {}", allowed_text());
            return Err(Invalid::new("update_mask", problem));
        }
        match paths.iter().find(|path| !allowed.contains(&path.as_str())) {
            None => Ok(Self(paths)),
            Some(other) => {
                let head: String = other.chars().take(64).collect();
                let problem = format!("{head:?} can't be changed; name fields of {}", allowed_text());
                Err(Invalid::new("update_mask", problem))
            }
        }
    }

    /// The new value of a field that is named; the value of another isn't even looked at.
    pub(in crate::api) fn pick<T>(
        &self,
        field: &str,
        value: impl FnOnce() -> Result<T, Invalid>,
    ) -> Result<Option<T>, Invalid> {
        if self.0.iter().any(|path| path == field) { value().map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(paths: &[&str]) -> FieldMask {
        FieldMask { paths: paths.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn only_fields_that_are_named_are_looked_at() {
        let mask = Mask::of(Some(mask(&["name"])), &["name", "policy"]).unwrap();
        assert_eq!(mask.pick("name", || Ok(1)), Ok(Some(1)));
        assert_eq!(mask.pick("policy", || -> Result<(), _> { Err(Invalid::new("policy", "bad")) }), Ok(None));
    }

    #[test]
    fn a_mask_that_names_nothing_or_the_unchangeable_is_refused() {
        for bad in [None, Some(mask(&[])), Some(mask(&["id"])), Some(mask(&["name", "policy.budgets"]))] {
            assert!(Mask::of(bad, &["name", "policy"]).unwrap_err().problem.contains("name, policy"));
        }
    }
}
