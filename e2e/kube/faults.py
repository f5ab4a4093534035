"""The chapters in which something breaks, under clients that must not notice."""

import time

from tools import eventually, expect
from trivet import claim_of, condition

# How long the API server is away.
AWAY_S = 60


def a_node_pod_is_deleted(story):
    trivet, claims = story.trivet, story.trivet.claims()
    pod = trivet.pods("node")[0]
    trivet.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")
    story.under_load()
    eventually("another Pod runs on the same volume", lambda: is_replaced(trivet, pod))
    trivet.until_whole()
    expect(trivet.claims() == claims, "a claim was made or deleted for a Pod that was only deleted")
    story.under_load()


def is_replaced(trivet, pod):
    same = [other for other in trivet.pods("node") if claim_of(other) == claim_of(pod)]
    return any(other["metadata"]["uid"] != pod["metadata"]["uid"] and condition(other, "Ready") == "True" for other in same)


def a_node_process_is_killed(story):
    pod = story.trivet.pods("node")[1]
    kill(story, pod)
    story.trivet.until_whole()
    story.under_load()


def kill(story, pod):
    """Returns once kubelet has noticed."""
    story.kubernetes.kill_container(pod)
    name, before = pod["metadata"]["name"], restarts(pod)
    eventually("the container runs again", lambda: restarts(story.trivet.get("pod", name)) > before)


def restarts(pod):
    return pod["status"]["containerStatuses"][0]["restartCount"]


def a_kubernetes_node_comes_back_with_empty_volumes(story):
    """Lost with its disk, a node is a new one: another claim, another id."""
    node = story.kubernetes.in_zones()[0]
    lost = {claim_of(pod) for pod in story.trivet.pods("node") if pod["spec"]["nodeName"] == node}
    story.kubernetes.power_off(node, volumes="empty")
    story.under_load()
    story.kubernetes.power_on(node)
    eventually("other claims have taken the place of the lost ones", lambda: not lost & set(story.trivet.claims()), 600)
    story.trivet.until_whole(seconds=600)
    story.under_load()


def the_api_server_is_away_for_a_minute(story):
    machine = story.kubernetes.machine
    machine.stop("api")
    end = time.monotonic() + AWAY_S
    while time.monotonic() < end:
        story.under_load()
    machine.start("api")
    eventually("the API server answers", lambda: story.kubernetes.kubectl("get", "--raw", "/readyz"))
    story.trivet.until_whole()


def dns_is_away_while_a_node_process_restarts(story):
    machine = story.kubernetes.machine
    machine.stop("dns")
    kill(story, story.trivet.pods("node")[2])
    eventually("all partitions are whole without DNS", story.trivet.is_whole, 180)
    story.under_load()
    machine.start("dns")
    story.trivet.until_whole()


def a_claim_of_a_live_node_is_deleted(story):
    """It stays, with its node, as long as a group needs it; the node that takes its place gets the replicas, one by one."""
    trivet = story.trivet
    claim, nodes = claim_of(trivet.pods("node")[0]), len(trivet.claims())
    trivet.kubectl("delete", "pvc", claim, "--wait=false")
    eventually("another node has taken its place", lambda: claim not in trivet.claims() and len(trivet.claims()) == nodes, 600)
    trivet.until_whole()
    story.under_load()
