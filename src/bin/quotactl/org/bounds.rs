//! An organization's own bounds on the command line: `open=1000,keys_per_hour=5`.

use quotad::api::proto::Bounds;
use serde_json::{Map, Value};

macro_rules! named {
    ($($name:ident)*) => {
        fn field<'b>(bounds: &'b mut Bounds, name: &str) -> Option<&'b mut Option<u32>> {
            match name {
                $(stringify!($name) => Some(&mut bounds.$name),)*
                _ => None,
            }
        }

        /// Returns the bounds that are set, by their names in the API.
        pub(crate) fn json(bounds: Option<&Bounds>) -> Value {
            let Bounds { $($name),* } = bounds.copied().unwrap_or_default();
            let all = [$((stringify!($name), $name)),*];
            let set = all.into_iter().filter_map(|(name, bound)| Some((name.to_owned(), Value::from(bound?))));
            Value::Object(set.collect::<Map<_, _>>())
        }

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

named! {
    keys members teams rules policies credit_requests credit_requests_per_day payment_methods keys_per_hour
    invitations_per_hour resends_per_day mails_per_hour mails_per_address open_per_key open label_bytes
}

/// Reads bounds as they are given; an empty text sets none.
pub(crate) fn parse(text: &str) -> Result<Bounds, String> {
    let mut bounds = Bounds::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').ok_or_else(|| format!("{part:?} isn't NAME=COUNT"))?;
        let bound =
            field(&mut bounds, name).ok_or_else(|| format!("{name:?} is no bound; there are {}", NAMES.join(", ")))?;
        *bound = Some(value.parse().map_err(|_| format!("{value:?} is no count"))?);
    }
    Ok(bounds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bounds_are_named_as_in_the_api() {
        let bounds = parse("open=1000,keys_per_hour=5").unwrap();
        assert_eq!(json(Some(&bounds)), json!({ "keys_per_hour": 5, "open": 1000 }));
        assert_eq!(parse("").unwrap(), Bounds::default());
        assert_eq!(json(None), json!({}));
    }

    #[test]
    fn what_is_no_bound_is_refused() {
        for bad in ["open", "open=many", "opem=1", "open=-1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
