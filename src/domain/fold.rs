//! What is the same text for a person, whatever its case and however its letters are composed: the one home of folding.

use std::borrow::Cow;

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizerBorrowed;
use smol_str::SmolStr;

/// Stays behind the `i` that İ folds to, because elsewhere it makes another letter.
const DOTTED_I: &str = "i\u{307}";

/// Returns the text as searches compare it: trimmed, its letters composed and compatible (NFKC), full case folding. Whoever types
/// `strasse` finds `Straße`, and `istanbul` finds `İstanbul`.
pub fn for_search(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    if text.is_ascii() {
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        return if is_lower { Cow::Borrowed(text) } else { Cow::Owned(text.to_ascii_lowercase()) };
    }
    let compatible = ComposingNormalizerBorrowed::new_nfkc();
    let composed = compatible.normalize(text);
    let folded = CaseMapper::new().fold_string(&composed);
    // Folding may take letters apart.
    Cow::Owned(compatible.normalize(&folded).replace(DOTTED_I, "i").trim().to_owned())
}

/// Returns the form in which e-mail addresses are told apart: their letters composed (NFC), in lower case. No mail server that
/// anybody uses tells cases apart, but straße@ and strasse@ may be two people.
pub fn address(email: &str) -> SmolStr {
    if email.is_ascii() {
        return email.to_ascii_lowercase().into();
    }
    let composed = ComposingNormalizerBorrowed::new_nfc();
    composed.normalize(&composed.normalize(email).to_lowercase()).as_ref().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Case P18.
    #[test]
    fn what_people_take_for_the_same_is_found() {
        let finds = |search: &str, text: &str| for_search(text).contains(&*for_search(search));
        for (search, text) in [
            ("strasse", "Straße"),
            ("STRASSE", "straße"),
            ("Straße", "HAUPTSTRASSE"),
            ("STRAẞE", "strasse"),
            ("istanbul", "İstanbul"),
            ("İSTANBUL", "istanbul"),
            ("Åsa", "A\u{30a}sa"),
            ("a\u{30a}sa", "ÅSA"),
            ("\u{212b}sa", "åsa"),
            (" \u{a0}ann\t", "Joanna"),
            ("ﬁn", "FINANCE"),
            ("ｆｕｌｌ", "Full Width"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ] {
            assert!(finds(search, text), "{search:?} in {text:?}");
        }
        assert!(!finds("asa", "Åsa") && !finds("bob", "Joanna"));
    }

    #[test]
    fn an_address_is_the_same_in_any_case_but_no_other_mailbox() {
        assert_eq!(address("Ann@Example.org"), address("ann@example.ORG"));
        assert_eq!(address("JÖRG@x.de"), address("jo\u{308}rg@x.de"));
        assert_ne!(address("straße@x.de"), address("strasse@x.de"));
        assert_ne!(address("İ@x.de"), address("i@x.de"));
    }

    proptest! {
        #[test]
        fn folding_again_changes_nothing(text in any::<String>()) {
            let folded = for_search(&text).into_owned();
            prop_assert_eq!(&*for_search(&folded), folded.as_str());
            let key = address(&text);
            prop_assert_eq!(address(&key), key.clone());
        }
    }
}
