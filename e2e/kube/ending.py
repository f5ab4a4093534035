"""The chapters in which the chart changes and goes, and what is left is counted."""

import json
import tarfile

from planned import planned
from tools import eventually, expect, say
from trivet import DATA_PLANE, NAMESPACE, RELEASE, condition

# Without these there would be nothing to judge.
SEEN = {"outside → router:8000", "router → node:7400", "router → memds:7300", "router → operator:7200", "node → node:7400", "node → memds:7300",
        "operator → node:7400", "operator → memds:7300", "operator → node:9600", "admin → node:7400", "node → kube-system:53", "router → kube-system:53"}


@planned
def the_chart_is_upgraded_and_its_definitions_too(story):
    """Helm leaves alone what is in crds/; the Job does not."""
    name = "clusters.trivet.dev"
    new, secret, pods = short_names(story, name), story.trivet.credentials(), story.trivet.pods_of_data_plane()
    old = [{"op": "replace", "path": "/spec/names/shortNames", "value": ["old"]}]
    story.kubernetes.kubectl("patch", "crd", name, "--type=json", "-p", json.dumps(old))
    story.trivet.upgrade({"operator.log": "debug"})
    expect(short_names(story, name) == new, f"short names after the upgrade: {short_names(story, name)}")
    expect(story.trivet.credentials() == secret, "the upgrade drew new credentials")
    story.trivet.until_ready()
    expect(story.trivet.pods_of_data_plane() == pods, "the data plane's Pods changed with the operator's log")
    story.under_load()


def short_names(story, definition):
    return story.kubernetes.get("crd", definition)["spec"]["names"]["shortNames"]


@planned
def an_uninstall_leaves_the_data_plane(story):
    trivet = story.trivet
    pods, claims, secret = trivet.pods_of_data_plane(), trivet.claims(), trivet.credentials()
    trivet.uninstall()
    # Helm waits for what it has installed, and not for the Pods of it.
    eventually("the operator is gone", lambda: not [pod for pod in trivet.pods("operator") if condition(pod, "Ready") == "True"])
    story.under_load()
    trivet.client().list_tables()
    expect(trivet.pods_of_data_plane() == pods, "Pods changed")
    expect(trivet.claims() == claims, "claims changed")
    trivet.install()
    trivet.until_whole()
    expect(trivet.credentials() == secret, "the second installation drew new credentials")
    expect(trivet.pods_of_data_plane() == pods, "the second installation changed Pods")
    story.under_load()


def nothing_that_was_acknowledged_is_lost(story):
    story.load.end()
    story.no_error()
    story.load.check(story.trivet.client())
    say(f"  {story.load.answered} writes, each read back; longest wait of one client: {story.load.longest_wait_s:.1f} s")


def the_data_plane_never_called_the_api_server(story):
    tried = story.firewall.packets()
    expect(not any(tried.values()), f"packets to the API server: {tried}")


def every_connection_is_one_that_a_policy_allows(story):
    """The tool's Kubernetes does not enforce policies, so that what they would have cut off is seen."""
    story.traffic.end()
    missing = SEEN - story.traffic.names(NAMESPACE)
    expect(not missing, f"connections that were not seen: {sorted(missing)}")
    forbidden = story.traffic.forbidden(NAMESPACE)
    expect(not forbidden, f"connections that no policy allows: {sorted(forbidden)}")


def a_bundle_tells_what_there_is(story):
    """By a person's kubeconfig, from outside: logs and metrics of every Pod, and nothing secret."""
    path = story.folder / "dump.tar.gz"
    story.admin("dump", "--namespace", NAMESPACE, "--out", path)
    with tarfile.open(path) as archive:
        files = {each.name.removeprefix("trivet-dump/"): archive.extractfile(each).read().decode() for each in archive.getmembers()}
    expect(not files["missing.txt"], files["missing.txt"])
    for component in (*DATA_PLANE, "operator"):
        for pod in story.trivet.pods(component):
            name = pod["metadata"]["name"]
            expect("# HELP " in files[f"metrics/{name}.txt"], f"no metrics of {name}")
            expect(any(file.startswith(f"logs/{name}/") for file in files), f"no log of {name}")
    _, secret = story.trivet.credentials()
    expect(not any(secret in text for text in files.values()), "credentials are in the bundle")


def a_teardown_removes_everything_and_nothing_else(story):
    """Said once, it lists; said twice, it removes. The operator stays, and has nothing to do."""
    words = ("teardown", "--namespace", NAMESPACE, "--cluster", RELEASE)
    refused = story.admin(*words, check=False)
    expect(story.trivet.claims(), f"it did not ask: {refused}")
    story.admin(*words, "--confirm", RELEASE)
    for what in ("clusters.trivet.dev", "tables.trivet.dev", "partitions.trivet.dev", "pvc"):
        expect(not story.trivet.get(what)["items"], f"{what} are left")
    expect(not any(story.trivet.pods(component) for component in DATA_PLANE), "Pods are left")
    eventually("the volumes are gone", lambda: not story.kubernetes.get("pv")["items"])
    expect(all(condition(pod, "Ready") == "True" for pod in story.trivet.pods("operator")), "the operator is not well")
