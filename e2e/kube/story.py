"""What happens to one Trivet on Kubernetes, from its installation to its uninstallation; each chapter goes on where the last one ended."""

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import anew
import beginning
import changes
import ending
import faults
import leaving
import measures
import power
import sealing
import truth
import volumes
from kubernetes import Kubernetes
from tools import Skipped, expect, run, say
from trivet import NAMESPACE, Trivet

NAME = "trivet-e2e"
CHAPTERS = (
    beginning.a_cluster_of_three_zones_is_made,
    beginning.its_zones_are_cut_off_from_the_api_server,
    beginning.the_chart_is_installed,
    beginning.every_pod_is_where_it_should_be,
    beginning.every_pod_is_restricted,
    beginning.nobody_may_do_more_than_it_must,
    sealing.everybody_has_a_certificate_of_his_own,
    beginning.a_table_is_made_by_kubectl,
    beginning.a_table_is_made_by_an_sdk,
    beginning.strangers_are_refused,
    truth.nonsense_is_refused_with_a_sentence,
    beginning.clients_write_and_read_from_now_on,
    sealing.who_shows_no_certificate_is_refused,
    sealing.the_ca_is_replaced_under_clients,
    faults.a_node_pod_is_deleted,
    faults.a_node_process_is_killed,
    power.a_kubernetes_node_loses_power_and_comes_back,
    faults.a_kubernetes_node_comes_back_with_empty_volumes,
    faults.the_api_server_is_away_for_a_minute,
    faults.dns_is_away_while_a_node_process_restarts,
    changes.every_pod_gets_another_image,
    changes.every_node_pod_is_replaced,
    changes.two_kubernetes_nodes_are_drained_at_once,
    changes.one_of_two_operators_is_killed,
    faults.a_claim_of_a_live_node_is_deleted,
    leaving.a_kubernetes_node_comes_back_without_volumes,
    leaving.a_kubernetes_node_is_gone_for_good,
    volumes.a_kubernetes_node_is_tainted_out_of_service,
    volumes.a_claim_loses_its_volume,
    leaving.a_drain_is_asked_for_and_taken_back,
    leaving.a_kubernetes_node_is_emptied_by_annotation,
    leaving.a_zone_is_added_and_another_one_removed,
    leaving.volumes_grow,
    volumes.volumes_may_not_grow,
    truth.a_table_is_made_by_two_at_once,
    truth.a_protected_table_is_not_deleted,
    truth.partition_objects_are_deleted_and_come_back,
    truth.a_deleted_table_is_retained_and_returns,
    truth.definitions_are_deleted_and_come_back,
    anew.everything_is_deleted_and_applied_again,
    anew.everything_is_deleted_the_cluster_first,
    truth.etcd_goes_back_in_time,
    sealing.an_operator_that_dies_goes_on_with_the_rotation,
    changes.three_nodes_become_six,
    changes.six_nodes_become_three,
    ending.the_chart_is_upgraded_and_its_definitions_too,
    ending.an_uninstall_leaves_the_data_plane,
    ending.nothing_that_was_acknowledged_is_lost,
    ending.the_data_plane_never_called_the_api_server,
    ending.every_connection_is_one_that_a_policy_allows,
    ending.a_bundle_tells_what_there_is,
    ending.a_teardown_removes_everything_and_nothing_else,
)

# What is promised in seconds.
NUMBERS = (
    beginning.a_cluster_of_three_zones_is_made,
    measures.an_item_is_put_after_the_installation,
    measures.twelve_partitions_become_ready,
    beginning.a_table_is_made_by_kubectl,
    beginning.clients_write_and_read_from_now_on,
    measures.node_processes_are_killed_in_turn,
    power.a_kubernetes_node_loses_power_and_comes_back,
)

# What every change must pass (`make test`), in ten minutes: it installs, it serves, it heals, it is maintained, and it goes.
SHORT = (
    sealing.who_shows_no_certificate_is_refused,
    faults.a_node_pod_is_deleted,
    power.a_kubernetes_node_loses_power_and_comes_back,
    faults.a_kubernetes_node_comes_back_with_empty_volumes,
    faults.the_api_server_is_away_for_a_minute,
    changes.every_node_pod_is_replaced,
    changes.two_kubernetes_nodes_are_drained_at_once,
    faults.a_claim_of_a_live_node_is_deleted,
    truth.a_table_is_made_by_two_at_once,
    truth.a_deleted_table_is_retained_and_returns,
    ending.an_uninstall_leaves_the_data_plane,
    ending.nothing_that_was_acknowledged_is_lost,
    ending.the_data_plane_never_called_the_api_server,
    ending.a_bundle_tells_what_there_is,
    ending.a_teardown_removes_everything_and_nothing_else,
)


