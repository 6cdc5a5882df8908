//! vivid through the multi-planar API, as the image units of system chips speak it.

use crate::{
    assert_counts_a_damaged_buffer, assert_opens_again_after_a_failed_stream, assert_shares_its_buffers,
    formats,
};

#[test]
#[ignore = "needs vivid: run by tests/vm/test multiplanar"]
fn each_format_shows_the_bars_or_is_refused() {
    formats::assert_each_is_shown_or_refused();
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test multiplanar"]
fn buffers_are_shared_with_other_drivers() {
    assert_shares_its_buffers();
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test multiplanar"]
fn a_damaged_buffer_is_dropped_and_counted() {
    assert_counts_a_damaged_buffer();
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test multiplanar"]
fn a_stream_that_fails_can_be_opened_again() {
    assert_opens_again_after_a_failed_stream();
}
