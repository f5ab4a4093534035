"""What somebody sees who tries Trivet on a single Kubernetes node: why it does not start, and what to do for a first look."""

import argparse
import sys
import tempfile
from pathlib import Path

from beginning import BY_SDK
from kubernetes import OPERATOR_PART, Kubernetes
from machine import HOUSE
from story import tell
from tools import eventually, expect, run
from trivet import DATA_PLANE, IMAGE, RELEASE, Trivet, condition, conditions, create_table, put_and_read

NAME = "trivet-first-look"


class Look:
    """What the chapters share."""

    def __init__(self, binary, folder):
        self.binary = binary
        self.kubernetes = Kubernetes(NAME, folder, "kind-one.yaml")
        self.trivet = Trivet(self.kubernetes)

    def values(self, **more):
        """The operator runs anywhere; three of everything share one machine."""
        label = OPERATOR_PART[0].replace(".", "\\.")
        small = {f"cluster.spec.{part}.resources.requests.{what}": amount for part in DATA_PLANE if part != "router"
                 for what, amount in (("cpu", "50m"), ("memory", "64Mi"))}
        routers = {"cluster.spec.routers.resources.requests.cpu": "50m", "cluster.spec.routers.resources.requests.memory": "64Mi"}
        return {f"operator.nodeSelector.{label}": "null", "cluster.spec.node.shareKubernetesNodes": "false", **small, **routers, **more}


def a_cluster_of_one_kubernetes_node_is_made(look):
    look.kubernetes.machine.prepare()
    run(HOUSE / "e2e" / "image", look.binary, IMAGE)
    look.kubernetes.create()
    look.kubernetes.load(IMAGE)


def zones_that_no_kubernetes_node_carries_are_named(look):
    trivet = look.trivet
    trivet.install(look.values())
    said = eventually("the Cluster says why it does not start", lambda: [
        each["message"] for each in conditions(trivet.cluster()) if (each["type"], each["status"], each["reason"]) == ("Blocked", "True", "UnknownZone")])
    expect("zoneMode Simulated" in said[0], f"what to do is not said: {said[0]}")
    expect(condition(trivet.cluster(), "Ready") == "False", "it is ready in zones that are not there")


def simulated_zones_are_served_and_called_unsafe(look):
    trivet = look.trivet
    refused = trivet.refusal_of({**trivet.cluster(), "spec": {**trivet.cluster()["spec"], "zoneMode": "Simulated"}})
    expect("zoneMode never changes" in refused, f"the mode of a Cluster that is there was changed: {refused}")
    trivet.uninstall()
    trivet.kubectl("delete", "clusters.trivet.dev", RELEASE, "--wait=true")
    eventually("its Pods are gone", lambda: not any(trivet.pods(component) for component in DATA_PLANE))
    trivet.kubectl("delete", "pvc", "--all")
    trivet.install(look.values(**{"cluster.spec.zoneMode": "Simulated"}))
    trivet.until_ready()
    dynamodb = trivet.client()
    create_table(dynamodb, BY_SDK)
    put_and_read(dynamodb, BY_SDK, "key", "of a first look")
    trivet.until_whole()
    for thing in (trivet.cluster(), *trivet.tables().values(), *trivet.partitions()):
        eventually(f"{thing['metadata']['name']} is called unsafe", lambda thing=thing: is_called_unsafe(trivet, thing))


def is_called_unsafe(trivet, thing):
    kind = f"{thing['kind'].lower()}s.trivet.dev"
    return condition(trivet.get(kind, thing["metadata"]["name"]), "Safe") == "False"


CHAPTERS = (a_cluster_of_one_kubernetes_node_is_made, zones_that_no_kubernetes_node_carries_are_named, simulated_zones_are_served_and_called_unsafe)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trivet", type=Path, required=True, help="the binary that the image is made of")
    parser.add_argument("--logs", type=Path, required=True, help="where logs are kept when a chapter fails")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        look = Look(options.trivet, Path(folder))
        try:
            passed, failed, skipped = tell(look, CHAPTERS, options.logs)
        finally:
            if look.kubernetes.is_ours:
                look.kubernetes.delete()
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
