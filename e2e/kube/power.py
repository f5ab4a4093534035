"""What a power cut is to clients: a machine without power answers nothing, not even that it is not there. Its two causes of waiting are
taken apart: groups that lose their leader, and connections that go on to be sent to a dead router."""

import contextlib

from botocore.config import Config
from load import Load
from measures import measured, percentile
from tools import eventually, expect, say
from trivet import NAMESPACE, RELEASE, ZONES, create_table

# One partition, whose leader loses power: every client of it is hit.
FRAGILE = "fragile"
FIRST_DOOR = 30801
# In all: what is said of 99 in 100 is said of as many.
CLIENTS = 100
# What a crowd asks for in a second must leave the machine time to answer.
PAUSE_S = 1.0
PROMISED_S = 3
# boto3 as it comes: it waits a minute for an answer, so that all the waiting is Trivet's.
PATIENT = Config()


def a_kubernetes_node_loses_power_and_comes_back(story):
    """Judged are clients of the living zones' routers, all of which were with the leader that is gone. A NodePort cannot keep that promise:
    kube-proxy knows of no dead router before Kubernetes has missed its node, so until then one in three new connections goes there, and
    costs the client its connect timeout, again and again by chance. That none of them sees an error is what is promised there."""
    trivet, claims = story.trivet, story.trivet.claims()
    create_table(trivet.client(), FRAGILE)
    node, zone = place_of_leader(story)
    with crowd(story, [other for other in ZONES if other != zone]) as loads:
        for load in (*loads, story.load):
            load.waits.clear()
        story.kubernetes.power_off(node)
        story.under_load()
        for load in loads:
            load.until_answered(load.writers)
    waits = [wait for load in loads for wait in load.waits.values()]
    errors = [error for load in loads for error in load.errors]
    expect(not errors, f"{len(errors)} errors that the SDK's retries did not hide: {errors[:5]}")
    measured(story, f"wait of a client of a living zone's router when the leader loses power, p99 of {len(waits)}", percentile(waits, 99), PROMISED_S)
    say(f"  by the NodePort, until Kubernetes missed the node: up to {max(story.load.waits.values()):.1f} s, and no error")
    story.kubernetes.power_on(node)
    trivet.until_whole()
    expect(trivet.claims() == claims, "a claim was made or deleted for a node that came back")
    for load in loads:
        load.check(trivet.client())
    story.under_load()


def place_of_leader(story):
    """The Kubernetes node and the zone of the node that leads the partition."""
    trivet = story.trivet

    def leader():
        return [each["status"]["leader"] for each in trivet.partitions() if each["spec"]["tableRef"] == FRAGILE and each["status"].get("leader")]
    id_, = eventually("its leader is known", leader)
    pod, = (pod for pod in trivet.pods("node") if pod["metadata"]["labels"]["trivet.dev/node"] == id_)
    return pod["spec"]["nodeName"], pod["metadata"]["labels"]["trivet.dev/zone"]


@contextlib.contextmanager
def crowd(story, zones):
    """Clients of each zone's router, which write and read while this is open."""
    services = [door(zone, FIRST_DOOR + number) for number, zone in enumerate(zones)]
    for service in services:
        story.trivet.apply(service)
    address = story.kubernetes.operator_address()
    loads = [Load(f"http://{address}:{FIRST_DOOR + number}", story.trivet.credentials(), FRAGILE, CLIENTS // len(zones), PATIENT, f"{zone}-", 1, PAUSE_S)
             for number, zone in enumerate(zones)]
    for load in loads:
        load.begin()
    try:
        for load in loads:
            load.until_answered(load.writers)
        yield loads
    finally:
        for load in loads:
            load.end()
        for service in services:
            story.trivet.kubectl("delete", "service", service["metadata"]["name"])


def door(zone, port):
    """The routers of one zone alone, for everybody."""
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": f"door-{zone}"},
        "spec": {"type": "NodePort", "ports": [{"port": 8000, "nodePort": port}],
                 "selector": {"app.kubernetes.io/component": "router", "trivet.dev/cluster": RELEASE, "trivet.dev/zone": zone}},
    }
