//! Arguments that several commands share, and how they are read.

use std::str::FromStr;

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use quotad::api::proto::{Payer, payer};
use rust_decimal::Decimal;

use crate::{failure::Failure, names};

#[derive(Debug, Clone, Args)]
pub(crate) struct Organization {
    /// The organization
    #[arg(id = "org", long, env = "QUOTAD_ORG", value_name = "ORG")]
    pub(crate) id: String,
}

/// Switches something off or on again; without either it stays as it is.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Switch {
    /// Refuses every request of it
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// Lets its requests in again
    #[arg(long)]
    enable: bool,
}

impl Switch {
    /// Returns what `disabled` is to be; `None` leaves it.
    pub(crate) fn disabled(self) -> Option<bool> {
        chosen(self.disable, self.enable)
    }
}

/// Reads two flags that exclude each other: one says true, the other false, neither nothing.
pub(crate) fn chosen(yes: bool, no: bool) -> Option<bool> {
    (yes || no).then_some(yes)
}

/// Reads a decimal and keeps it as it was written; the server checks its range.
pub(crate) fn decimal(text: &str) -> Result<String, String> {
    Decimal::from_str(text)
        .map(|_| text.to_owned())
        .map_err(|_| "isn't a decimal number; give one such as 12.50".to_owned())
}

/// A model's name or pattern as the server has it, to find it in what the server answered.
#[expect(clippy::unnecessary_wraps, reason = "a parser of arguments may refuse")]
pub(crate) fn model(text: &str) -> Result<String, String> {
    Ok(text.trim().to_ascii_lowercase())
}

/// The change of just these fields, given or not by the user.
pub(crate) fn paths<S: Into<String>>(fields: impl IntoIterator<Item = S>) -> prost_types::FieldMask {
    prost_types::FieldMask { paths: fields.into_iter().map(Into::into).collect() }
}

/// Reads one of an enumeration's short names and tells the others in the help.
pub(crate) fn one_of<E>(shorts: &'static [&'static str]) -> impl TypedValueParser<Value = E>
where
    E: names::Named + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(shorts).try_map(|short| names::parse(&short).ok_or("no such name"))
}

/// A list with some added and some removed.
///
/// # Errors
/// [`Failure`] where something to remove isn't in it.
pub(crate) fn edited(mut list: Vec<String>, added: Vec<String>, removed: &[String]) -> Result<Vec<String>, Failure> {
    for gone in removed {
        let at = list.iter().position(|item| item == gone);
        let at = at.ok_or_else(|| Failure::other(format!("{gone} isn't there; there is {}", list.join(", "))))?;
        list.remove(at);
    }
    for new in added {
        if !list.contains(&new) {
            list.push(new);
        }
    }
    Ok(list)
}

pub(crate) fn key_payer(id: impl Into<String>) -> Payer {
    Payer { payer: Some(payer::Payer::KeyId(id.into())) }
}

pub(crate) fn secret_payer(secret: impl Into<String>) -> Payer {
    Payer { payer: Some(payer::Payer::ApiKey(secret.into())) }
}

/// An id that nobody else has: 16 hexadecimal digits.
pub(crate) fn mint() -> Result<String, Failure> {
    let random = getrandom::u64().map_err(|error| Failure::other(format!("no random numbers: {error}")))?;
    Ok(format!("{random:016x}"))
}

/// Names of the fields to change, and whether there are any.
pub(crate) fn mask(fields: &[(&str, bool)]) -> Result<Option<prost_types::FieldMask>, Failure> {
    let paths: Vec<_> = fields.iter().filter(|(_, given)| *given).map(|(name, _)| (*name).to_owned()).collect();
    if paths.is_empty() {
        let flags: Vec<_> = fields.iter().map(|(name, _)| format!("--{}", name.replace('_', "-"))).collect();
        return Err(Failure::other(format!("nothing to change; give at least one of {}", flags.join(", "))));
    }
    Ok(Some(prost_types::FieldMask { paths }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_given_fields_are_in_the_mask() {
        let mask_of = |fields| mask(fields).map(|mask| mask.unwrap().paths);
        assert_eq!(mask_of(&[("name", true), ("disabled", false)]).unwrap(), ["name"]);
        let error = mask_of(&[("credit_factor", false)]).unwrap_err().to_string();
        assert!(error.contains("--credit-factor"), "{error}");
    }

    #[test]
    fn a_list_is_edited_in_part() {
        let list = |items: &[&str]| items.iter().map(|&item| item.to_owned()).collect::<Vec<_>>();
        assert_eq!(edited(list(&["a", "b"]), list(&["c", "b"]), &list(&["a"])).unwrap(), ["b", "c"]);
        let error = edited(list(&["a"]), Vec::new(), &list(&["x"])).unwrap_err().to_string();
        assert!(error.contains('x') && error.contains('a'), "{error}");
    }

    #[test]
    fn decimals_stay_as_they_were_written() {
        assert_eq!(decimal("12.50").unwrap(), "12.50");
        for bad in ["", "twelve", "NaN", "1,5"] {
            assert!(decimal(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn minted_ids_differ() {
        assert_ne!(mint().unwrap(), mint().unwrap());
    }
}
