"""The chapters in which Kubernetes nodes, volumes and zones go for good, or are asked to go and asked back."""

from kubernetes import ZONE
from planned import planned
from tools import eventually, expect
from trivet import LOST_AFTER_S, ZONES, claim_of, conditions

DRAIN = "trivet.dev/drain"
ZONE_D = "zone-d"
GROWN = "3Gi"


def a_kubernetes_node_comes_back_without_volumes(story):
    """No Pod can mount what is gone: it is waited for, and another node takes its node's place."""
    node = story.kubernetes.in_zones()[2]
    lost = claims_on(story, node)
    story.kubernetes.power_off(node, volumes="gone")
    story.under_load()
    story.kubernetes.power_on(node)
    if story.kubernetes.machine.remembers:
        # kind's volumes come back as empty folders, which is another chapter.
        eventually("the volume is missed", lambda: phases(story.trivet) == {("VolumeLost", "Missing")}, 300)
        expect(lost <= set(story.trivet.claims()), "a volume was given up without waiting for it")
    replaced(story, lost)


def a_kubernetes_node_is_gone_for_good(story):
    """Its object is deleted, and with it goes the only place where its volume was."""
    used = home(story)
    lost = claims_on(story, used)
    open_spare(story, used)
    story.kubernetes.power_off(used)
    story.kubernetes.kubectl("delete", "node", used)
    story.under_load()
    eventually("it is waited for", lambda: phases(story.trivet) == {("VolumeLost", "Missing")})
    replaced(story, lost)
    story.kubernetes.power_on(used)


@planned
def a_drain_is_asked_for_and_taken_back(story):
    """There is no room for another node: it is said so, nothing goes, and all stays when the wish is taken back."""
    trivet, used, claims = story.trivet, home(story), story.trivet.claims()
    close_spare(story, used)
    ask_for_drain(story, used)
    eventually("what is to leave is shown", lambda: ("Drained", "Waiting") in phases(trivet) or ("Drained", "Moving") in phases(trivet))
    eventually("the want of room is said", lambda: trivet.says(trivet.cluster(), "Blocked", "Unschedulable"))
    expect(claims.items() <= trivet.claims().items(), "a claim went before its replicas")
    take_back(story, used)
    eventually("the claims are what they were", lambda: trivet.claims() == claims)
    trivet.until_whole()
    expect(not phases(trivet), f"still on their way: {phases(trivet)}")
    story.under_load()


@planned
def a_kubernetes_node_is_emptied_by_annotation(story):
    """Leaders first, then replicas, then Pod and claim."""
    trivet, used = story.trivet, home(story)
    leaving, seen = claims_on(story, used), set()
    open_spare(story, used)
    ask_for_drain(story, used)

    def is_empty():
        seen.update(phases(trivet))
        return not leaving & set(trivet.claims())
    eventually("its nodes are elsewhere", is_empty, 600)
    expect(("Drained", "Moving") in seen, f"seen: {seen}")
    trivet.until_whole()
    expect(not claims_on(story, used), f"{used} has nodes still")
    story.kubernetes.kubectl("annotate", "node", used, f"{DRAIN}-")
    story.under_load()


@planned
def volumes_grow(story):
    trivet = story.trivet
    trivet.size = GROWN
    trivet.upgrade()
    eventually("all volumes have the new size", lambda: sizes(trivet) == {GROWN}, 300)
    trivet.until_whole()
    story.under_load()


@planned
def a_zone_is_added_and_another_one_removed(story):
    """A zone that no Kubernetes node carries is named; replicas of one that goes move to the one that is free; and all the way back."""
    trivet, spare = story.trivet, idle(story)
    add_zone(story)
    eventually("the unknown zone is named", lambda: says_unknown(trivet, ZONE_D))
    story.kubernetes.kubectl("label", "node", spare, f"{ZONE}={ZONE_D}", "--overwrite")
    story.kubernetes.kubectl("uncordon", spare)
    trivet.until_whole()
    trivet.zones = (*ZONES[1:], ZONE_D)
    zone_goes(story, ZONES[0], ZONE_D)
    trivet.zones = (*ZONES, ZONE_D)
    trivet.upgrade()
    trivet.until_whole()
    trivet.zones = ZONES
    zone_goes(story, ZONE_D, ZONES[0])
    story.kubernetes.kubectl("cordon", spare)
    story.kubernetes.kubectl("label", "node", spare, f"{ZONE}={ZONES[1]}", "--overwrite")


def add_zone(story):
    story.trivet.zones = (*ZONES, ZONE_D)
    story.trivet.upgrade()


def zone_goes(story, zone, heir):
    trivet = story.trivet
    trivet.upgrade()
    eventually(f"nothing is left in {zone}", lambda: zone not in zones_of_pods(trivet), 600)
    trivet.until_whole()
    zones = {replica["zone"] for each in trivet.partitions() for replica in each["status"]["replicas"]}
    expect(zone not in zones and heir in zones, f"replicas are in {zones}")
    story.under_load()


def zones_of_pods(trivet):
    return {pod["metadata"]["labels"]["trivet.dev/zone"] for component in ("node", "router", "memds") for pod in trivet.pods(component)}


def says_unknown(trivet, zone):
    return any(each["type"] == "Blocked" and each["reason"] == "UnknownZone" and f"zone {zone}," in each["message"]
               for each in conditions(trivet.cluster()))


# Where nodes are, and what is asked of Kubernetes.

def claims_on(story, node):
    return {claim_of(pod) for pod in story.trivet.pods("node") if pod["spec"].get("nodeName") == node}


def pair(story):
    """The two Kubernetes nodes of one zone."""
    nodes, spare = story.kubernetes.nodes(), story.kubernetes.spare()
    zone = nodes[spare]["metadata"]["labels"][ZONE]
    return [name for name in story.kubernetes.in_zones() if nodes[name]["metadata"]["labels"][ZONE] == zone]


def home(story):
    """Of the two, the one with a node of ours."""
    return next(name for name in pair(story) if claims_on(story, name))


def idle(story):
    return next(name for name in pair(story) if not claims_on(story, name))


def open_spare(story, used):
    for name in pair(story):
        if name != used:
            story.kubernetes.kubectl("uncordon", name)


def close_spare(story, used):
    for name in pair(story):
        if name != used:
            story.kubernetes.kubectl("cordon", name)


def ask_for_drain(story, node):
    story.kubernetes.kubectl("cordon", node)
    story.kubernetes.kubectl("annotate", "node", node, f"{DRAIN}=true")


def take_back(story, node):
    story.kubernetes.kubectl("annotate", "node", node, f"{DRAIN}-")
    story.kubernetes.kubectl("uncordon", node)


def phases(trivet):
    return {(each["why"], each["phase"]) for each in trivet.cluster().get("status", {}).get("removals", [])}


def replaced(story, lost):
    trivet = story.trivet
    eventually("other claims have taken the place of the lost ones", lambda: not lost & set(trivet.claims()), LOST_AFTER_S + 600)
    expect(len(trivet.claims()) == trivet.nodes_per_zone * len(trivet.zones), f"one went, and there are {sorted(trivet.claims())}")
    trivet.until_whole(seconds=600)
    expect(not phases(trivet), f"still on their way: {phases(trivet)}")
    story.under_load()


def sizes(trivet):
    return {each["status"]["capacity"]["storage"] for each in trivet.get("pvc")["items"]}