class Story:
    """What chapters share."""

    def __init__(self, binary, folder):
        self.binary = binary
        self.folder = folder
        self.kubernetes = Kubernetes(NAME, folder)
        self.trivet = Trivet(self.kubernetes)
        self.firewall = None
        self.traffic = None
        self.load = None
        # What was measured: of what, seconds, and how many are promised at most.
        self.figures = []

    def admin(self, *words, check=True):
        """`trivet admin` as a person with a kubeconfig runs it."""
        return run("env", f"KUBECONFIG={self.kubernetes.kubeconfig}", self.binary, "admin", *words, check=check)

    def under_load(self):
        """The clients go on, and have seen no error."""
        self.load.until_answered(100)
        self.no_error()

    def no_error(self):
        errors = self.load.errors
        expect(not errors, f"{len(errors)} errors that the SDK's retries did not hide: {errors[:5]}")


def keep_logs(kubernetes, folder):
    """What a person needs to understand a failure: every object, every event, every log."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ours = "clusters.trivet.dev,tables.trivet.dev,partitions.trivet.dev"
    others = "all,pvc,pv,nodes,poddisruptionbudgets"
    for file, words in {
        "trivet.yaml": ("get", ours, "-A", "-o", "yaml"), "trivet.txt": ("get", ours, "-A", "-o", "wide"),
        "objects.yaml": ("get", others, "-A", "-o", "yaml"), "objects.txt": ("get", others, "-A", "-o", "wide"),
        "events.txt": ("get", "events", "-A", "--sort-by=.lastTimestamp"), "pods.txt": ("describe", "pods", "-A"),
    }.items():
        (folder / file).write_text(kubernetes.kubectl(*words, check=False))
    for pod in kubernetes.kubectl("get", "pods", "-n", NAMESPACE, "-o", "name", check=False).split():
        for file, words in {"log": (), "previous.log": ("--previous",)}.items():
            told = kubernetes.kubectl("logs", "-n", NAMESPACE, pod, "--all-containers", *words, check=False)
            (folder / f"{pod.replace('/', '-')}.{file}").write_text(told)
    run(kubernetes.machine.verbs, "export", "logs", folder / "kubernetes", "--name", kubernetes.name, check=False)


def tell(story, chapters, logs):
    """Chapter after chapter, until one fails: how many passed, failed, and were skipped."""
    passed, skipped = 0, 0
    for chapter in chapters:
        begun = time.monotonic()
        say(chapter.__name__.replace("_", " "))
        try:
            chapter(story)
            passed += 1
            say(f"  passed in {time.monotonic() - begun:.1f} s")
        except Skipped as why:
            skipped += 1
            say(f"  skipped: {why}")
        except Exception:
            traceback.print_exc()
            say(f"  FAILED: {chapter.__name__}; logs are in {logs}")
            keep_logs(story.kubernetes, logs)
            return passed, 1, skipped
    return passed, 0, skipped


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trivet", type=Path, required=True, help="the binary that the image is made of")
    parser.add_argument("--logs", type=Path, required=True, help="where logs are kept when a chapter fails")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", nargs="+", metavar="CHAPTER", help="these chapters, and the first ones that all others stand on")
    which.add_argument("--short", action="store_true", help="the story in ten minutes")
    which.add_argument("--numbers", action="store_true", help="the chapters that measure, and what they need")
    parser.add_argument("--keep", action="store_true", help="leave the Kubernetes cluster for a look around")
    return parser.parse_args()


def chosen(only, short, numbers):
    """Chapters up to the first clients are what the others stand on."""
    if numbers:
        return NUMBERS
    if not only and not short:
        return CHAPTERS
    begun = CHAPTERS.index(beginning.clients_write_and_read_from_now_on) + 1
    names = {chapter.__name__: chapter for chapter in CHAPTERS}
    only = [chapter.__name__ for chapter in SHORT] if short else only
    unknown = [name for name in only if name not in names]
    if unknown:
        sys.exit(f"no such chapter: {', '.join(unknown)}; there are: {', '.join(names)}")
    return (*CHAPTERS[:begun], *(chapter for chapter in CHAPTERS[begun:] if chapter.__name__ in only))


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        story = Story(options.trivet, Path(folder))
        try:
            passed, failed, skipped = tell(story, chosen(options.only, options.short, options.numbers), options.logs)
        finally:
            for running in filter(None, (story.load, story.traffic)):
                running.end()
            # One that was there before is somebody else's.
            if story.kubernetes.is_ours and not options.keep:
                story.kubernetes.delete()
    if story.figures:
        print(measures.verdicts(story.figures))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    # A machine that does other work as well breaks promises of seconds, and no test fails for that: they are judged where they are measured.
    held = measures.are_held(story.figures) or not options.numbers
    sys.exit(0 if not failed and held else 1)


if __name__ == "__main__":
    main()
