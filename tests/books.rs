//! What books must do, wherever they are: one suite for each database, and what moves books from one to another.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

#[path = "support/cluster.rs"]
mod cluster;
#[path = "books/months.rs"]
mod months;
#[path = "books/moving.rs"]
mod moving;
#[path = "books/place.rs"]
mod place;
#[path = "books/pooler.rs"]
mod pooler;
#[path = "books/queries.rs"]
mod queries;
#[path = "books/random.rs"]
mod random;
#[path = "books/reach.rs"]
mod reach;
#[path = "books/script.rs"]
mod script;
#[path = "books/writing.rs"]
mod writing;

use place::Books;

/// Each is run against empty books in each database.
macro_rules! in_every_database {
    ($($module:ident: $($test:ident)*;)*) => {
        mod sqlite {
            $($(
                #[tokio::test]
                async fn $test() {
                    super::$module::$test(&super::Books::in_a_file().await).await;
                }
            )*)*
        }

        mod postgres {
            $($(
                #[tokio::test]
                async fn $test() {
                    super::$module::$test(&super::Books::in_a_database().await).await;
                }
            )*)*
        }
    };
}

in_every_database! {
    writing:
        records_are_written_exactly_once_however_often_they_come
        a_hold_that_was_committed_leaves_no_row_in_one_batch_or_two
        periods_and_models_are_said_in_words_and_follow_their_limit
        a_rules_counters_are_in_force_while_its_cap_counts_as_they_do
        a_gap_in_the_journal_is_refused
        an_entry_that_does_not_follow_changes_nothing
        a_balance_that_does_not_add_up_changes_nothing
        money_is_never_booked_twice_under_one_request_id
        entries_can_neither_be_changed_nor_deleted
        only_the_lease_that_the_books_know_may_write_them
        a_lease_that_is_not_renewed_runs_out_by_the_databases_clock
        of_two_that_take_a_lease_at_once_one_gets_it
        states_and_events_are_read_back_as_they_were_kept
        books_of_a_later_version_are_refused;
    queries:
        entries_are_listed_newest_first_filtered_and_paged
        a_query_is_narrowed_to_the_numbers_of_its_times
        what_was_used_is_found_whenever_it_was_booked
        every_end_of_a_reservation_is_found_as_it_was_journalled
        what_is_over_is_found_whole_as_it_is_in_the_end
        usage_is_summed_by_group_and_money_in_is_none
        sums_beyond_the_integers_saturate_and_stop_nothing
        a_change_is_listed_with_what_was_before
        a_search_finds_folded_texts_in_the_order_of_creation
        rows_of_an_older_server_are_folded_when_the_books_are_opened
        a_long_audit_log_is_read_whole_however_little_of_it_matches
        nothing_secret_stands_in_the_audit_log
        an_audit_finds_what_was_tampered_with;
}
