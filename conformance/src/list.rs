//! The list: every rule once, with the case that checks it.

/// Hands the list to another macro. To add a rule, write its case in the file of its subject and
/// name it here; numbers are never given twice. Then run `cargo xtask docs`.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_rule {
    ($($callback:tt)::+ ! [$($args:tt)*]) => { $($callback)::+! { [$($args)*]
Nothing {
    create {
        "CREATE-001" Must every_field_comes_back "Every field given to a single create is returned, and read back the same.";
        "CREATE-002" Must every_field_comes_back_from_a_batch "Every field given to a batch is returned and read back the same, whatever the other jobs leave out.";
        "CREATE-003" Must a_listing_shows_every_field "A listing shows a job as creating it did.";
        "CREATE-004" Must what_is_absent_stays_absent "Optional fields that were not given read back as absent, priority as 0.";
        "CREATE-005" Must a_new_job_is_pending_and_due_now "A new job is pending and due, its times are now, no retries are spent and its fence is 0.";
        "CREATE-006" Must made_ids_ascend "Ids made by the store ascend in the order of creation, within a batch and from call to call.";
        "CREATE-007" Must made_ids_are_uuids_of_version_7 "Ids made by the store are UUIDs of version 7.";
        "CREATE-008" Must any_uuid_serves_as_an_id "A caller may give any UUID as an id.";
        "CREATE-009" Must a_known_id_is_refused_and_its_job_untouched "Creating a job with the id of another is refused, and that job is untouched.";
        "CREATE-010" Must the_id_of_a_finalized_job_is_refused "The id of a finalized job is taken as well.";
        "CREATE-011" Must an_id_twice_in_a_batch_is_refused "A batch with one id twice is refused whole.";
        "CREATE-012" Must a_refused_batch_writes_nothing "A refused batch leaves no job, no id and no unique key behind.";
        "CREATE-013" Must an_empty_batch_succeeds "Creating no jobs succeeds.";
        "CREATE-014" Must a_batch_of_a_thousand_keeps_its_order "A batch of 1,000 jobs is created, and answered in the order given.";
        "CREATE-015" Must extreme_numbers_come_back "The least and greatest priority and retry limit come back.";
        "CREATE-016" Must times_far_away_come_back "Due times from the least to the greatest timestamp come back, to the millisecond.";
        "CREATE-017" Must timeouts_come_back_as_they_were_shown "A timeout is kept as seconds in a 64-bit float, and shown the same by create and get.";
        "CREATE-018" Must params_are_kept_byte_for_byte "Params come back byte for byte: spaces, key order, duplicate keys, numbers beyond floats, escapes.";
        "CREATE-019" Must params_of_8_mib_come_back "Params of just 8 MiB come back.";
        "CREATE-020" Must creating_touches_no_other_job "Creating jobs changes no other job.";
        "CREATE-021" Must a_mixed_batch_says_which_jobs_are_new "A batch that finds some jobs and creates others says which is which.";
        "CREATE-022" Must a_batch_of_any_size_is_whole "A batch of any size is created whole and in order, whatever sizes a backend writes at a time.";
        "CREATE-023" Must a_refused_batch_leaves_the_jobs_it_found "A refused batch leaves the jobs that it found by their unique keys, and those keep their keys.";
    }
    unique {
        "UNIQUE-001" Must the_holder_is_found_and_unchanged "Creating a job whose unique key is held returns the holder, marked as existing and unchanged.";
        "UNIQUE-002" Must a_key_twice_in_a_batch_makes_one_job "A unique key twice in a batch makes one job, which the later ones find.";
        "UNIQUE-003" Must the_key_is_looked_at_before_the_id "A held unique key is found before a known id is refused, so a create can be repeated.";
        "UNIQUE-004" Must in_a_batch_too_the_key_comes_before_the_id "A batch with ids and keys can be repeated, and may hold a job twice.";
        "UNIQUE-005" Must a_free_key_does_not_excuse_a_known_id "A known id is refused when nobody holds the unique key, which stays free.";
        "UNIQUE-006" Must a_key_belongs_to_one_name "Unique keys of different names have nothing to do with each other.";
        "UNIQUE-007" Must jobs_without_a_key_never_collide "Jobs without a unique key never collide.";
        "UNIQUE-008" Must every_end_frees_the_key "A job that is finished, failed, timed out or canceled, running or not, frees its key.";
        "UNIQUE-009" Must a_running_job_holds_its_key "A running job holds its unique key.";
        "UNIQUE-010" Must a_job_that_waits_for_its_retry_holds_its_key "A job that waits for its retry holds its unique key.";
        "UNIQUE-011" Must a_reset_that_would_steal_a_key_is_refused "A reset that would take a held unique key is refused, names the holder and changes neither.";
        "UNIQUE-012" Must a_reset_takes_a_free_key_again "A finalized job that is reset holds its unique key again.";
        "UNIQUE-013" Must a_job_never_collides_with_itself "Resetting a pending or running job does not collide with its own key.";
        "UNIQUE-014" Must deleting_an_old_job_does_not_free_its_successors_key "Deleting an old holder of a key does not free it under its new holder.";
        "UNIQUE-015" Must a_batch_shows_a_holder_as_it_is_when_it_is_made "A batch shows the holder of a key as it is when the batch is made, beside changes of it too.";
        "UNIQUE-016" Must a_key_freed_before_a_batch_is_made_is_free_for_it "A key that is freed before a batch is made is free for it, however long the batch takes.";
    }
    get {
        "GET-001" Must found_and_missing_come_in_the_order_given "Jobs and gaps come in the order of the ids.";
        "GET-002" Must an_id_asked_for_twice_is_answered_twice "An id that is asked for twice is answered twice.";
        "GET-003" Must no_ids_give_no_jobs "No ids give no jobs.";
        "GET-004" Must a_thousand_ids_are_answered "1,000 ids are answered in one call.";
        "GET-005" Must an_unknown_id_is_not_found "An unknown id is not found, by name.";
        "GET-006" Must what_a_call_returned_is_what_is_stored "What create, claim and update return is what is read afterwards.";
        "GET-007" Must a_deleted_job_is_gone "A deleted job is missing, its neighbour is not.";
    }
    matrix {
        "MATRIX-001" Must start_by_id_needs_a_pending_job "Start by id is accepted for a pending job; refused, a job is as it was.";
        "MATRIX-002" Must renew_by_id_needs_a_running_job "Renew by id is accepted for a running job; refused, a job is as it was.";
        "MATRIX-003" Must finish_by_id_needs_an_unfinished_job "Finish by id is accepted for a pending or running job; refused, a job is as it was.";
        "MATRIX-004" Must fail_by_id_needs_an_unfinished_job "Fail by id is accepted for a pending or running job; refused, a job is as it was.";
        "MATRIX-005" Must time_out_by_id_needs_an_unfinished_job "Time out by id is accepted for a pending or running job; refused, a job is as it was.";
        "MATRIX-006" Must retry_by_id_needs_a_running_job "Retry by id is accepted for a running job; refused, a job is as it was.";
        "MATRIX-007" Must recover_by_id_needs_a_running_job "Recover by id is accepted for a running job whose lease is over; refused, a job is as it was.";
        "MATRIX-008" Must cancel_by_id_needs_an_unfinished_job "Cancel by id is accepted for a pending or running job; refused, a job is as it was.";
        "MATRIX-009" Must reset_by_id_takes_any_job "Reset by id is accepted in every status.";
        "MATRIX-010" Must start_by_a_claim_is_never_allowed "Start with a claim is refused in every status.";
        "MATRIX-011" Must renew_by_a_claim_needs_its_run "Renew with a claim needs its run to go on.";
        "MATRIX-012" Must finish_by_a_claim_needs_its_run "Finish with a claim needs its run to go on.";
        "MATRIX-013" Must fail_by_a_claim_needs_its_run "Fail with a claim needs its run to go on.";
        "MATRIX-014" Must time_out_by_a_claim_needs_its_run "Time out with a claim needs its run to go on, or to have timed out.";
        "MATRIX-015" Must retry_by_a_claim_needs_its_run "Retry with a claim needs its run to go on.";
        "MATRIX-016" Must recover_by_a_claim_needs_its_run "Recover with a claim needs its run to go on.";
        "MATRIX-017" Must cancel_by_a_claim_needs_its_run "Cancel with a claim needs its run to go on, or to have been canceled.";
        "MATRIX-018" Must reset_by_a_claim_needs_its_run "Reset with a claim needs its run to go on.";
        "MATRIX-019" Must a_claim_with_an_old_fence_does_nothing "An old fence is a lost lease for every action in every status, and changes nothing.";
        "MATRIX-020" Must a_claim_with_a_fence_to_come_does_nothing "A fence that was not reached yet is a lost lease for every action in every status.";
        "MATRIX-021" Must a_claim_with_an_impossible_fence_does_nothing "A fence beyond every engine's integers is a lost lease like any other.";
    }
    transition {
        "TRANSITION-001" Must a_start_without_a_lease_has_no_owner "A start without a lease runs the job with no owner and no expiry.";
        "TRANSITION-002" Must a_start_with_a_lease_sets_it "A start with a lease sets its owner, and its end counted from now.";
        "TRANSITION-003" Must an_operator_may_start_what_is_not_due "A start by id does not ask whether the job is due.";
        "TRANSITION-004" Must a_finish_keeps_its_result_and_ends_the_lease "A finish keeps its result and clears the lease.";
        "TRANSITION-005" Must an_empty_result_is_not_an_absent_one "An empty result is not an absent one.";
        "TRANSITION-006" Must a_failure_keeps_its_error_twice "A failure keeps its error as the result and as the last error, and clears the lease.";
        "TRANSITION-007" Must a_time_out_leaves_no_result "A time out leaves no result and clears the lease.";
        "TRANSITION-008" Must a_cancel_ends_the_lease "A cancel clears the lease.";
        "TRANSITION-009" Must a_retry_waits_and_keeps_the_error "A retry makes the job pending after the backoff, counts it, keeps the error and clears the lease.";
        "TRANSITION-010" Must the_wait_doubles_up_to_its_limit "Each retry waits twice as long as the one before, up to the policy's limit.";
        "TRANSITION-011" Must retries_end_when_the_policy_says "After as many retries as the policy allows the job fails for good.";
        "TRANSITION-012" Must a_jobs_own_limit_wins "A job's own retry limit wins over the policy's, greater or less.";
        "TRANSITION-013" Must a_wait_without_end_saturates "A backoff past the last timestamp ends at the last timestamp.";
        "TRANSITION-014" Must an_error_outlives_the_runs_after_it "The last error is kept by the runs that come after it.";
        "TRANSITION-015" Must a_reset_clears_the_outcome_and_keeps_the_history "A reset clears result and lease, makes the job due now, and keeps retries, fence and last error.";
        "TRANSITION-016" Must a_reset_makes_a_waiting_job_due "A reset makes a job that waits for its time due now.";
        "TRANSITION-017" Must a_worker_may_hand_its_job_back "A worker may hand its job back, which spends no retry.";
        "TRANSITION-018" Must the_fence_never_goes_back "Every start raises the fence by one, and nothing lowers it.";
        "TRANSITION-019" Must what_was_given_at_creation_never_changes "No action changes what was given at creation.";
        "TRANSITION-020" Must an_update_touches_no_other_job "No action changes another job.";
        "TRANSITION-021" Must an_unknown_job_is_not_found_by_any_action "Every action on an unknown job says that it is not found, by id and by claim.";
        "TRANSITION-022" Must a_result_of_8_mib_comes_back "A result of just 8 MiB comes back.";
        "TRANSITION-023" Must messages_name_the_job_but_no_payload "A refusal names the job, its status and the action, and shows no params, results or errors.";
        "TRANSITION-024" Must a_limit_lowered_later_ends_the_job "A job that has spent more retries than the policy now allows fails for good.";
        "TRANSITION-025" Must hundreds_of_retries_overflow_nothing "After hundreds of retries the wait is still at its limit and nothing overflows.";
        "TRANSITION-026" Must tens_of_thousands_of_runs_are_counted "The fence counts more runs than 16 bits hold.";
    }
    repeat {
        "REPEAT-001" Must a_finish_may_be_repeated "A finish repeated with its claim returns the job unchanged.";
        "REPEAT-002" Must a_failure_may_be_repeated "A failure repeated with its claim returns the job unchanged.";
        "REPEAT-003" Must a_failure_whose_text_was_mended_may_be_repeated "A failure may be repeated when its text had to be mended to be stored.";
        "REPEAT-004" Must a_time_out_may_be_repeated "A time out repeated with its claim returns the job unchanged.";
        "REPEAT-005" Must a_cancel_may_be_repeated "A cancel repeated with its claim returns the job unchanged.";
        "REPEAT-006" Must a_hand_back_may_be_repeated "A reset repeated with its claim returns the job unchanged.";
        "REPEAT-007" Must a_retry_may_be_repeated_and_counts_once "A retry repeated with its claim returns the job unchanged and counts once.";
        "REPEAT-008" Must a_last_retry_may_be_repeated "A retry that ended the job may be repeated with its claim.";
        "REPEAT-009" Must another_payload_is_no_repetition "With the same claim, another payload is a lost lease and changes nothing.";
        "REPEAT-010" Must another_outcome_is_no_repetition "With the same claim, another outcome is a lost lease and changes nothing.";
        "REPEAT-011" Must an_operator_repeats_nothing "By id an outcome is not repeated but refused, and changes nothing.";
        "REPEAT-012" Must a_repetition_after_the_next_run_began_is_lost "Once the next run began, repeating the outcome of the last is a lost lease.";
        "REPEAT-013" Must a_repetition_after_a_reset_is_lost "Once the outcome was reset, repeating it is a lost lease.";
        "REPEAT-014" Must a_failure_that_was_reset_is_no_retry "A failure that was reset is not taken for a retry that waits, however alike the two look.";
    }
    claim {
        "CLAIM-001" Must a_claimed_job_runs_under_its_lease "A claimed job is running, its fence one higher, its lease set from now; all else is as it was.";
        "CLAIM-002" Must nothing_due_gives_no_jobs "With nothing to claim, a claim returns no jobs.";
        "CLAIM-003" Must a_claim_keeps_to_its_limit "A claim returns as many jobs as its limit, or all there are.";
        "CLAIM-004" Must a_thousand_jobs_are_claimed_at_once "1,000 jobs can be claimed at once, and are the first 1,000.";
        "CLAIM-005" Must a_higher_priority_goes_first "A higher priority is claimed first, below zero too.";
        "CLAIM-006" Must of_one_priority_the_longest_due_goes_first "Of one priority, the job that has been due longest is claimed first.";
        "CLAIM-007" Must of_one_time_the_least_id_goes_first "Of one priority and due time, the least id is claimed first.";
        "CLAIM-008" Must priority_beats_due_time_beats_id "Jobs are claimed, and returned, in the order of priority, due time and id.";
        "CLAIM-009" Must the_exact_first_are_claimed_of_many "A caller who is alone gets exactly the first jobs, however many wait.";
        "CLAIM-010" Must a_job_is_due_at_its_instant_and_not_before "A job can be claimed from the very millisecond it is due, and not before.";
        "CLAIM-011" Must a_job_that_is_never_due_is_never_claimed "A job due at the last timestamp there is waits for ever.";
        "CLAIM-012" Must what_is_not_due_hides_nothing "Jobs of higher priority that are not due hide none that is.";
        "CLAIM-013" Must only_pending_jobs_are_claimed "Only pending jobs are claimed, whatever leases are over.";
        "CLAIM-014" Must only_the_names_given_are_claimed "Only jobs of the names given are claimed.";
        "CLAIM-015" Must no_names_mean_any "No names mean any name.";
        "CLAIM-016" Must the_order_reaches_across_names "The order of claiming reaches across the names given.";
        "CLAIM-017" Must a_thousand_names_may_be_given "1,000 names may be given.";
        "CLAIM-018" Must a_claimed_job_is_not_claimed_again "A claimed job is not claimed again, even when its lease is over.";
        "CLAIM-019" Must every_claim_raises_the_fence "Every claim raises the fence by one.";
        "CLAIM-020" Must a_retry_is_claimed_after_its_wait "A retried job is claimed after its backoff and not before, with its history.";
        "CLAIM-021" Must a_reset_job_does_not_jump_the_queue "A finished job that is reset queues behind those that were due before.";
        "CLAIM-022" Must a_new_lease_has_its_own_owner_and_end "A new run's lease has nothing of the last one's.";
        "CLAIM-023" Must a_lease_without_end_saturates "A lease past the last timestamp ends at the last timestamp.";
        "CLAIM-024" Must deleted_jobs_are_not_claimed "A deleted job is not claimed.";
        "CLAIM-025" Must of_one_due_time_the_least_id_goes_first "Of jobs due at one time the least id is claimed first, whenever they were created.";
        "CLAIM-026" Must what_is_not_due_hides_nothing_at_any_priority "Jobs that are not due hide none that is, however many priorities they have.";
    }
    lease {
        "LEASE-001" Must a_renewal_counts_from_now "A renewal makes the lease end that long from now, sooner too, and changes nothing else.";
        "LEASE-002" Must a_holder_may_renew_until_somebody_recovers "A lease that is over may be renewed until somebody recovers the job.";
        "LEASE-003" Must a_holder_may_finish_until_somebody_recovers "A job whose lease is over may be finished until somebody recovers it.";
        "LEASE-004" Must expiry_alone_changes_nothing "Expiry alone changes nothing.";
        "LEASE-005" Must before_its_end_a_lease_is_not_recovered "A millisecond before its lease ends a job cannot be recovered.";
        "LEASE-006" Must at_its_end_a_lease_is_recovered "At the very end of its lease a job can be recovered.";
        "LEASE-007" Must recovery_spends_a_retry_and_says_why "Recovery spends a retry, clears the lease, waits the backoff, and names owner and expiry in the error.";
        "LEASE-008" Must a_recovered_job_is_claimed_anew "A recovered job is claimed again, with a higher fence and the new owner.";
        "LEASE-009" Must a_job_that_kills_its_workers_ends "A job that loses its worker every time ends failed when its retries are spent.";
        "LEASE-010" Must a_worker_that_lost_its_job_does_nothing_to_the_next_run "While the next run is on, the old holder can do nothing.";
        "LEASE-011" Must a_worker_that_lost_its_job_hears_so_while_it_waits "While the job waits for its next run, the old holder can do nothing.";
        "LEASE-012" Must without_a_lease_nothing_is_recovered "A job started without a lease is never recovered.";
        "LEASE-013" Must recovery_does_not_undo_a_renewal "Recovery does not touch a job that was renewed meanwhile.";
        "LEASE-014" Must recovery_does_not_undo_a_finish "Recovery does not touch a job that was finished meanwhile.";
        "LEASE-015" Must recovery_does_not_touch_the_next_run "Recovery with the claim of an old run does not touch the next, even when its lease is over.";
        "LEASE-016" Must what_moved_on_does_not_stop_the_others_recovery "Jobs that moved on do not stop the recovery of the others.";
        "LEASE-017" Must all_expired_leases_are_recovered_and_no_other "Recovering takes every job whose lease is over, and no other.";
        "LEASE-018" Must recovery_keeps_to_its_names "Recovering some names leaves the others alone.";
        "LEASE-019" Must the_shortest_lease_lasts_a_millisecond "A lease shorter than a millisecond lasts one.";
        "LEASE-020" Must a_renewed_lease_moves_in_the_listing_of_expired_ones "A renewed lease is no longer listed as expired.";
        "LEASE-021" Must more_expired_leases_than_a_page_are_all_recovered "More expired leases than fit a page are all recovered, call by call.";
        "LEASE-022" Must an_owner_of_the_same_name_is_another_worker "A worker that starts again under the same owner has no part in the runs of the one before.";
        "LEASE-023" Must a_lease_end_comes_back_however_far "The end of a lease that was started or renewed comes back to the millisecond, however many years ahead.";
    }
    list {
        "LIST-001" Must an_empty_store_lists_nothing "An empty store lists nothing and gives no token.";
        "LIST-002" Must jobs_come_by_creation_time "Jobs are listed by creation time.";
        "LIST-003" Must ties_come_by_id "Jobs of one millisecond are listed by the bytes of their ids.";
        "LIST-004" Must descending_is_ascending_reversed "Descending order is ascending order reversed.";
        "LIST-005" Must pages_of_every_size_make_up_the_whole "Pages of any size, in either order, make up the whole listing.";
        "LIST-006" Must a_page_holds_as_many_as_asked_for "A page holds as many jobs as asked for, until the last; then there is no token.";
        "LIST-007" Must a_full_last_page_is_followed_by_the_end "A full last page leads to the end or to one empty page.";
        "LIST-008" Must a_page_holds_100_by_default_and_1000_at_most "A page holds 100 jobs by default and can hold 1,000.";
        "LIST-009" Must names_are_alternatives "A filter by names finds jobs of any of them, each once.";
        "LIST-010" Must statuses_are_alternatives "A filter by statuses finds jobs in any of them, each once.";
        "LIST-011" Must no_names_and_no_statuses_mean_any "Empty lists of names and statuses mean any.";
        "LIST-012" Must both_ends_of_the_creation_time_are_included "A filter by creation time includes both ends.";
        "LIST-013" Must a_filter_by_creation_is_not_one_by_update "A filter by creation time does not look at the last update.";
        "LIST-014" Must no_ids_mean_no_jobs "An empty list of ids means no jobs.";
        "LIST-015" Must ids_choose_jobs_and_unknown_ones_none "A filter by ids finds each job once, in the listing's order, and nothing for unknown ids.";
        "LIST-016" Must every_condition_must_hold "A job is listed when every condition of the filter holds.";
        "LIST-017" Must long_lists_of_names_and_ids_are_taken "Filters of 1,000 names and 1,000 ids work.";
        "LIST-018" Must pages_are_filled_however_rare_the_matches "A page is filled however rare the matching jobs are.";
        "LIST-019" Must a_lease_filter_includes_the_instant_of_expiry "A filter by expiry finds leases that end then or earlier, and only running jobs.";
        "LIST-020" Must a_walk_goes_on_after_its_last_job_was_deleted "A walk goes on when the last job of its page was deleted.";
        "LIST-021" Must a_walker_may_take_its_jobs_out_of_the_filter "A walk that takes its jobs out of the filter still meets each once.";
        "LIST-022" Must a_walk_is_not_moved_by_new_jobs "New jobs make a walk neither miss nor repeat one.";
        "LIST-023" Must a_long_walk_misses_nothing_while_others_work "A walk in pages of 7 over 5,000 jobs of one millisecond meets each survivor once while others start, finish and delete.";
        "LIST-024" Must a_stream_goes_over_all_pages "A stream of jobs goes over all pages.";
        "LIST-025" Must random_filters_find_what_they_mean "Random filters find and count exactly the jobs that they mean.";
        "LIST-026" Must a_walk_goes_on_after_a_deleted_job_past_those_left "A walk goes on when the last job of each page was deleted, and comes back to none of those before it.";
        "LIST-027" Must a_thousand_names_are_all_looked_for "A listing and a count by 1,000 names look for each of them.";
    }
    token {
        "TOKEN-001" Must every_damaged_character_is_noticed "A token with any one character changed is refused.";
        "TOKEN-002" Must a_token_cut_or_lengthened_is_refused "A token that was cut or lengthened is refused.";
        "TOKEN-003" Must garbage_is_refused "What is no token is refused, be it a megabyte long.";
        "TOKEN-004" Must a_token_is_bound_to_its_order "A token is good for its order only.";
        "TOKEN-005" Must a_token_is_bound_to_its_filter "A token is good for its filter only, whichever condition differs.";
        "TOKEN-006" Must a_filter_of_the_same_meaning_will_do "A token is good for every filter of the same meaning.";
        "TOKEN-007" Must the_size_may_change_from_page_to_page "The page size may change from page to page.";
        "TOKEN-008" Must a_token_may_stand_in_a_url "A token may stand in a URL as it is.";
        "TOKEN-009" Must a_refused_token_does_no_harm "After a refused token the good one still works.";
        "TOKEN-010" Must a_token_of_a_filter_on_any_text_leads_on "Tokens of filters on any text lead on to the end.";
        "TOKEN-011" Must random_text_is_refused "A token that was changed at random is refused.";
        "TOKEN-012" Must a_token_is_bound_to_what_each_condition_asks_for "A token is good for no filter that asks something else by the same conditions.";
    }
    count {
        "COUNT-001" Must an_empty_store_counts_zero_of_each "An empty store counts zero in every status.";
        "COUNT-002" Must each_status_has_its_number "Each status has its own number.";
        "COUNT-003" Must the_numbers_move_with_every_change "The numbers move with every change of status.";
        "COUNT-004" Must refusals_and_deletions_are_counted_right "A refusal changes no number, a deletion its own.";
        "COUNT-005" Must a_count_agrees_with_a_walk_for_every_filter "A count agrees with a full walk for every combination of conditions.";
        "COUNT-006" Must what_is_named_twice_is_counted_once "A job is counted once, though its id, its name or its status is given twice.";
    }
    batch {
        "BATCH-001" Must an_empty_batch_has_no_verdicts "An empty batch succeeds with no verdicts.";
        "BATCH-002" Must verdicts_come_in_the_order_given "Verdicts come in the order of the items, gaps included.";
        "BATCH-003" Must a_refusal_touches_no_other_item "A refused item touches no other.";
        "BATCH-004" Must each_verdict_is_about_its_own_action "Each item of a batch does what it would do alone.";
        "BATCH-005" Must items_on_one_job_run_one_after_another "Several items on one job act as if run one after another.";
        "BATCH-006" Must a_later_item_sees_what_an_earlier_did "A later item sees what an earlier one did to its job, other items between them.";
        "BATCH-007" Must of_two_claims_in_a_batch_the_current_one_counts "Of an old and a new claim in one batch, the new one counts.";
        "BATCH-008" Must an_outcome_twice_in_a_batch_is_a_repetition "An outcome recorded twice in one batch is recorded once.";
        "BATCH-009" Must a_thousand_updates_are_taken "A batch may hold 1,000 updates.";
        "BATCH-010" Must a_key_freed_in_a_batch_can_be_taken_in_it "A unique key freed by one item can be taken by a later one, and not by an earlier.";
        "BATCH-011" Must of_two_resets_with_one_key_the_first_wins "Of two resets with one unique key in a batch, the first wins and is named to the second.";
        "BATCH-012" Must a_batch_of_any_size_has_each_verdict "A batch of updates of any size has a verdict for each, in order.";
        "BATCH-013" Must a_reset_refused_for_its_key_touches_no_other_item "A reset in a batch that is refused for its unique key touches no other item, before or after it.";
    }
    params {
        "PARAMS-001" Must the_empty_filter_meets_all "The empty object meets every job.";
        "PARAMS-002" Must numbers_are_equal_by_exact_value "Numbers are equal by value, however they are written.";
        "PARAMS-003" Must numbers_beyond_floats_are_exact "Numbers that no float can hold are compared exactly.";
        "PARAMS-004" Must kinds_are_never_mixed "Numbers, strings, booleans, null, arrays and objects never equal each other.";
        "PARAMS-005" Must null_is_not_absent "Null meets null, and not a missing key.";
        "PARAMS-006" Must strings_are_equal_by_code_points "Strings are equal by code points, escaped or not: no case, accent, width or normalisation.";
        "PARAMS-007" Must strings_may_hold_anything "Strings may hold escaped NUL, quotes, backslashes and wildcards.";
        "PARAMS-008" Must arrays_are_equal_in_order "Arrays are equal in order and whole.";
        "PARAMS-009" Must objects_are_equal_in_any_order "Objects are equal in any order of keys and whole.";
        "PARAMS-010" Must only_top_level_keys_may_be_left_out "Only keys of the top level may be left out of the filter.";
        "PARAMS-011" Must every_key_must_match "Every key of the filter must match.";
        "PARAMS-012" Must the_last_of_duplicate_keys_counts "Of duplicate keys the last counts, in filter and params, at every level.";
        "PARAMS-013" Must a_key_is_a_text_and_no_path "A key is a text, never a path or a pattern.";
        "PARAMS-014" Must deep_params_are_compared "Params as deep as allowed are compared.";
        "PARAMS-015" Must a_filter_on_params_reads_what_is_stored_now "A job that changed is found by its params as it is now.";
        "PARAMS-016" Must keys_are_equal_by_code_points "Keys are equal by code points, escaped or not, in filter and params.";
        "PARAMS-017" Must exponents_of_any_length_are_exact "Numbers are compared exactly when their exponents have more digits than any integer of the machine.";
        "PARAMS-018" Must every_escape_means_its_character "Every escape that JSON has equals the character that it stands for, and no other.";
    }
    delete {
        "DELETE-001" Must only_finalized_jobs_are_deleted_by_id "By id, finalized jobs are deleted and others are not.";
        "DELETE-002" Must unknown_ids_are_passed_over "Unknown ids are passed over.";
        "DELETE-003" Must an_id_given_twice_is_deleted_once "An id given twice is deleted, and returned, once.";
        "DELETE-004" Must no_ids_delete_nothing "An empty list of ids deletes nothing.";
        "DELETE-005" Must a_thousand_ids_are_deleted "1,000 ids can be deleted at once.";
        "DELETE-006" Must a_deleted_job_stays_gone "A deleted job is gone from every answer, for every action and claim.";
        "DELETE-007" Must the_cutoff_itself_is_kept "By age, what was updated before the cutoff is deleted, and not what was updated at it.";
        "DELETE-008" Must age_is_counted_from_the_last_update "Age counts from the last update, not from creation.";
        "DELETE-009" Must unfinished_jobs_are_never_too_old "Pending and running jobs are never too old.";
        "DELETE-010" Must a_deletion_keeps_to_its_statuses "By age, only the statuses given are deleted.";
        "DELETE-011" Must a_deletion_keeps_to_its_names "By age, only the names given are deleted.";
        "DELETE-012" Must a_limit_takes_the_oldest "By age, a limit takes the oldest by last update.";
        "DELETE-013" Must any_number_is_deleted_bit_by_bit "However many match, repeating the call deletes them all, a limit at a time.";
        "DELETE-014" Must a_reset_job_is_not_deleted "A job that was reset is no longer deleted.";
        "DELETE-015" Must a_job_that_ended_twice_is_deleted_once "A job that ended more than once is deleted, and returned, once.";
        "DELETE-016" Must an_id_given_again_has_nothing_of_the_job_before "A job that a caller gives the id of a deleted one has nothing of it, in no index either.";
        "DELETE-017" Must ids_made_after_all_were_deleted_are_new "Ids made after every job was deleted are greater than those before.";
        "DELETE-018" Must a_limit_counts_only_what_is_meant "By age, a limit counts only jobs of the names and statuses given, whatever older ones there are.";
        "DELETE-019" Must a_deletion_keeps_to_names_and_statuses_both "By age, a job is deleted when it has one of the names and one of the statuses given.";
    }
    time {
        "TIME-001" Must the_store_shows_its_clock "The store's time is that of its clock.";
        "TIME-002" Must every_change_is_dated "Every accepted change sets the last update to now, and leaves the creation time.";
        "TIME-003" Must reading_dates_nothing "Reading, listing and counting change no time.";
        "TIME-004" Must times_never_go_back "When the clock goes back, the store's time stands still.";
        "TIME-005" Must what_was_due_stays_due_when_the_clock_goes_back "What was due stays due when the clock goes back.";
        "TIME-006" Must milliseconds_are_kept_exactly "Times are kept to the millisecond, in the next century too.";
        "TIME-007" Must a_clock_at_the_end_of_time_overflows_nothing "At the last timestamp leases and backoffs overflow nothing.";
    }
    input {
        "INPUT-001" Must an_empty_name_is_refused "An empty name is refused, in creating, claiming and filtering.";
        "INPUT-002" Must a_name_of_501_characters_is_refused "A name of 501 characters is refused, however many bytes they have.";
        "INPUT-003" Must nul_in_a_name_is_refused "NUL in a name is refused.";
        "INPUT-004" Must an_empty_key_is_refused "An empty unique key is refused.";
        "INPUT-005" Must a_key_of_256_characters_is_refused "A unique key of 256 characters is refused.";
        "INPUT-006" Must nul_in_a_key_is_refused "NUL in a unique key is refused.";
        "INPUT-007" Must a_bad_owner_is_refused "An empty owner, one of 256 characters, or one with NUL is refused.";
        "INPUT-008" Must params_that_are_no_object_are_refused "Params and filters that are no JSON object are refused.";
        "INPUT-009" Must params_that_are_not_strict_json_are_refused "Params and filters that are not strict JSON are refused.";
        "INPUT-010" Must params_nested_128_deep_are_refused "Params nested 128 deep are refused, 127 deep are taken.";
        "INPUT-011" Must params_nested_a_million_deep_do_no_harm "Params nested a million deep are refused and do no harm.";
        "INPUT-012" Must params_over_8_mib_are_refused "Params over 8 MiB are refused.";
        "INPUT-013" Must a_result_over_8_mib_is_refused "A result over 8 MiB is refused.";
        "INPUT-014" Must nul_in_a_result_is_refused "NUL in a result is refused.";
        "INPUT-015" Must a_timeout_of_zero_is_refused "A timeout of zero is refused.";
        "INPUT-016" Must a_lease_of_zero_is_refused "A lease of zero is refused, in claiming, starting and renewing.";
        "INPUT-017" Must page_sizes_out_of_range_are_refused "Page sizes of 0 and over 1,000 are refused.";
        "INPUT-018" Must claim_limits_out_of_range_are_refused "Claims of 0 and of over 1,000 jobs are refused.";
        "INPUT-019" Must retries_out_of_range_are_refused "Retry limits that 31 bits cannot hold are refused, a job's and a policy's.";
        "INPUT-020" Must batches_over_1000_items_are_refused "Batches of over 1,000 items are refused, by every method that takes one.";
        "INPUT-021" Must lists_over_1000_items_are_refused "Over 1,000 names or ids in a claim or filter are refused.";
        "INPUT-022" Must a_batch_over_64_mib_is_refused "A batch of over 64 MiB in all is refused.";
        "INPUT-023" Must deletions_out_of_range_are_refused "Deleting with a limit or names out of range, or in statuses that are not finalized, is refused.";
        "INPUT-024" Must a_refusal_shows_no_value "A refusal shows nothing of the value that it refuses.";
        "INPUT-025" Must refused_input_is_never_worth_a_retry "A refusal of input is never called retryable.";
        "INPUT-026" Must nul_in_an_error_is_replaced "NUL in an error is replaced by U+FFFD.";
        "INPUT-027" Must a_long_error_is_cut_at_a_character "An error past 64 KiB is cut, at a character.";
        "INPUT-028" Must an_error_of_megabytes_is_recorded "An error of any length can be recorded, in a batch too.";
        "INPUT-029" Must an_empty_error_is_kept "An empty error is kept as one.";
    }
    text {
        "TEXT-001" Must names_come_back "Names come back as they were given, up to 500 characters of four bytes.";
        "TEXT-002" Must a_listing_takes_no_name_for_another "No two names are the same to a listing or count: not by case, space, accent, form or wildcard.";
        "TEXT-003" Must a_claim_takes_no_name_for_another "No two names are the same to a claim.";
        "TEXT-004" Must a_deletion_takes_no_name_for_another "No two names are the same to a deletion.";
        "TEXT-005" Must no_unique_key_is_taken_for_another "No two unique keys are the same, up to 255 characters of four bytes.";
        "TEXT-006" Must one_key_under_names_that_look_alike_is_many "A unique key under names that look alike is many keys.";
        "TEXT-007" Must owners_come_back "Owners come back as they were given, up to 255 characters of four bytes.";
        "TEXT-008" Must results_come_back "Results come back as they were given.";
        "TEXT-009" Must errors_come_back "Errors come back as they were given.";
        "TEXT-010" Must params_come_back "Params with any text as key and value come back, and are found by it.";
    }
    concurrency {
        "CONCURRENCY-001" Must every_job_goes_to_one_claimer "Of concurrent claimers each job goes to exactly one, and none is left.";
        "CONCURRENCY-002" Must of_many_starts_one_succeeds "Of concurrent starts of one job exactly one succeeds.";
        "CONCURRENCY-003" Must of_many_creators_of_a_key_one_creates "Of concurrent creators of one unique key exactly one creates, and all get the same job.";
        "CONCURRENCY-004" Must of_many_creators_of_an_id_one_creates "Of concurrent creators of one id exactly one creates.";
        "CONCURRENCY-005" Must batches_that_share_keys_neither_block_nor_double "Batches that share unique keys in opposite orders all end, and make each job once.";
        "CONCURRENCY-006" Must batches_over_the_same_jobs_neither_block_nor_tear "Batches over the same jobs in opposite orders all end, and lose no update.";
        "CONCURRENCY-007" Must concurrent_retries_count_once "Of concurrent retries of one run exactly one counts.";
        "CONCURRENCY-008" Must a_finish_repeated_at_once_is_one "One outcome recorded by one claim many times at once succeeds each time.";
        "CONCURRENCY-009" Must of_different_outcomes_one_is_recorded "Of different outcomes recorded by one claim at once exactly one wins.";
        "CONCURRENCY-010" Must recovery_and_finish_never_both_win "Recovery and finish at once never both win.";
        "CONCURRENCY-011" Must a_lease_is_recovered_once "Concurrent recoverers recover each lease once.";
        "CONCURRENCY-012" Must a_renewal_and_a_recovery_never_both_win "Renewal and recovery at once never both win.";
        "CONCURRENCY-013" Must a_reset_and_a_deletion_never_both_win "Reset and deletion at once never both win.";
        "CONCURRENCY-014" Must a_listing_shows_no_half_written_job "A listing beside writers shows every job whole.";
        "CONCURRENCY-015" Must a_dropped_create_happened_whole_or_not "A create whose future was dropped happened whole or not at all.";
        "CONCURRENCY-016" Must a_dropped_claim_loses_no_job "A claim whose future was dropped leaves each job pending or under its lease.";
        "CONCURRENCY-017" Must a_dropped_update_happened_whole_or_not "An update whose future was dropped happened whole or not at all, and can be repeated.";
        "CONCURRENCY-018" Must dropped_reads_leave_the_store_usable "Reads whose futures were dropped leave the store usable.";
        "CONCURRENCY-019" Must a_dropped_deletion_happened_whole_or_not "A deletion whose future was dropped happened whole or not at all.";
        "CONCURRENCY-020" Must deleting_beside_finishing_takes_each_job_once "Deletions beside the finishing of jobs disturb no finish and take each job once.";
        "CONCURRENCY-021" Must a_call_that_is_never_polled_does_nothing "A call whose future is never polled does nothing.";
        "CONCURRENCY-022" Must a_handle_may_be_dropped_on_any_thread "The last handle may be dropped on a thread that has no runtime.";
        "CONCURRENCY-023" Must a_key_goes_to_a_reset_or_a_creator "Of resets and creators of one unique key at once one takes it, and all others see that job.";
        "CONCURRENCY-024" Must a_reset_and_a_deletion_by_age_never_both_win "Reset and deletion by age at once never both win.";
        "CONCURRENCY-025" Must of_two_changes_the_later_is_not_dated_earlier "Beside a clock that moves, no change of a job is dated before the one that it came after.";
    }
    fault {
        "FAULT-001" Must a_create_with_ids_may_be_repeated "A create with ids whose call failed, having happened or not, is repeated and makes each job once.";
        "FAULT-002" Must a_create_with_keys_may_be_repeated "A create with unique keys whose call failed is repeated and makes each job once.";
        "FAULT-003" Must a_claim_whose_reply_was_lost_loses_no_job "Jobs whose claim was never answered come back by recovery, and each is finished by one run.";
        "FAULT-004" Must an_outcome_may_be_repeated_whatever_failed "An outcome whose call failed is repeated with its claim and recorded once.";
        "FAULT-005" Must a_renewal_may_be_repeated "A renewal whose call failed is repeated with its claim.";
        "FAULT-006" Must a_batch_of_outcomes_may_be_repeated "A batch of outcomes whose call failed is repeated whole, and each is recorded once.";
        "FAULT-007" Must a_start_that_was_lost_is_not_made_twice "A start whose call failed is repeated and starts the job once.";
        "FAULT-008" Must a_recovery_may_be_repeated_and_counts_once "A recovery whose call failed is repeated and spends one retry.";
        "FAULT-009" Must a_deletion_may_be_repeated "A deletion whose call failed is repeated and deletes nothing else.";
        "FAULT-010" Must a_read_may_be_repeated "A read whose call failed is repeated and says the same.";
        "FAULT-011" Must a_job_goes_its_way_whatever_fails "From creation to deletion, whichever call fails and is repeated, a job ends the same.";
    }
}
Durable {
    durable {
        "DURABLE-001" Must every_field_survives "Every field survives.";
        "DURABLE-002" Must every_status_survives "Jobs in every status survive, and are counted the same.";
        "DURABLE-003" Must an_empty_store_opens_again "An empty store opens again, more than once.";
        "DURABLE-004" Must a_claim_survives "A claim is good after a restart, and so is the repetition of its outcome.";
        "DURABLE-005" Must a_lease_runs_out_while_nobody_looks "A lease runs out while no handle is open, and recovery survives.";
        "DURABLE-006" Must fences_go_on "Fences go on where they were.";
        "DURABLE-007" Must a_unique_key_stays_held_and_stays_free "A held unique key stays held, a freed one free.";
        "DURABLE-008" Must ids_stay_taken "Ids stay taken.";
        "DURABLE-009" Must the_deleted_stay_gone "Deleted jobs stay gone.";
        "DURABLE-010" Must a_token_is_good_after_a_restart "A page token is good after a restart.";
        "DURABLE-011" Must the_order_of_claiming_survives "The order of claiming survives.";
        "DURABLE-012" Must ids_made_after_a_restart_are_new "Ids made after a restart are greater than those before.";
        "DURABLE-013" Must a_refused_batch_leaves_nothing_behind "A refused batch leaves nothing behind.";
    }
}
Volatile {
    volatile {
        "VOLATILE-001" Must it_opens_again_and_works "A store that does not claim to keep its jobs opens again and works.";
        "VOLATILE-002" Must each_job_is_as_it_was_or_gone "Opened again, each job is as it was or gone, and every reading says the same.";
    }
}
Shared {
    shared {
        "SHARED-001" Must what_one_writes_the_other_reads "What a call on one handle did is seen by the next call on another.";
        "SHARED-002" Must a_job_claimed_by_one_is_not_claimed_by_the_other "A job claimed through one handle is not claimed through another.";
        "SHARED-003" Must handles_that_claim_at_once_share_the_jobs "Handles that claim at once share the jobs, each of which goes to one.";
        "SHARED-004" Must one_key_is_one_job_for_all_handles "A unique key is one for all handles.";
        "SHARED-005" Must one_handle_recovers_what_another_lost "One handle recovers what the worker of another lost.";
        "SHARED-006" Must a_token_of_one_is_good_for_the_other "A page token of one handle is good for another.";
        "SHARED-007" Must a_claim_of_one_is_good_for_the_other "A claim of one handle is good for another.";
        "SHARED-008" Must closing_one_does_not_disturb_the_other "Closing one handle does not disturb another.";
    }
}
Exclusive {
    exclusive {
        "EXCLUSIVE-001" Must a_second_handle_is_refused_or_apart "A second handle is refused as unavailable, or has jobs of its own: never some of the first one's.";
        "EXCLUSIVE-002" Must the_first_handle_is_not_disturbed "The attempt to open a second handle disturbs the first in nothing.";
        "EXCLUSIVE-003" Must a_refused_handle_leaves_no_lock_behind "After a second handle was refused and the first is gone, the next opens.";
    }
}
Arrivals {
    arrival {
        "ARRIVAL-001" Must a_new_job_is_told_of_before_its_call_returns "Whoever listens has been told of a new job that is due when the call that created it returns.";
        "ARRIVAL-002" Must who_waits_is_woken_and_finds_the_job "Whoever waits for a hint when a job is created is woken, and finds the job.";
        "ARRIVAL-003" Must everybody_who_listens_is_told "Everybody who listens is told.";
        "ARRIVAL-004" Must one_job_of_a_batch_is_told_of "A batch is told of if one of its jobs is new and due.";
        "ARRIVAL-005" Must a_job_to_be_run_again_is_told_of "A job that is reset, or is to be run again at once, is told of.";
        "ARRIVAL-006" Should what_can_be_claimed_by_nobody_is_not_told_of "Jobs whose time comes later, claims, outcomes, refusals and reads are told of once at most.";
    }
}
Tamper {
    row {
        "ROW-001" Must a_listing_names_it_and_shows_the_others "A listing names a row that cannot be read and shows every other job, under each filter.";
        "ROW-002" Must a_walk_meets_each_of_the_others_once "A walk in small pages passes over it and meets each of the others once.";
        "ROW-003" Must getting_it_says_so "Getting it is `Unreadable` by its id; others are got as ever.";
        "ROW-004" Must counting_goes_on "Counts go on, with it or without, also under a filter of params.";
        "ROW-005" Must claims_pass_it_over "Claims pass it over: none comes back empty while another job waits.";
        "ROW-006" Must it_takes_no_place_in_a_claim_of_many "It takes no place among the jobs of a claim.";
        "ROW-007" Must an_update_of_it_touches_no_other_of_its_batch "An update of it is `Unreadable`, and the rest of its batch is done.";
        "ROW-008" Must it_stops_nobodys_recovery "It stops nobody's recovery.";
        "ROW-009" Must deleting_by_age_takes_the_others "Deleting by age takes the others, whether it takes this one or not.";
        "ROW-010" Must its_id_stays_taken "Its id stays taken.";
        "ROW-011" Must params_that_are_no_json_meet_no_filter "Params that are no JSON meet no filter but the empty one, and break no listing.";
        "ROW-012" Must a_job_with_params_that_are_no_json_goes_its_way "A job with params that are no JSON is claimed and finished as any other.";
    }
}
Requests {
    cost {
        "COST-001" Must a_claim_beside_finished_jobs "A claim asks the engine for no more when there are many finished jobs.";
        "COST-002" Must a_claim_beside_jobs_that_are_not_due "A claim asks the engine for no more when there are many jobs that are not due.";
        "COST-003" Must a_claim_beside_jobs_of_other_names "A claim asks the engine for no more when there are many jobs of other names.";
        "COST-004" Must a_claim_before_jobs_that_wait_behind "A claim asks the engine for no more when many jobs wait behind those it takes.";
        "COST-005" Must a_page_however_deep "A page asks the engine for no more the deeper it lies.";
        "COST-006" Should a_page_of_a_rare_status "A page of a rare status asks the engine for no more when there are many jobs in others.";
        "COST-007" Should getting_a_job "Getting a job asks the engine for no more when there are many others.";
        "COST-008" Should creating_a_job "Creating a job asks the engine for no more when there are many others.";
        "COST-009" Should changing_a_job "Changing a job asks the engine for no more when there are many others.";
        "COST-010" Should deleting_the_oldest "Deleting the oldest asks the engine for no more when there are many others.";
    }
}
Kill {
    kill {
        "KILL-001" Must what_calls_did_is_there "What a returned call did is there when the process was killed after it.";
        "KILL-002" Must claims_and_keys_are_good "Claims, fences and unique keys are good when the process was killed.";
        "KILL-003" Must a_kill_after_every_call_loses_nothing "A kill after every call loses nothing, and the order of claiming stays.";
    }
}
PowerCut {
    power {
        "POWER-001" Must what_calls_did_is_on_disk "What a returned call did is there when the power was cut after it.";
        "POWER-002" Must claims_and_keys_are_good "Claims, fences and unique keys are good when the power was cut.";
    }
}
    } };
}
