"""The chapters about who is right: nodes hold the truth, and Kubernetes' objects follow it, whatever became of them."""

import json
import shutil
import threading

from beginning import BY_KUBECTL, BY_SDK
from botocore.exceptions import ClientError
from tools import Failed, Skipped, eventually, expect
from trivet import condition, conditions, create_table, put_and_read, read, table

BY_BOTH = "contested"
BORN_LATE = "born-late"
GONE_EARLY = "gone-early"
CHANGED = "changed"


def partition_objects_are_deleted_and_come_back(story):
    """Nodes have the partitions: their objects are made again."""
    ids, old = table_ids(story.trivet), uids(story.trivet.partitions())
    story.trivet.kubectl("delete", "partitions.trivet.dev", "--all", "--wait=false")
    partitions_are_back(story, ids, old)


def a_deleted_table_is_retained_and_returns(story):
    """Deleted by kubectl it is out of service, and nobody else may have its name; applied again it has its id and its items."""
    trivet, dynamodb = story.trivet, story.trivet.client()
    there = trivet.tables()[BY_SDK]
    trivet.kubectl("delete", "tables.trivet.dev", there["metadata"]["name"])
    for what, ask in (("read", lambda: read(dynamodb, BY_SDK, "first")), ("described", lambda: dynamodb.describe_table(TableName=BY_SDK))):
        eventually(f"it is not {what} any more", lambda ask=ask: refusal_code(ask) == "ResourceNotFoundException")
    expect(BY_SDK not in dynamodb.list_tables()["TableNames"], "it is listed by an SDK")
    expect(refusal_code(lambda: create_table(dynamodb, BY_SDK)) == "ResourceInUseException", "its name was given away")
    eventually("the Cluster lists it", lambda: trivet.cluster()["status"]["retainedTables"] == [BY_SDK])
    expect(BY_SDK not in trivet.tables(), "its object came back by itself")
    trivet.apply({**there, "metadata": {"name": there["metadata"]["name"]}, "status": {}})
    back = trivet.until_ready(f"tables.trivet.dev/{there['metadata']['name']}")
    expect(back["status"]["tableId"] == there["status"]["tableId"], "it has another id")
    eventually("it is read again", lambda: refusal_code(lambda: read(dynamodb, BY_SDK, "first")) is None)
    expect(read(dynamodb, BY_SDK, "first") == "order", "an item is lost")
    eventually("the Cluster lists it no more", lambda: not trivet.cluster()["status"].get("retainedTables"))
    story.under_load()


def refusal_code(ask):
    """DynamoDB's code of the refusal; none if it is answered."""
    try:
        ask()
    except ClientError as refused:
        return refused.response["Error"]["Code"]
    return None


def definitions_are_deleted_and_come_back(story):
    """With them go all Table and Partition objects, which is nobody's wish that a table goes out of service."""
    ids, old = table_ids(story.trivet), uids(story.trivet.partitions())
    story.kubernetes.kubectl("delete", "crd", "tables.trivet.dev", "partitions.trivet.dev")
    story.under_load()
    story.trivet.upgrade()
    eventually("all tables are back", lambda: table_ids(story.trivet) == ids, 180)
    partitions_are_back(story, ids, old)


def partitions_are_back(story, ids, old):
    trivet, wanted = story.trivet, len(old)
    eventually("all partitions are back", lambda: len(trivet.partitions()) == wanted and not old & uids(trivet.partitions()), 180)
    trivet.until_whole()
    expect(read(trivet.client(), BY_SDK, "first") == "order", "an item is lost")
    expect(table_ids(trivet) == ids, "a table has another id")
    story.under_load()


def uids(things):
    return {each["metadata"]["uid"] for each in things}


def table_ids(trivet):
    """Empty while one of them has no id yet."""
    ids = {name: each.get("status", {}).get("tableId", "") for name, each in trivet.tables().items()}
    return ids if all(ids.values()) else {}


