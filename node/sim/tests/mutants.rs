//! Known mistakes, put back by hand: each is found within its number of seeds, by an invariant that should.

use sim::mutant::{KNOWN, Mutant};
use sim::runner::run;
use sim::shrink::shrink;

/// One thread each: the test's own harness runs several at a time, and the seed that is found is always the same.
fn bitten(mutant: Mutant) {
    quiet();
    let known = KNOWN.iter().find(|known| known.mutant == mutant).expect("every mutant is known");
    let Some(failure) = known.find() else { panic!("{mutant:?} survives {} seeds", known.seeds) };
    assert!(known.expects(&failure), "{mutant:?} was found by another invariant: {failure}");
}

/// A replica's panic is told with its seed's story.
fn quiet() {
    std::panic::set_hook(Box::new(|panic| {
        let here = std::thread::current();
        if panic.location().is_some_and(|place| place.file().ends_with("tests/mutants.rs")) {
            drop(std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("{}: {panic}\n", here.name().unwrap_or("?")),
            ));
        }
    }));
}

#[test]
fn a_log_that_answers_before_it_syncs_is_found() {
    bitten(Mutant::AckUnsynced);
}

#[test]
fn a_sync_that_does_nothing_is_found() {
    bitten(Mutant::EmptySync);
}

#[test]
fn a_proposal_forwarded_after_leadership_was_lost_is_found() {
    bitten(Mutant::ForwardedProposal);
}

#[test]
fn an_entry_applied_in_another_term_than_it_was_evaluated_in_is_found() {
    bitten(Mutant::OtherTermApplied);
}

#[test]
fn an_evaluation_before_the_first_own_entry_is_applied_is_found() {
    bitten(Mutant::EvaluatedEarly);
}

#[test]
fn a_failed_condition_answered_by_a_deposed_leader_is_found() {
    bitten(Mutant::ConditionUnconfirmed);
}

#[test]
fn lease_reads_are_found() {
    bitten(Mutant::LeaseReads);
}

#[test]
fn an_applied_mark_ahead_of_its_items_is_found() {
    bitten(Mutant::MarkBeforeItems);
}

#[test]
fn a_log_truncated_too_early_is_found() {
    bitten(Mutant::TruncatedEarly);
}

#[test]
fn an_ingest_without_its_mark_is_found() {
    bitten(Mutant::IngestUnmarked);
}

#[test]
fn a_removed_replica_that_comes_back_is_found() {
    bitten(Mutant::ForgetRetired);
}

#[test]
fn a_write_sent_again_is_found() {
    bitten(Mutant::WriteResent);
}

#[test]
fn a_quorum_in_one_zone_is_found() {
    bitten(Mutant::OneZoneQuorum);
}

#[test]
fn commit_groups_missing_after_a_restart_are_found() {
    bitten(Mutant::GroupsForgotten);
}

#[test]
fn an_overlay_kept_after_leadership_was_lost_is_found() {
    bitten(Mutant::OverlayKept);
}

#[test]
fn a_stale_epoch_ignored_is_found() {
    bitten(Mutant::EpochIgnored);
}

#[test]
fn an_empty_disk_that_votes_is_found() {
    bitten(Mutant::EmptyDiskVotes);
}

#[test]
fn descriptors_that_lie_about_zones_are_found() {
    bitten(Mutant::WrongZones);
}

#[test]
fn strong_reads_that_nobody_confirmed_are_found() {
    bitten(Mutant::ReadUnconfirmed);
}

#[test]
fn a_snapshot_without_one_of_its_items_is_found() {
    bitten(Mutant::SnapshotLosesItem);
}

#[test]
fn an_apply_that_skips_a_write_is_found() {
    bitten(Mutant::ApplySkips);
}

#[test]
fn votes_that_a_crash_forgets_are_found() {
    bitten(Mutant::ForgetVotes);
}

#[test]
fn a_torn_tail_that_votes_is_found() {
    bitten(Mutant::TornTailVotes);
}

#[test]
fn a_doubt_that_ends_with_any_vote_is_found() {
    bitten(Mutant::DoubtEndsEarly);
}

#[test]
fn an_ingest_before_its_flush_is_found() {
    bitten(Mutant::IngestUnflushed);
}

#[test]
fn appends_batched_by_raft_are_found() {
    bitten(Mutant::BatchedAppends);
}

#[test]
fn a_log_kept_too_short_is_found() {
    bitten(Mutant::KeepsTooLittle);
}

#[test]
fn a_log_replica_that_serves_is_found() {
    bitten(Mutant::LogReplicaServes);
}

#[test]
fn a_last_copy_that_is_demoted_is_found() {
    bitten(Mutant::OneCopyEnough);
}

#[test]
fn writes_behind_a_split_are_found() {
    bitten(Mutant::WritesAcrossSplit);
}

#[test]
fn strong_reads_across_a_split_are_found() {
    bitten(Mutant::ReadsAcrossSplit);
}

#[test]
fn a_split_that_keeps_the_epoch_is_found() {
    bitten(Mutant::SplitKeepsEpoch);
}

#[test]
fn a_child_that_is_set_back_to_its_birth_is_found() {
    bitten(Mutant::ChildSetBack);
}

#[test]
fn a_birth_that_forgets_a_vote_is_found() {
    bitten(Mutant::BirthForgetsVote);
}

#[test]
fn a_leader_that_sleeps_before_all_have_agreed_is_found() {
    bitten(Mutant::SleepsUnagreed);
}

#[test]
fn a_leader_that_sleeps_in_a_change_is_found() {
    bitten(Mutant::SleepsInChange);
}

#[test]
fn a_follower_that_agrees_though_it_lacks_entries_is_found() {
    bitten(Mutant::AgreesBehind);
}

#[test]
fn sleepers_that_drop_votes_are_found() {
    bitten(Mutant::SleepersDropVotes);
}

#[test]
fn a_log_replica_that_clings_to_the_lead_is_found() {
    bitten(Mutant::LogReplicaClings);
}

#[test]
fn a_failing_world_is_made_smaller_and_its_story_told() {
    quiet();
    let known = KNOWN.iter().find(|known| known.mutant == Mutant::ApplySkips).expect("it is known");
    let failure = known.find().expect("it is found");
    let (invariant, whole) = (failure.broken.invariant, failure.size);
    let small = shrink(failure, 200, 40);
    assert_eq!(small.broken.invariant, invariant);
    assert_eq!((small.size.groups, small.size.clients), (1, 1), "{small}");
    assert!(small.size.faults == 0 && small.size.troubled_us < whole.troubled_us / 2, "{small}");
    let again = run(&small.case, 40).failure.expect("the replaying command fails again");
    assert_eq!((&again.broken, &again.story), (&small.broken, &small.story));
    assert!(small.story.contains("| node ") && small.story.contains("applied: index"), "{small}");
    let command = small.to_string();
    assert!(command.ends_with(&format!("replay: {}", small.case)), "{command}");
}
