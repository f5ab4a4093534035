"""The chapters in which every object of ours is deleted and applied again. What nothing deletes is the volumes: nodes come back on them, and
have everything."""

from beginning import BY_SDK
from tools import eventually, expect
from trivet import CHART, DATA_PLANE, RELEASE, read
from truth import table_ids

DEFINITIONS = ("clusters.trivet.dev", "tables.trivet.dev", "partitions.trivet.dev")
# What somebody writes; everything else in an object's metadata is Kubernetes' own.
WRITTEN = ("name", "namespace", "labels", "annotations")


def everything_is_deleted_and_applied_again(story):
    """Tables, Cluster, credentials, then the definitions. With the Cluster go its Pods, whose owner it is, and nothing is served; the claims
    stay, which nobody owns. The order of the way back is the chart's: definitions, Cluster, and then, by hand, the Tables."""
    trivet = story.trivet
    saved, ids, claims = save(trivet), table_ids(trivet), trivet.claims()
    rest(story)
    trivet.kubectl("delete", "tables.trivet.dev", "--all")
    eventually("all tables are retained", lambda: retained(trivet) == sorted(ids))
    cluster_goes(story)
    trivet.kubectl("delete", "secret", saved["credentials"]["metadata"]["name"])
    story.kubernetes.kubectl("delete", "crd", *DEFINITIONS)
    expect(trivet.claims() == claims, "a claim went with an object")
    trivet.apply(saved["credentials"])
    definitions_are_applied(story)
    trivet.upgrade()
    eventually("the Cluster lists what is retained", lambda: retained(trivet) == sorted(ids), 300)
    expect(not trivet.tables(), f"tables that are out of service came back by themselves: {sorted(trivet.tables())}")
    apply_tables(trivet, saved)
    is_as_before(story, ids, claims)


def everything_is_deleted_the_cluster_first(story):
    """Its Tables cannot be seen to without it: who deletes them, or the definitions, waits for nobody, and no table goes out of service by
    that. The Cluster comes back first, too."""
    trivet = story.trivet
    saved, ids, claims = save(trivet), table_ids(trivet), trivet.claims()
    rest(story)
    cluster_goes(story)
    story.kubernetes.kubectl("delete", "crd", *DEFINITIONS, "--timeout=120s")
    expect(trivet.claims() == claims, "a claim went with an object")
    definitions_are_applied(story)
    trivet.upgrade()
    apply_tables(trivet, saved)
    is_as_before(story, ids, claims)


def save(trivet):
    """As somebody does who keeps it in files."""
    cluster = trivet.cluster()
    secret = trivet.get("secret", cluster["spec"]["credentialsSecret"]["name"])
    return {"cluster": bare(cluster), "tables": [bare(table) for table in trivet.tables().values()], "credentials": bare(secret)}


def bare(thing):
    metadata = {name: value for name, value in thing["metadata"].items() if name in WRITTEN}
    return {**{name: value for name, value in thing.items() if name != "status"}, "metadata": metadata}


def retained(trivet):
    return sorted(trivet.cluster().get("status", {}).get("retainedTables", []))


def apply_tables(trivet, saved):
    for table in saved["tables"]:
        trivet.apply(table)


def rest(story):
    """Nobody is served for a while: the clients wait, and what they were promised is judged before and after."""
    story.load.end()
    story.no_error()
    story.load.check(story.trivet.client())


def cluster_goes(story):
    trivet = story.trivet
    trivet.kubectl("delete", "clusters.trivet.dev", RELEASE)
    eventually("its Pods are gone", lambda: not any(trivet.pods(component) for component in DATA_PLANE), 180)


def definitions_are_applied(story):
    """By hand: before its hooks, Helm asks for the kinds of all that it has installed, and goes no further where one is missing."""
    story.kubernetes.kubectl("apply", "--server-side", "-f", CHART / "crds")


def is_as_before(story, ids, claims):
    """The same nodes, on their claims, with the same tables and every item."""
    trivet = story.trivet
    trivet.until_whole()
    for table in trivet.tables().values():
        trivet.until_ready(f"tables.trivet.dev/{table['metadata']['name']}")
    expect(table_ids(trivet) == ids, f"tables are {table_ids(trivet)}, and were {ids}")
    expect(trivet.claims() == claims, f"claims are {trivet.claims()}, and were {claims}")
    expect(not retained(trivet), f"tables are out of service: {retained(trivet)}")
    dynamodb = trivet.client()
    eventually("every table is listed", lambda: sorted(dynamodb.list_tables()["TableNames"]) == sorted(ids))
    expect(read(dynamodb, BY_SDK, "first") == "order", "an item is lost")
    story.load.check(dynamodb)
    story.load.begin()
    story.under_load()
