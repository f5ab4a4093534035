"""Trivet on Kubernetes, as its people handle it: the chart, its objects, what nodes say, a client of its API."""

import base64
import configparser
import json

from botocore.config import Config
from kubernetes import OPERATOR_PART
from load import client
from machine import HOUSE
from tools import eventually, expect, finish

NAMESPACE = "databases"
RELEASE = "demo"
IMAGE = "trivet:e2e"
NODE_PORT = 30800
CHART = HOUSE / "charts" / "trivet"
ZONES = ("zone-a", "zone-b", "zone-c")
DATA_PLANE = ("node", "router", "memds")
# Where every Pod has its certificates.
FOLDER = "/etc/trivet/tls"
TOOLBOX = f"deployment/{RELEASE}-toolbox"
# The shortest that is allowed: what is gone for good is to be replaced while the story is told.
REPLACE_AFTER_S = 30
LOST_AFTER_S = 60


class Trivet:
    def __init__(self, kubernetes):
        self.kubernetes = kubernetes
        self.image = IMAGE
        self.nodes_per_zone = 1
        self.zones = ZONES
        self.size = "2Gi"
        # Values that stay as a chapter has set them.
        self.settings = {}

    # The chart.

    def values(self, more):
        repository, tag = self.image.split(":")
        label, part = OPERATOR_PART
        spec = "cluster.spec"
        values = {
            "image.repository": repository, "image.tag": tag, "toolbox.create": "true",
            **{f"{who}.nodeSelector." + label.replace(".", "\\."): part for who in ("operator", "toolbox")},
            f"{spec}.storage.size": self.size, f"{spec}.storage.lostAfterSeconds": LOST_AFTER_S, f"{spec}.node.replaceAfterSeconds": REPLACE_AFTER_S,
            f"{spec}.node.shareKubernetesNodes": "true",
            f"{spec}.routers.service.type": "NodePort", f"{spec}.routers.service.nodePort": NODE_PORT, **self.settings, **more,
        }
        for index, zone in enumerate(self.zones):
            values[f"{spec}.zones[{index}].name"] = zone
            values[f"{spec}.zones[{index}].nodes"] = self.nodes_per_zone
        return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]

    def install(self, more=None):
        self.helm("install", RELEASE, CHART, "--create-namespace", *self.values(more or {}), "--wait", "--timeout", "3m")

    def upgrade(self, more=None):
        self.helm("upgrade", RELEASE, CHART, *self.values(more or {}), "--wait", "--timeout", "3m")

    def uninstall(self):
        self.helm("uninstall", RELEASE, "--wait")

    def helm(self, *words):
        self.kubernetes.helm(*words, "--namespace", NAMESPACE)

    # Its objects.

    def kubectl(self, *words, check=True):
        return self.kubernetes.kubectl("-n", NAMESPACE, *words, check=check)

    def get(self, *words):
        return self.kubernetes.get("-n", NAMESPACE, *words)

    def apply(self, thing):
        self.kubernetes.apply({**thing, "metadata": {**thing["metadata"], "namespace": NAMESPACE}})

    def refusal_of(self, thing):
        """The sentence with which the API server refuses it; nothing if it does not."""
        there = {**thing, "metadata": {**thing["metadata"], "namespace": NAMESPACE}}
        done = finish((*self.kubernetes.command("kubectl"), "apply", "-f", "-"), json.dumps(there), 60)
        return done.stderr if done.returncode != 0 else ""

    def pods(self, component):
        return self.get("pods", "-l", f"app.kubernetes.io/component={component}")["items"]

    def pods_of_data_plane(self):
        """Component → the Pods' uids."""
        return {component: sorted(pod["metadata"]["uid"] for pod in self.pods(component)) for component in DATA_PLANE}

    def ready_node_pods(self):
        return [pod for pod in self.pods("node") if condition(pod, "Ready") == "True" and "deletionTimestamp" not in pod["metadata"]]

    def claims(self):
        """Name → uid."""
        return {each["metadata"]["name"]: each["metadata"]["uid"] for each in self.get("pvc")["items"]}

    def cluster(self):
        return self.get("clusters.trivet.dev", RELEASE)

    @staticmethod
    def says(thing, kind, reason):
        return any((each["type"], each["status"], each["reason"]) == (kind, "True", reason) for each in conditions(thing))

    def tables(self):
        """DynamoDB's name → object."""
        return {each["spec"]["tableName"]: each for each in self.get("tables.trivet.dev")["items"]}

    def partitions(self):
        return self.get("partitions.trivet.dev")["items"]

    def until_ready(self, what=f"clusters.trivet.dev/{RELEASE}", seconds=180):
        """The object, once it is ready and says so of its newest spec."""
        def ready():
            thing = self.get(what)
            newest = thing.get("status", {}).get("observedGeneration") == thing["metadata"]["generation"]
            return newest and condition(thing, "Ready") == "True" and thing
        return eventually(f"{what} is ready", ready, seconds)

    def until_at_rest(self, seconds=180):
        """Nothing is left to be done, for nodes, routers and MemDS."""
        eventually("nothing goes on", lambda: condition(self.until_ready(), "Progressing") == "False", seconds)

    # What Pods say themselves.

    def metrics(self, pod):
        """As Prometheus reads them."""
        return self.kubectl("get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}:9600/proxy/metrics")

    def until_whole(self, seconds=300):
        """Every partition has its leader and, in three zones, three replicas that are level; Kubernetes' objects say so, too."""
        eventually("all partitions are whole", self.is_whole, seconds)
        self.until_ready(seconds=seconds)

    def is_whole(self):
        """`trivet admin groups`, asked in a node's Pod: a line for each partition, below it one for each replica, and the leader's view."""
        pods = self.ready_node_pods()
        if len(pods) != self.nodes_per_zone * len(self.zones):
            return False
        groups = []
        for line in self.admin("groups").splitlines():
            if line.startswith(" "):
                groups[-1].append(line.split())
            else:
                groups.append([])
        return groups and all(is_whole_group(lines) for lines in groups)

    def admin(self, *words):
        """`trivet admin`, in the toolbox: from outside nobody reaches the nodes, and they listen to no one without its certificate."""
        addresses = ",".join(f"{pod['status']['podIP']}:7400" for pod in self.ready_node_pods())
        return self.in_toolbox("trivet", "admin", "--nodes", addresses, *words)

    def in_toolbox(self, *words):
        return self.kubectl("exec", TOOLBOX, "--", *words)

    # Its API.

    def credentials(self):
        name = self.cluster()["spec"]["credentialsSecret"]["name"]
        parsed = configparser.ConfigParser()
        parsed.read_string(base64.b64decode(self.get("secret", name)["data"]["credentials"]).decode())
        return parsed["default"]["aws_access_key_id"], parsed["default"]["aws_secret_access_key"]

    def endpoint(self):
        return f"http://{self.kubernetes.operator_address()}:{NODE_PORT}"

    def client(self):
        """A patient one: an operation that was given up and sent again may meet itself."""
        return client(self.endpoint(), self.credentials(), Config(connect_timeout=2, read_timeout=30))


