"""The chapters in which people change what they wish: more nodes, another image, machines to repair."""

import threading

from machine import HOUSE
from planned import planned
from tools import eventually, expect, run
from trivet import DATA_PLANE, ZONES, condition, create_table, table

NEXT_IMAGE = "trivet:e2e-next"
WIDE = "wide"
BY_THE_OTHER = "by-the-other"
# What no chart asks for by itself.
OTHER_CPU = "130m"


@planned
def three_nodes_become_six(story):
    """What is made from then on stands on the new ones, too."""
    trivet = story.trivet
    trivet.nodes_per_zone = 2
    trivet.upgrade()
    trivet.until_whole()
    trivet.apply(table(WIDE, 12))
    trivet.until_ready(f"tables.trivet.dev/{WIDE}")
    eventually("all six nodes have replicas", lambda: len(nodes_with_replicas(trivet)) == 2 * len(ZONES))
    story.under_load()


def nodes_with_replicas(trivet):
    return {replica["node"] for each in trivet.partitions() for replica in each.get("status", {}).get("replicas", [])}


@planned
def six_nodes_become_three(story):
    """The nodes that leave give their replicas away first; their claims go last."""
    trivet = story.trivet
    trivet.nodes_per_zone = 1
    trivet.upgrade()
    eventually("three claims are left", lambda: len(trivet.claims()) == len(ZONES), 600)
    trivet.until_whole()
    eventually("replicas are on the nodes that stay", lambda: len(nodes_with_replicas(trivet)) == len(ZONES))
    story.under_load()


@planned
def every_pod_gets_another_image(story):
    """At no time are two node Pods away at once."""
    run(HOUSE / "e2e" / "image", story.binary, NEXT_IMAGE)
    story.kubernetes.load(NEXT_IMAGE)
    story.trivet.image = NEXT_IMAGE
    with Watch(story.trivet) as watch:
        story.trivet.upgrade()
        story.trivet.until_at_rest(600)
        expect(images(story.trivet) == {NEXT_IMAGE}, f"nothing goes on, and there are {images(story.trivet)}")
        story.trivet.until_whole()
    expect(watch.fewest >= len(story.trivet.ready_node_pods()) - 1, f"only {watch.fewest} node Pods were ready at once")
    story.under_load()


@planned
def every_node_pod_is_replaced(story):
    """Their resources change, and nothing else: one after the other they stop and begin anew, each on its claim, once the last is back and
    every group whole."""
    trivet = story.trivet
    before, claims, others = trivet.pods_of_data_plane(), trivet.claims(), [component for component in DATA_PLANE if component != "node"]
    trivet.settings["cluster.spec.node.resources.requests.cpu"] = OTHER_CPU
    with Watch(trivet) as watch:
        trivet.upgrade()
        eventually("no node Pod is an old one", lambda: not set(before["node"]) & set(trivet.pods_of_data_plane()["node"]), 600)
        trivet.until_whole()
    expect(watch.fewest >= len(claims) - 1, f"only {watch.fewest} node Pods were ready at once")
    expect(trivet.claims() == claims, "a claim was made or deleted for a Pod that was only replaced")
    after = trivet.pods_of_data_plane()
    expect(all(after[component] == before[component] for component in others), "Pods of other components were replaced, too")
    story.under_load()


def one_of_two_operators_is_killed(story):
    """Tables are made meanwhile by the other one, which acts as soon as the dead one's lease has ended."""
    trivet = story.trivet
    trivet.upgrade({"operator.replicas": 2})
    eventually("two operators are ready", lambda: sum(condition(pod, "Ready") == "True" for pod in trivet.pods("operator")) == 2)
    dead = eventually("one of them acts", lambda: acts(trivet))
    trivet.kubectl("delete", "pod", dead, "--grace-period=0", "--force")
    create_table(trivet.client(), BY_THE_OTHER)
    heir = eventually("another one acts", lambda: acts(trivet) not in ("", dead) and acts(trivet))
    expect(heir in [pod["metadata"]["name"] for pod in trivet.pods("operator")], f"{heir} is no operator's Pod")
    trivet.until_ready(f"tables.trivet.dev/{BY_THE_OTHER}")
    trivet.upgrade()
    eventually("one operator is left", lambda: len(trivet.pods("operator")) == 1)
    trivet.until_whole()
    story.under_load()


def acts(trivet):
    """The Pod that holds the lease."""
    return trivet.get("lease", "trivet-operator")["spec"].get("holderIdentity", "")


def images(trivet):
    """Of those that are to stay."""
    staying = (pod for component in DATA_PLANE for pod in trivet.pods(component) if "deletionTimestamp" not in pod["metadata"])
    return {pod["spec"]["containers"][0]["image"] for pod in staying}


class Watch:
    """The fewest node Pods that were ready at once."""

    def __init__(self, trivet):
        self.trivet = trivet
        self.fewest = len(trivet.ready_node_pods())

    def __enter__(self):
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def __exit__(self, *_failure):
        self.ended.set()
        self.thread.join()

    def look(self):
        while not self.ended.wait(0.5):
            self.fewest = min(self.fewest, len(self.trivet.ready_node_pods()))


@planned
def two_kubernetes_nodes_are_drained_at_once(story):
    """The second eviction waits until the first node is back and its groups are whole."""
    first, second = story.kubernetes.in_zones()[:2]
    drained, said = story.kubernetes.drain(first, seconds=120)
    expect(drained, said)
    drained, said = story.kubernetes.drain(second, seconds=60)
    expect(not drained and "disruption budget" in said, f"two zones were drained at once: {said}")
    story.under_load()
    story.kubernetes.kubectl("uncordon", first)
    # What else ran on the second one waits for it: of the whole Cluster nothing is promised here.
    eventually("all partitions are whole", story.trivet.is_whole, 300)
    drained, said = story.kubernetes.drain(second, seconds=120)
    expect(drained, said)
    story.kubernetes.kubectl("uncordon", second)
    story.trivet.until_whole()
    story.under_load()
