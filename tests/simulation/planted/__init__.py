"""Bugs, each put into the product for as long as it is looked for: what the simulation must find, or it looks at nothing."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from tests.simulation.planted import course, money, privacy

Bug = Callable[[], AbstractContextManager[None]]

PLANTED: Mapping[str, Bug] = {
    bug.__name__: bug
    for bug in (
        money.settles_twice,
        money.settles_what_was_handed_over,
        money.loses_a_release,
        money.reuses_lease_ids,
        money.refunds_another_lease,
        money.forgets_a_window_when_a_clock_leaves_it,
        money.charges_no_hang_up,
        money.drops_what_the_store_did_not_take,
        money.settles_as_another_at_each_try,
        money.reserves_again_under_another_name,
        money.still_counts_what_has_ended,
        money.lets_pass_what_no_budget_holds,
        privacy.restores_for_other_tenants,
        privacy.lets_go_what_it_holds_back,
        privacy.lets_half_a_placeholder_go,
        privacy.replaces_the_first_finding_only,
        course.passes_where_a_filter_fails,
        course.leaves_a_stream_cleanly,
        course.follows_the_policy_in_force,
        course.records_twice,
        course.waits_for_a_filter_for_ever,
        course.keeps_streams_open,
    )
}