def is_whole_group(lines):
    """`replica 1 on node … in zone-a leads, term …`, and of the leader `whole, for … s`, or what a replica lacks."""
    replicas = [line for line in lines if line[0] == "replica" and line[2:4] == ["on", "node"]]
    zones = {line[line.index("in") + 1] for line in replicas}
    return len(replicas) == 3 and len(zones) == 3 and sum("leads," in line for line in replicas) == 1 and ["whole,"] in [line[:1] for line in lines]


def conditions(thing):
    return thing.get("status", {}).get("conditions", [])


def condition(thing, kind):
    return next((each["status"] for each in conditions(thing) if each["type"] == kind), None)


def claim_of(pod):
    return next(volume["persistentVolumeClaim"]["claimName"] for volume in pod["spec"]["volumes"] if "persistentVolumeClaim" in volume)


def table(name, partitions):
    """A Table with one key, `pk`."""
    return {
        "apiVersion": "trivet.dev/v1alpha1", "kind": "Table", "metadata": {"name": name},
        "spec": {
            "tableName": name, "clusterRef": RELEASE, "initialPartitions": partitions,
            "attributeDefinitions": [{"attributeName": "pk", "attributeType": "S"}],
            "keySchema": [{"attributeName": "pk", "keyType": "HASH"}],
        },
    }


def create_table(dynamodb, name):
    dynamodb.create_table(
        TableName=name, KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}], BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    expect(dynamodb.describe_table(TableName=name)["Table"]["TableStatus"] == "ACTIVE", f"{name} is not ACTIVE")


def put_and_read(dynamodb, name, key, text):
    dynamodb.put_item(TableName=name, Item={"pk": {"S": key}, "text": {"S": text}})
    expect(read(dynamodb, name, key) == text, f"{key} of {name} is not what was written")


def read(dynamodb, name, key):
    item = dynamodb.get_item(TableName=name, Key={"pk": {"S": key}}, ConsistentRead=True).get("Item")
    return item["text"]["S"] if item else None
