//! What a real API server makes of our resources: what it refuses, with which sentence, and what it fills in.
#![expect(clippy::disallowed_types, reason = "what stands beside the operator has a client of its own")]
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

mod certificates;
mod ground;
mod happened;
mod mortal;
mod people;
mod refusals;
#[expect(dead_code, reason = "the other test with an API server also stops it and sets it back")]
mod server;
mod tables;
mod told;

use server::ApiServer;

/// One API server for all of them: each takes seconds to begin.
#[tokio::test]
async fn what_the_api_server_makes_of_our_resources() {
    let server = ApiServer::start().await;
    operator::definitions::apply(server.client.clone()).await.unwrap();
    // Done again nothing changes: an upgrade may be cut short.
    operator::definitions::apply(server.client.clone()).await.unwrap();
    refusals::good_objects_are_taken_with_their_defaults(&server.client).await;
    refusals::bad_objects_are_refused_with_a_sentence(&server.client).await;
    refusals::what_never_changes_is_kept(&server.client).await;
    refusals::a_partition_is_not_edited_by_hand(&server.client).await;
    ground::what_volumes_and_kubernetes_nodes_are_in_is_seen(&server.client).await;
    tables::a_table_is_written_read_and_removed(&server.client).await;
    tables::the_slower_of_two_writers_is_refused(&server.client).await;
    tables::an_edit_of_the_spec_outlives_a_change_of_status(&server.client).await;
    tables::each_field_of_a_status_has_one_owner(&server.client).await;
    tables::a_status_is_of_the_object_that_was_seen(&server.client).await;
    tables::an_object_under_anothers_name_hinders_nobody(&server.client).await;
    tables::what_a_person_confirms_is_done_once(&server.client).await;
    tables::a_name_that_another_cluster_has_is_refused_at_once(&server.client).await;
    tables::an_orphaned_partition_is_removed(&server.client).await;
    happened::what_happens_to_a_table_is_told_once(&server.client).await;
    people::a_cluster_is_removed_with_its_data(&server.client).await;
    people::a_bundle_tells_everything_but_secrets(&server.client).await;
    told::a_person_is_told_what_is_wrong_and_can_take_it_back(&server.client).await;
    certificates::every_bearer_gets_a_certificate_that_goes_with_its_owner(&server.client).await;
    certificates::a_rotation_goes_on_wherever_it_was_killed(&server.client).await;
    certificates::a_process_that_does_not_tell_stops_a_rotation_and_is_named(&server.client).await;
    certificates::what_somebody_deletes_or_spoils_is_made_again(&server.client).await;
    certificates::a_lost_authority_is_replaced_as_by_a_rotation(&server.client).await;
    certificates::a_paused_cluster_gets_nothing(&server.client).await;
    certificates::cert_manager_is_asked_for_the_same_certificates(&server.client).await;
}
