"""The chapters in which Trivet comes to be: installation, tables, first clients."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import ClientError
from firewall import Firewall
from load import Load, client
from machine import HOUSE
from tools import Failed, expect, run, say
from traffic import Traffic
from trivet import DATA_PLANE, IMAGE, NAMESPACE, create_table, put_and_read, table

BY_KUBECTL = "music"
# Kubernetes allows no such name: its object is called otherwise.
BY_SDK = "Orders"
PARTITIONS = 4
# What nodes want to have free, with what images and logs of the story take.
LEAST_FREE_BYTES = 12 << 30
# As the chart's values have it.
PRIORITY = 1_000_000
RIGHTS = (
    ("trivet-operator", "create", "pods", True),
    ("trivet-operator", "patch", "partitions.trivet.dev/status", True),
    ("trivet-operator", "get", "secrets", True),
    ("trivet-operator", "delete", "secrets", False),
    ("trivet-operator", "list", "secrets", False),
    ("trivet-operator", "watch", "secrets", False),
    ("trivet-operator", "create", "pods/exec", False),
    ("trivet-operator", "delete", "clusters.trivet.dev", False),
    ("trivet-operator", "patch", "nodes", False),
    ("trivet-operator", "delete", "nodes", False),
    ("trivet-operator", "delete", "persistentvolumes", False),
    ("trivet-operator", "patch", "customresourcedefinitions", False),
    ("trivet-operator", "create", "rolebindings", False),
    *((f"trivet-{component}", verb, thing, False) for component in DATA_PLANE for verb in ("get", "list") for thing in ("pods", "secrets")),
)


def a_cluster_of_three_zones_is_made(story):
    free = shutil.disk_usage("/var").free
    expect(free > LEAST_FREE_BYTES, f"{free >> 20} MiB of disk are free, and nodes take no new replicas with less than 10 GiB")
    story.kubernetes.machine.prepare()
    run(HOUSE / "e2e" / "image", story.binary, IMAGE)
    story.kubernetes.create()
    story.kubernetes.kubectl("cordon", story.kubernetes.spare())
    story.kubernetes.load(IMAGE)


def its_zones_are_cut_off_from_the_api_server(story):
    """And what connects to what is written down from now on."""
    story.firewall = Firewall(story.kubernetes)
    story.firewall.raise_everywhere()
    story.firewall.prove(IMAGE)
    story.traffic = Traffic(story.kubernetes)
    story.traffic.begin()


def the_chart_is_installed(story):
    begun = time.monotonic()
    story.trivet.install()
    story.trivet.until_ready()
    say(f"  ready {time.monotonic() - begun:.1f} s after helm install")


def every_pod_is_where_it_should_be(story):
    nodes = story.kubernetes.nodes()
    for component in DATA_PLANE:
        pods = story.trivet.pods(component)
        expect(len(pods) == 3, f"{len(pods)} Pods of {component}")
        for pod in pods:
            zone = pod["metadata"]["labels"]["trivet.dev/zone"]
            there = nodes[pod["spec"]["nodeName"]]["metadata"]["labels"]["topology.kubernetes.io/zone"]
            expect(zone == there, f"{pod['metadata']['name']} of {zone} runs in {there}")
            expect(pod["spec"].get("automountServiceAccountToken") is False, f"{pod['metadata']['name']} has a token")
            expect(pod["spec"].get("priority") == PRIORITY, f"{pod['metadata']['name']} has priority {pod['spec'].get('priority')}")


def every_pod_is_restricted(story):
    """The API server judges: of a namespace that is labelled it says which running Pods break the profile."""
    said = story.kubernetes.warnings("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
    expect(not said, said)
    for pod in story.trivet.get("pods")["items"]:
        for container in pod["spec"]["containers"]:
            expect(container["securityContext"].get("readOnlyRootFilesystem") is True, f"{pod['metadata']['name']} may write to its root")


def nobody_may_do_more_than_it_must(story):
    """Asked of the API server, which knows of every role there is."""
    def answer(right):
        account, verb, thing, _ = right
        kind, _, part = thing.partition("/")
        words = ("auth", "can-i", verb, kind, f"--subresource={part}", f"--as=system:serviceaccount:{NAMESPACE}:{account}", "--namespace", NAMESPACE)
        return right, story.kubernetes.kubectl(*words, check=False).strip()

    with ThreadPoolExecutor() as several_at_once:
        answers = list(several_at_once.map(answer, RIGHTS))
    for (account, verb, thing, may), said in answers:
        expect(said == ("yes" if may else "no"), f"may {account} {verb} {thing}? {said}")


def a_table_is_made_by_kubectl(story):
    begun = time.monotonic()
    story.trivet.apply(table(BY_KUBECTL, PARTITIONS))
    made = story.trivet.until_ready(f"tables.trivet.dev/{BY_KUBECTL}")
    say(f"  ready {time.monotonic() - begun:.1f} s after kubectl apply")
    expect(made["status"]["tableStatus"] == "ACTIVE", f"{made['status']}")
    status = story.trivet.client().describe_table(TableName=BY_KUBECTL)["Table"]["TableStatus"]
    expect(status == "ACTIVE", f"an SDK sees it {status}")
    ours = [each for each in story.trivet.partitions() if each["spec"]["tableRef"] == BY_KUBECTL]
    expect(len(ours) == PARTITIONS, f"{len(ours)} Partition objects")


def a_table_is_made_by_an_sdk(story):
    dynamodb = story.trivet.client()
    create_table(dynamodb, BY_SDK)
    put_and_read(dynamodb, BY_SDK, "first", "order")
    name = story.trivet.tables()[BY_SDK]["metadata"]["name"]
    expect(name != BY_SDK, f"its object is called {name}, which Kubernetes does not allow")
    story.trivet.until_ready(f"tables.trivet.dev/{name}")
    listed = dynamodb.list_tables()["TableNames"]
    expect(sorted(listed) == [BY_SDK, BY_KUBECTL], f"listed: {listed}")


def strangers_are_refused(story):
    key, _ = story.trivet.credentials()
    try:
        client(story.trivet.endpoint(), (key, "guessed")).list_tables()
    except ClientError as refused:
        expect(refused.response["Error"]["Code"] == "InvalidSignatureException", f"{refused}")
    else:
        raise Failed("a wrong secret was let in")


def clients_write_and_read_from_now_on(story):
    story.load = Load(story.trivet.endpoint(), story.trivet.credentials(), BY_KUBECTL)
    story.load.begin()
    story.under_load()