def etcd_goes_back_in_time(story):
    """A table that etcd does not know yet is adopted; one that it knows still is never made from nothing; and of one that has changed
    meanwhile nothing older is applied before a person says so."""
    if not story.kubernetes.machine.remembers:
        raise Skipped("kind has no verb for it")
    dynamodb = story.trivet.client()
    create_table(dynamodb, GONE_EARLY)
    put_and_read(dynamodb, GONE_EARLY, "key", "of a table that is deleted")
    create_table(dynamodb, CHANGED)
    put_and_read(dynamodb, CHANGED, "key", "of a table that changes")
    saved = story.folder / "etcd"
    story.kubernetes.machine.snapshot(saved)
    create_table(dynamodb, BORN_LATE)
    put_and_read(dynamodb, BORN_LATE, "key", "of a table that etcd forgets")
    protect(dynamodb, CHANGED)
    dynamodb.delete_table(TableName=GONE_EARLY)
    dynamodb.get_waiter("table_not_exists").wait(TableName=GONE_EARLY, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    story.kubernetes.machine.restore(saved)
    shutil.rmtree(saved)
    # Nobody starts the operator anew: that its watches go on from a revision that is not there any more it notices by itself.
    eventually("the forgotten table is adopted", lambda: BORN_LATE in story.trivet.tables(), 180)
    expect(read(dynamodb, BORN_LATE, "key") == "of a table that etcd forgets", "an item is lost")
    eventually("the deleted table is called missing", lambda: is_missing(story.trivet), 180)
    try:
        there = dynamodb.describe_table(TableName=GONE_EARLY)
        raise Failed(f"a deleted table came back: {there}")
    except ClientError as refused:
        expect(refused.response["Error"]["Code"] == "ResourceNotFoundException", f"{refused}")
    story.trivet.kubectl("delete", "tables.trivet.dev", GONE_EARLY, "--wait=false")
    eventually("its object follows the nodes, or says that it does not", lambda: is_level(story.trivet) or is_diverged(story.trivet), 180)
    story.trivet.until_whole()
    expect(is_protected(dynamodb, CHANGED), "a table was silently set back")
    expect(read(dynamodb, CHANGED, "key") == "of a table that changes", "an item is lost")
    story.under_load()


def protect(dynamodb, name):
    dynamodb.update_table(TableName=name, DeletionProtectionEnabled=True)
    eventually(f"{name} is protected", lambda: is_protected(dynamodb, name))


def is_protected(dynamodb, name):
    told = dynamodb.describe_table(TableName=name)["Table"]
    return told["DeletionProtectionEnabled"] and told["TableStatus"] == "ACTIVE"


def is_level(trivet):
    table = trivet.tables()[CHANGED]
    return table["spec"].get("deletionProtectionEnabled", False) and condition(table, "Ready") == "True"


def is_diverged(trivet):
    """What to do about it is said."""
    said = [each["message"] for each in conditions(trivet.tables()[CHANGED]) if (each["type"], each["reason"]) == ("Blocked", "Diverged")]
    return any("confirm" in message for message in said)


def is_missing(trivet):
    return any(each["reason"] == "DataMissing" for each in conditions(trivet.tables().get(GONE_EARLY, {})))


def a_table_is_made_by_two_at_once(story):
    """kubectl and an SDK meet at one object: there is one table, whoever came first."""
    outcome = []

    def by_sdk():
        try:
            create_table(story.trivet.client(), BY_BOTH)
            outcome.append("made")
        except ClientError as refused:
            outcome.append(refused.response["Error"]["Code"])

    thread = threading.Thread(target=by_sdk)
    thread.start()
    applied = not story.trivet.refusal_of(table(BY_BOTH, 1))
    thread.join()
    expect(outcome[0] in ("made", "ResourceInUseException"), f"the SDK heard {outcome[0]}")
    expect(applied or outcome[0] == "made", "nobody made it")
    story.trivet.until_ready(f"tables.trivet.dev/{BY_BOTH}")
    put_and_read(story.trivet.client(), BY_BOTH, "key", "text")
    expect(len([name for name in story.trivet.tables() if name == BY_BOTH]) == 1, "there are two of them")


def a_protected_table_is_not_deleted(story):
    """Neither by an SDK nor by kubectl, whose wish stands until the protection is taken away."""
    trivet, dynamodb = story.trivet, story.trivet.client()
    dynamodb.update_table(TableName=BY_BOTH, DeletionProtectionEnabled=True)
    dynamodb.get_waiter("table_exists").wait(TableName=BY_BOTH, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    try:
        dynamodb.delete_table(TableName=BY_BOTH)
        raise Failed("a protected table was deleted")
    except ClientError as refused:
        expect(refused.response["Error"]["Code"] == "ValidationException", f"{refused}")
    trivet.kubectl("patch", "tables.trivet.dev", BY_BOTH, "--type=merge", "-p", json.dumps({"spec": {"deletionPolicy": "Delete"}}))
    trivet.kubectl("delete", "tables.trivet.dev", BY_BOTH, "--wait=false")
    eventually("the table says why it stays", lambda: trivet.says(trivet.tables()[BY_BOTH], "Blocked", "DeletionProtected"))
    expect(read(dynamodb, BY_BOTH, "key") == "text", "an item is lost")
    # As the sentence says.
    trivet.kubectl("patch", "tables.trivet.dev", BY_BOTH, "--type=merge", "-p", json.dumps({"spec": {"deletionProtectionEnabled": False}}))
    eventually("the table is gone", lambda: BY_BOTH not in trivet.tables() and BY_BOTH not in dynamodb.list_tables()["TableNames"])


def nonsense_is_refused_with_a_sentence(story):
    for what, wrong, sentence in (
        ("a key without a type", {"attributeDefinitions": []}, "attributeDefinitions"),
        ("a name that DynamoDB refuses", {"tableName": "a b"}, "a table's name has 3 to 255 characters"),
        ("no partitions", {"initialPartitions": 0}, "initialPartitions"),
    ):
        thing = table("nonsense", 1)
        thing["spec"].update(wrong)
        refused = story.trivet.refusal_of(thing)
        expect(refused and sentence in refused, f"{what}: {refused}")
    changed = table(BY_KUBECTL, 4)
    changed["spec"]["keySchema"] = [{"attributeName": "other", "keyType": "HASH"}]
    changed["spec"]["attributeDefinitions"] = [{"attributeName": "other", "attributeType": "S"}]
    refused = story.trivet.refusal_of(changed)
    expect(refused and "keySchema never changes" in refused, f"another key: {refused}")
