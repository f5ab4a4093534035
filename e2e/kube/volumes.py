"""The chapters in which Kubernetes itself gives a volume up, or does not let it grow: what was acknowledged is there before and after."""

import json

from kubernetes import ZONE
from leaving import claims_on, home, open_spare, phases, replaced, sizes
from planned import planned
from tools import eventually, expect
from trivet import claim_of, conditions

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
# Larger than any chapter lets volumes become.
TOO_LARGE = "9Gi"


def a_kubernetes_node_is_tainted_out_of_service(story):
    """Kubernetes takes its Pods away, and nobody else does. The volume, which is that machine's, is waited for as long as there is its Node;
    whoever knows that it does not come back deletes the claim, and another node takes the place."""
    trivet, used = story.trivet, home(story)
    claim, = claims_on(story, used)
    pod, = (pod for pod in trivet.pods("node") if claim_of(pod) == claim)
    claims = trivet.claims()
    story.kubernetes.power_off(used)
    nothing_is_lost(story)
    expect(uids(trivet, claim) == {pod["metadata"]["uid"]}, "the Pod went while its machine might have run it")
    story.kubernetes.kubectl("taint", "node", used, f"{OUT_OF_SERVICE}=nodeshutdown:NoExecute")
    eventually("another Pod waits for the volume", lambda: is_replaced_and_waits(trivet, claim, pod))
    eventually("it is told why it waits", lambda: trivet.says(trivet.cluster(), "Blocked", "Unschedulable"))
    nothing_is_lost(story)
    expect(trivet.claims() == claims, "a claim was given up while its Kubernetes node has an object")
    open_spare(story, used)
    trivet.kubectl("delete", "pvc", claim, "--wait=false")
    replaced(story, {claim})
    eventually("the Pod that waited has gone, too", lambda: not uids(trivet, claim))
    nothing_is_lost(story)
    story.kubernetes.power_on(used)
    story.kubernetes.kubectl("taint", "node", used, f"{OUT_OF_SERVICE}-")
    trivet.until_whole()


def uids(trivet, claim):
    return {pod["metadata"]["uid"] for pod in trivet.pods("node") if claim_of(pod) == claim}


def is_replaced_and_waits(trivet, claim, before):
    pods = [pod for pod in trivet.pods("node") if claim_of(pod) == claim]
    return len(pods) == 1 and pods[0]["metadata"]["uid"] != before["metadata"]["uid"] and "nodeName" not in pods[0]["spec"]


def a_claim_loses_its_volume(story):
    """The PersistentVolume object is deleted under it: its Pod serves on, and is replaced before a restart would find nothing to mount."""
    trivet = story.trivet
    nodes = story.kubernetes.nodes()
    pod = next(pod for pod in trivet.pods("node") if nodes[pod["spec"]["nodeName"]]["metadata"]["labels"][ZONE] == trivet.zones[2])
    claim = claim_of(pod)
    volume = trivet.get("pvc", claim)["spec"]["volumeName"]
    story.kubernetes.kubectl("delete", "pv", volume, "--wait=false")
    # What keeps a volume that is in use.
    story.kubernetes.kubectl("patch", "pv", volume, "--type=merge", "-p", json.dumps({"metadata": {"finalizers": None}}))
    eventually("Kubernetes calls the claim lost", lambda: trivet.get("pvc", claim)["status"]["phase"] == "Lost")
    eventually("it is waited for", lambda: phases(trivet) == {("VolumeLost", "Missing")})
    expect(claim in trivet.claims(), "a claim was given up without waiting for it")
    nothing_is_lost(story)
    replaced(story, {claim})
    nothing_is_lost(story)


@planned
def volumes_may_not_grow(story):
    """The wish is answered with what stands in its way and what to do; nothing is touched, and all is as before when it is taken back."""
    trivet, before = story.trivet, (story.trivet.size, sizes(story.trivet))
    # What an earlier wish has begun is done, with the routers that follow their nodes.
    trivet.until_at_rest()
    claims, pods = trivet.claims(), trivet.pods_of_data_plane()
    name = next(each["spec"]["storageClassName"] for each in trivet.get("pvc")["items"])
    grows = story.kubernetes.get("storageclass", name).get("allowVolumeExpansion", False)
    let_grow(story, name, False)
    trivet.size = TOO_LARGE
    trivet.upgrade()
    told = eventually("it is told why they do not grow", lambda: reason_not_to_grow(trivet))
    for word in (name, "spec.storage.size", TOO_LARGE, "allowVolumeExpansion", f"set spec.storage.size back to {before[0]}"):
        expect(word in told, f"no word of {word}: {told}")
    story.under_load()
    expect(sizes(trivet) == before[1], f"volumes have {sizes(trivet)}")
    # What has been wished can be wished away, and no more than that.
    trivet.size = before[0]
    trivet.upgrade()
    eventually("nothing stands in the way any more", lambda: not is_blocked(trivet))
    trivet.until_whole()
    trivet.until_at_rest()
    expect((trivet.claims(), trivet.pods_of_data_plane()) == (claims, pods), "claims or Pods have changed")
    nothing_is_lost(story)
    let_grow(story, name, grows)


def let_grow(story, name, grows):
    story.kubernetes.kubectl("patch", "storageclass", name, "--type=merge", "-p", json.dumps({"allowVolumeExpansion": grows}))


def reason_not_to_grow(trivet):
    told = (each["message"] for each in conditions(trivet.cluster()) if (each["type"], each["reason"]) == ("Blocked", "VolumeDoesNotGrow"))
    return next(told, None)


def is_blocked(trivet):
    return any(each["type"] == "Blocked" and each["status"] == "True" for each in conditions(trivet.cluster()))


def nothing_is_lost(story):
    story.under_load()
    story.load.check(story.trivet.client())
