//! Pages of lists: their size, and tokens that only the list that answered them understands.

use std::{fmt::Display, str::FromStr};

use data_encoding::BASE64URL_NOPAD;

use crate::{domain::error::Invalid, service::Page};

const DEFAULT_SIZE: usize = 100;
const MAX_SIZE: usize = 1000;
/// Longest token, in characters: of a list by names, which may hold characters of four bytes.
pub(in crate::api) const MAX_PAGE_TOKEN: usize = 1024;

/// # Errors
/// [`Invalid`] when it is negative.
pub(in crate::api) fn size_in(page_size: i32) -> Result<usize, Invalid> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(DEFAULT_SIZE),
        Ok(size) => Ok(size.min(MAX_SIZE)),
        Err(_) => Err(Invalid::new("page_size", format!("{page_size} is negative; give 1 to {MAX_SIZE}"))),
    }
}

/// Where a page begins, by the token that the page before answered, and its size.
///
/// # Errors
/// [`Invalid`] when the size is negative, or this list never answered the token.
pub(in crate::api) fn page_in(list: &str, page_size: i32, token: &str) -> Result<Page, Invalid> {
    Ok(Page { from: token_in(list, token)?, limit: size_in(page_size)? })
}

/// What a list's tokens are bound to: its name and its filters, so that a token of another query isn't taken. `filters` is the
/// request without page size and token.
pub(in crate::api) fn query_name(list: &str, filters: &impl prost::Message) -> String {
    let hash = blake3::hash(&filters.encode_to_vec());
    format!("{list}.{}", BASE64URL_NOPAD.encode(&hash.as_bytes()[..6]))
}

/// The token of the page of `list` that begins at `place`; empty after the last.
pub(in crate::api) fn token_out<T: Display>(list: &str, place: Option<T>) -> String {
    place.map_or_else(String::new, |place| BASE64URL_NOPAD.encode(format!("{list}:{place}").as_bytes()))
}

/// A page of up to one more than `size` items, and the token of the next one: after the last item's id.
pub(in crate::api) fn page_of<T, I: Display>(
    list: &str,
    size: usize,
    mut items: Vec<T>,
    id: impl Fn(&T) -> &I,
) -> (Vec<T>, String) {
    let more = items.len() > size;
    items.truncate(size);
    let token = token_out(list, items.last().filter(|_| more).map(id));
    (items, token)
}

/// Where the page begins; `None` for the first.
///
/// # Errors
/// [`Invalid`] when this list never answered the token.
pub(in crate::api) fn token_in<T: FromStr>(list: &str, token: &str) -> Result<Option<T>, Invalid> {
    if token.is_empty() {
        return Ok(None);
    }
    let text = BASE64URL_NOPAD.decode(token.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let place = text.as_deref().and_then(|text| text.strip_prefix(list)?.strip_prefix(':')?.parse().ok());
    let wrong =
        || Invalid::new("page_token", "isn't a next_page_token of this list; leave it empty for the first page");
    place.map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_place_in_its_own_list_only() {
        let token = token_out("teams", Some(7_u32));
        assert_eq!(token_in::<u32>("teams", &token), Ok(Some(7)));
        assert_eq!(token_in::<u32>("teams", ""), Ok(None));
        assert_eq!(token_out::<u32>("teams", None), "");
        for bad in [token.as_str(), "x", "ä", &token_out("keys", Some("a"))] {
            assert!(token_in::<u32>("keys", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_page_has_no_token_even_if_it_is_full() {
        let page = |items: Vec<u32>| page_of("n", 2, items, |item| item);
        assert_eq!(page(vec![1, 2]), (vec![1, 2], String::new()));
        let (items, token) = page(vec![1, 2, 3]);
        assert_eq!((items, token_in("n", &token)), (vec![1, 2], Ok(Some(2))));
    }

    #[test]
    fn sizes_are_bounded_and_never_negative() {
        assert_eq!([0, 1, 5000].map(|size| size_in(size).unwrap()), [100, 1, 1000]);
        assert!(size_in(-1).is_err());
    }
}
