"""The tool itself: a cluster of three zones is made, loses power, forgets, remembers, and leaves nothing behind."""

import json
import os
import socket
import struct
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAME = "smoke"
ZONES = ("zone-a", "zone-b", "zone-c")
WORKERS = (f"{NAME}-worker", f"{NAME}-worker2", f"{NAME}-worker3")
PAUSE = "registry.k8s.io/pause:3.10"
DNS = "172.30.0.2"
VOLUME = "32Mi"
GROWN = "48Mi"


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))} failed ({done.returncode}):\n{done.stdout}")
    return done.stdout


def cluster(*words):
    return run(HERE / "cluster", *words, "--name", NAME)


def eventually(what, holds, seconds=120):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.3)


def pod(zone):
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": zone},
             "spec": {"accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": VOLUME}}}}
    container = {"name": "pause", "image": PAUSE, "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    runs = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": zone},
            "spec": {"nodeSelector": {"topology.kubernetes.io/zone": zone}, "containers": [container],
                     "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": zone}}]}}
    return json.dumps(claim) + "\n---\n" + json.dumps(runs)


def is_known(name):
    """Asks the cluster's DNS for an address, as a Pod would."""
    header = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0)
    words = b"".join(bytes([len(word)]) + word.encode() for word in name.split(".")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(2)
        try:
            asking.sendto(header + words + struct.pack(">HH", 1, 1), (DNS, 53))
            answers = struct.unpack(">H", asking.recv(512)[6:8])[0]
        except OSError:
            return False
    return answers > 0


def pod_networks():
    return set(Path("/run/netns").glob("cni-*"))


def traces():
    """What a cluster could leave on this machine."""
    lines = [line for command in (("ip", "netns"), ("ip", "-o", "link"), ("ip", "route")) for line in run(*command).splitlines()]
    lines += Path("/proc/self/mountinfo").read_text().splitlines()
    lines += [str(path) for top in ("/run/trivet-cluster", "/var/lib/trivet-cluster") for path in Path(top).glob("*")]
    lines += [str(path) for path in Path("/sys/fs/cgroup").glob("**/trivet-*")]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                lines.append((entry / "cmdline").read_text().replace("\0", " "))
            except (OSError, UnicodeDecodeError):
                pass
    words = (f"trivet-{NAME}", f"trivet-cluster/{NAME}", "trivet0", "172.30.0.", "10.244.")
    return [line for line in lines if any(word in line for word in words)]


class ACluster(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.pod_networks = pod_networks()
        cls.folder = tempfile.TemporaryDirectory()
        cls.kubeconfig = Path(cls.folder.name) / "kubeconfig"
        nodes = [{"role": "control-plane"}, *({"role": "worker", "labels": {"topology.kubernetes.io/zone": zone}} for zone in ZONES)]
        config = Path(cls.folder.name) / "kind.yaml"
        config.write_text(json.dumps({"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": nodes}))
        cls.kubeconfig.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "contexts": [{"name": "mine", "context": {}}]}))
        cls.binaries = Path(run(HERE / "cluster", "get", "binaries").splitlines()[-1])
        try:
            cluster("create", "cluster", "--config", config, "--kubeconfig", cls.kubeconfig)
        except AssertionError:
            cluster("delete", "cluster")
            raise

    @classmethod
    def tearDownClass(cls):
        cluster("delete", "cluster", "--kubeconfig", cls.kubeconfig)
        left = traces() + [str(path) for path in pod_networks() - cls.pod_networks]
        contexts = run(cls.binaries / "kubectl", f"--kubeconfig={cls.kubeconfig}", "config", "get-contexts", "-o", "name").split()
        left += [f"contexts {contexts}"] if contexts != ["mine"] else []
        cls.folder.cleanup()
        if left:
            raise AssertionError("the cluster left behind:\n" + "\n".join(left))

    def kubectl(self, *words, **options):
        return run(self.binaries / "kubectl", f"--kubeconfig={self.kubeconfig}", *words, **options)

    def status(self, kind, name, path):
        return self.kubectl("get", kind, name, "-o", f"jsonpath={path}")

    def ready(self, kind, name):
        return self.status(kind, name, "{.status.conditions[?(@.type=='Ready')].status}")

    def test_1_a_pod_with_a_volume_runs_in_each_zone(self):
        for zone in ZONES:
            self.kubectl("apply", "-f", "-", input=pod(zone))
        for zone in ZONES:
            self.kubectl("wait", "--for=condition=Ready", f"pod/{zone}", "--timeout=90s")
        placed = [self.status("pod", zone, "{.spec.nodeName}") for zone in ZONES]
        self.assertEqual(placed, list(WORKERS))
        addresses = [line.split() for line in cluster("get", "addresses").splitlines()]
        self.assertEqual([(name, zone) for name, _, zone in addresses], list(zip(WORKERS, ZONES)))
        internal = self.status("node", WORKERS[0], "{.status.addresses[?(@.type=='InternalIP')].address}")
        self.assertEqual(addresses[0][1], internal)
        self.assertIn(f" {internal}/", run(HERE / "cluster", "exec", "--name", NAME, WORKERS[0], "ip", "-o", "addr"))

    def test_2_a_claim_grows(self):
        wish = {"spec": {"resources": {"requests": {"storage": GROWN}}}}
        self.kubectl("patch", "pvc", ZONES[0], "--type=merge", "-p", json.dumps(wish))
        eventually("the claim is larger", lambda: self.status("pvc", ZONES[0], "{.status.capacity.storage}") == GROWN)

    def test_3_power_comes_back_with_the_volume_as_it_was(self):
        volume = self.status("pvc", ZONES[1], "{.spec.volumeName}")
        folder = Path(self.status("pv", volume, "{.spec.local.path}"))
        (folder / "kept").write_text("yes")
        cluster("power-off", WORKERS[1])
        eventually("the node is missed", lambda: self.ready("node", WORKERS[1]) != "True")
        cluster("power-on", WORKERS[1])
        eventually("the node is back", lambda: self.ready("node", WORKERS[1]) == "True")
        eventually("its Pod runs again", lambda: self.restarts(ZONES[1]) > 0 and self.ready("pod", ZONES[1]) == "True")
        self.assertEqual((folder / "kept").read_text(), "yes")

    def test_4_volumes_are_lost_both_ways(self):
        paths = {}
        for zone in ZONES[1:]:
            volume = self.status("pvc", zone, "{.spec.volumeName}")
            paths[zone] = Path(self.status("pv", volume, "{.spec.local.path}"))
            (paths[zone] / "lost").write_text("soon")
        cluster("power-off", WORKERS[1], "--volumes", "empty")
        cluster("power-off", WORKERS[2], "--volumes", "gone")
        self.assertEqual(list(paths[ZONES[1]].iterdir()), [])
        self.assertFalse(paths[ZONES[2]].exists())
        cluster("power-on", WORKERS[1], WORKERS[2])

    def test_5_the_api_server_and_dns_stop_and_start(self):
        cluster("stop", "api", "dns")
        silent = subprocess.run([self.binaries / "kubectl", f"--kubeconfig={self.kubeconfig}", "get", "nodes"], capture_output=True)
        self.assertNotEqual(silent.returncode, 0)
        self.assertFalse(is_known("kubernetes.default.svc.cluster.local"))
        cluster("start", "api", "dns")
        self.kubectl("get", "nodes")
        eventually("names are known again", lambda: is_known("kubernetes.default.svc.cluster.local"))

    def test_6_etcd_goes_back_to_a_snapshot(self):
        self.kubectl("create", "configmap", "before")
        saved = Path(self.folder.name) / "etcd"
        cluster("snapshot", saved)
        self.kubectl("create", "configmap", "after")
        cluster("restore", saved)
        names = self.kubectl("get", "configmaps", "-o", "name")
        self.assertIn("configmap/before", names)
        self.assertNotIn("configmap/after", names)

    def test_7_what_is_not_understood_is_refused(self):
        config = Path(self.folder.name) / "odd.yaml"
        config.write_text("nodes: [{role: worker, extraPortMappings: []}]")
        odd = subprocess.run([HERE / "cluster", "create", "cluster", "--name", "odd", "--config", config], capture_output=True, text=True)
        self.assertNotEqual(odd.returncode, 0)
        self.assertIn("extraPortMappings", odd.stderr)

    def restarts(self, name):
        return int(self.status("pod", name, "{.status.containerStatuses[0].restartCount}") or 0)


if __name__ == "__main__":
    if os.geteuid() != 0:
        raise SystemExit("needs root")
    unittest.main()
