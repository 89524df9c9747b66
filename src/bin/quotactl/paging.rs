//! Lists, page by page.

use clap::Args;
use tonic::Status;

use crate::{failure::Failure, output::Listed};

/// The server's largest page.
const PAGE: usize = 1000;

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Paging {
    /// How many to show at most
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = at_least_one)]
    limit: usize,
    /// Show all, however many
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| "give a whole number from 1 on".to_owned())
}

impl Paging {
    /// Calls `page` with a page's size and token until it has no next one or enough are there.
    pub(crate) async fn collect<T>(
        self,
        mut page: impl AsyncFnMut(i32, String) -> Result<(Vec<T>, String), Status>,
    ) -> Result<Listed<T>, Failure> {
        let limit = if self.all { usize::MAX } else { self.limit };
        let mut items = Vec::new();
        let mut token = String::new();
        loop {
            let size = PAGE.min(limit - items.len());
            let (found, next) = page(i32::try_from(size).unwrap_or(i32::MAX), token).await?;
            items.extend(found);
            // A page larger than asked for would otherwise pass the limit unseen.
            let surplus = items.len() > limit;
            items.truncate(limit);
            if next.is_empty() || items.len() >= limit {
                return Ok(Listed { items, more: surplus || !next.is_empty() });
            }
            token = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves the numbers up to `total`, in pages.
    async fn pages(paging: Paging, total: usize) -> (Listed<usize>, usize) {
        let mut calls = 0;
        let listed = paging
            .collect(async |size, token| {
                calls += 1;
                let start: usize = token.parse().unwrap_or(0);
                let end = total.min(start + usize::try_from(size).unwrap());
                Ok(((start..end).collect(), if end < total { end.to_string() } else { String::new() }))
            })
            .await
            .unwrap();
        (listed, calls)
    }

    #[tokio::test]
    async fn pages_are_put_together_in_order() {
        let (listed, calls) = pages(Paging { limit: 1, all: true }, 2500).await;
        assert_eq!(listed.items, (0..2500).collect::<Vec<_>>());
        assert!(!listed.more && calls == 3);
    }

    #[tokio::test]
    async fn a_limit_stops_and_tells_whether_there_is_more() {
        let (listed, calls) = pages(Paging { limit: 10, all: false }, 25).await;
        assert!(listed.items.len() == 10 && listed.more && calls == 1);
        let (listed, _) = pages(Paging { limit: 25, all: false }, 25).await;
        assert!(listed.items.len() == 25 && !listed.more);
    }

    #[tokio::test]
    async fn an_error_of_any_page_is_an_error() {
        let paging = Paging { limit: 10, all: false };
        let failed = paging.collect(async |_, _| Err::<(Vec<u8>, _), _>(Status::internal("x"))).await;
        assert!(failed.is_err());
    }
}
