//! The contract of a [`Store`] as checks: for those who write one.
//!
//! [`conformance_tests!`] makes a test of each check:
//!
//! ```
//! use std::sync::Arc;
//! use tower_refresh::store::Memory;
//!
//! async fn make() -> Arc<Memory> {
//!     Arc::new(Memory::new())
//! }
//!
//! mod memory {
//!     tower_refresh::store::testing::conformance_tests!(super::make);
//! }
//! # fn main() {}
//! ```
//!
//! [`conforms`] runs all of them, for a harness that is not `#[tokio::test]`:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use tower_refresh::store::{Memory, testing};
//!
//! testing::conforms(|| async { Memory::new() }).await;
//! # }
//! ```
//!
//! A check uses names of its own, so that several may share one server. Checks panic where the
//! store breaks its contract. Some wait for a lease of a tenth of a second, in real time.

pub mod checks;

/// Makes a `#[tokio::test]` of each check, in the module where it is called.
///
/// The argument is an async function, or a closure that returns a future, of a store: it is called
/// once for each test. The crate that uses it needs Tokio with the feature `macros`.
pub use crate::__store_conformance_tests as conformance_tests;
use crate::store::contract::Store;

#[doc(hidden)]
#[macro_export]
macro_rules! __store_conformance_tests {
    (@with $rule:ident $($arguments:tt)*) => {
        $crate::__store_conformance_tests! { @$rule [$($arguments)*]
            a_name_without_a_record_loads_nothing
            a_written_record_is_loaded_as_it_was
            an_empty_record_is_a_record
            every_byte_is_kept
            a_record_of_64_kib_is_kept
            a_record_of_10_mb_is_kept_or_refused_without_damage
            a_swap_answers_with_the_version_that_is_loaded_then
            a_swap_that_expects_nothing_loses_against_a_record
            a_swap_that_expects_another_version_loses_and_changes_nothing
            a_swap_that_expects_a_record_loses_where_there_is_none
            a_lost_swap_answers_with_the_record
            a_swap_that_was_done_is_lost_when_it_is_repeated
            versions_grow
            an_equal_content_gets_a_new_version
            a_deleted_record_is_gone
            a_version_is_not_used_again_after_a_deletion
            a_deletion_that_expects_another_version_loses
            a_deletion_of_nothing_is_no_record
            a_version_from_before_a_deletion_is_lost
            names_do_not_share_records
            any_text_is_a_name
            one_of_many_concurrent_swaps_is_done
            concurrent_increments_are_all_counted
            a_lease_is_busy_for_others
            a_lease_is_extended_by_its_holder
            a_lease_that_was_given_up_is_free
            a_lease_cannot_be_given_up_by_another_holder
            a_lease_ends_by_itself
            an_extended_lease_outlives_its_first_time
            a_lease_of_any_length_is_taken
            one_of_many_concurrent_holders_gets_the_lease
            leases_of_several_names_are_independent
            a_lease_does_not_hinder_a_swap
            a_change_ends_the_wait_for_it
            a_wait_for_a_version_that_is_gone_ends
        }
    };
    (@tests [$make:expr] $($check:ident)*) => {
        $(
            #[tokio::test]
            async fn $check() {
                $crate::store::testing::checks::$check(($make)().await).await;
            }
        )*
    };
    (@run [$make:expr] $($check:ident)*) => {
        $( $crate::store::testing::checks::$check(($make)().await).await; )*
    };
    ($make:expr) => {
        $crate::__store_conformance_tests! { @with tests $make }
    };
}

/// Runs all checks, one after the other, each with a store that `make` makes.
///
/// # Panics
///
/// The store breaks its contract.
pub async fn conforms<S, F, Fut>(make: F)
where
    S: Store,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    crate::__store_conformance_tests! { @with run make }
}
