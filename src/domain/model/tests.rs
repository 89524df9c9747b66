use proptest::prelude::*;

use super::*;
use crate::domain::{entity::PriceEntry, price::ListPrice, time::Timestamp};

fn pattern(text: &str) -> ModelPattern {
    ModelPattern::parse("models", text).unwrap()
}

fn models(texts: &[&str]) -> Models {
    Models::checked("models", texts.iter().map(|text| pattern(text)).collect()).unwrap()
}

#[test]
fn spellings_of_a_name_are_one_model_however_they_enter() {
    let normal = Model::trusted("gpt-5");
    for spelling in ["gpt-5", "GPT-5", " Gpt-5\u{a0}", "gPT-5 "] {
        assert_eq!(Model::parse("model", spelling).unwrap(), normal, "{spelling:?}");
        assert_eq!(Model::trusted(spelling), normal, "{spelling:?}");
        let written = postcard::to_stdvec(&SmolStr::new(spelling)).unwrap();
        assert_eq!(postcard::from_bytes::<Model>(&written).unwrap(), normal, "as an older record holds {spelling:?}");
    }
    assert_eq!(Model::parse("model", "É-Model").unwrap().as_str(), "É-model", "only ASCII is lowered");
    for bad in ["", " ", "\u{a0}", "m\t", "m\n", "a\nb", "a\u{202e}b", "a\u{200b}", &"x".repeat(129), &"字".repeat(43)]
    {
        assert!(Model::parse("model", bad).is_err(), "{bad:?}");
    }
    assert!(Model::parse("model", &"字".repeat(42)).is_ok());
    let longest = format!(" {} ", "x".repeat(MAX_NAME));
    assert_eq!(Model::parse("model", &longest).unwrap().as_str().len(), MAX_NAME);
}

#[test]
fn a_price_has_one_exact_name() {
    assert_eq!(Model::parse_exact("model", "A").unwrap().as_str(), "a");
    let refused = Model::parse_exact("model", "claude-*").unwrap_err().to_string();
    assert!(refused.contains("\"claude-*\"") && refused.contains("exact name"), "{refused}");
}

#[test]
fn patterns_match_whole_names() {
    for (text, matching, other) in [
        (
            "claude-opus-*",
            &["claude-opus-", "claude-opus-4-7"][..],
            &["claude-opus", "xclaude-opus-4", "claude-sonnet-4"][..],
        ),
        ("anthropic/*", &["anthropic/claude"], &["anthropic", "openai/anthropic/x"]),
        ("*", &["", "anything"], &[]),
        ("*-mini", &["gpt-5-mini", "-mini"], &["gpt-5-minimal", "mini"]),
        ("a*a", &["aa", "aba"], &["a", "ab"]),
        ("a*b*c", &["abc", "a-b-b-c"], &["acb", "ab", "bc"]),
        ("*b*", &["b", "abc"], &["", "ac"]),
        ("a**c", &["ac", "abc"], &["a", "c"]),
        ("*a*b*", &["ab", "aba"], &["ba"]),
        ("*ab*ba*", &["abba", "xab-bax"], &["aba", "ab"]),
        ("****", &["", "x"], &[]),
        ("ö*ü", &["öü", "ößü"], &["ö", "ü"]),
        ("exact", &["exact"], &["exact-", ""]),
    ] {
        for (names, matches) in [(matching, true), (other, false)] {
            for name in names {
                assert_eq!(pattern(text).matches(&Model::trusted(*name)), matches, "{text} on {name:?}");
            }
        }
    }
    assert!(ModelPattern::parse("models", "a*b*c*d*e*").unwrap_err().to_string().contains("at most 4"));
}

/// The plainest definition: a star takes none of the name, or one character more.
fn naive(pattern: &[char], name: &[char]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => naive(rest, name) || name.split_first().is_some_and(|(_, less)| naive(pattern, less)),
        (Some((p, rest)), Some((n, less))) => p == n && naive(rest, less),
        _ => false,
    }
}

proptest! {
    #[test]
    fn patterns_match_as_the_plainest_definition_does(text in "[abö*]{1,9}", name in "[abö]{0,9}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assume!(text.matches('*').count() <= MAX_STARS);
        let (expected, model) = (naive(&chars(&text), &chars(&name)), Model::trusted(name.as_str()));
        prop_assert_eq!(pattern(&text).matches(&model), expected);
        // Long lists remember; what they say is what short ones say.
        let long = ["x1", "x2", "x3", "x4", &text];
        let (short, long) = (models(&[&text]), models(&long));
        for list in [&short, &long, &long] {
            prop_assert_eq!(list.include(&model), expected);
        }
    }
}

#[test]
fn what_a_list_remembers_is_bounded_and_never_wrong() {
    let list = models(&["a-*", "b-*", "c-*", "d-*", "e-*", "*-7"]);
    for round in 0..3 {
        for no in 0..40 {
            let (a, x) = (Model::trusted(format!("a-{no}")), Model::trusted(format!("x-{no}")));
            assert!(list.include(&a), "{a} in round {round}");
            assert_eq!(list.include(&x), no == 7, "{x} in round {round}");
        }
    }
    let memo = list.0.as_ref().unwrap().memo.0.lock();
    assert_eq!((memo.len(), memo.capacity()), (Memo::SIZE, Memo::SIZE));
}

#[test]
fn lists_keep_their_encoding_and_are_sets() {
    let written = postcard::to_stdvec(&vec!["llama", "gpt-*"]).unwrap();
    let read: Models = postcard::from_bytes(&written).unwrap();
    assert_eq!((&read, postcard::to_stdvec(&read).unwrap()), (&models(&["llama", "GPT-*"]), written));
    assert_eq!(postcard::to_stdvec(&Models::default()).unwrap(), [0]);
    assert!(Models::checked("models", vec![pattern("A"), pattern("a ")]).unwrap_err().to_string().contains("twice"));
    assert!(Models::default().include(&Model::trusted("any")));
}

#[test]
fn entries_that_match_no_priced_model_are_found() {
    let mut prices = PriceBook::default();
    for no in 0..300 {
        let model = Model::trusted(format!("m-{no:03}"));
        prices.set(PriceEntry { model, price: ListPrice::default(), update_time: Timestamp::EPOCH });
    }
    let list = models(&["m-000", "m-*", "m-29*", "*-299", "*", "m-300", "m-3*", "n*", "*-300", "l*"]);
    let unmatched: Vec<_> = list.unmatched(&prices).map(ModelPattern::as_str).collect();
    assert_eq!(unmatched, ["m-300", "m-3*", "n*", "*-300", "l*"]);
    assert_eq!(list.unmatched(&PriceBook::default()).count(), 10, "an empty book prices nothing");
    assert_eq!(Models::default().unmatched(&prices).count(), 0);
}
