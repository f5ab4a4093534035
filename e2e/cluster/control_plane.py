"""etcd, the API server, the controllers, DNS and the volumes' provisioner, in a network namespace of their own."""

import shutil

from binaries import binaries
from layout import sh, succeeds, wait
from network import CONTROL_ADDRESS, DNS_SERVICE, SERVICES

# How people call the parts that they may stop, and the role of each.
PARTS = {
    "etcd": "etcd",
    "api": "kube-apiserver",
    "controllers": "kube-controller-manager",
    "scheduler": "kube-scheduler",
    "dns": "coredns",
    "provisioner": "provisioner",
}

MANIFESTS = f"""
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: standard
  annotations: {{storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: trivet.dev/folders
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Delete
allowVolumeExpansion: true
---
apiVersion: v1
kind: Service
metadata: {{name: kube-dns, namespace: kube-system}}
spec:
  clusterIP: {DNS_SERVICE}
  ports: [{{name: dns, port: 53, protocol: UDP}}, {{name: dns-tcp, port: 53, protocol: TCP}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: kube-dns, namespace: kube-system, labels: {{kubernetes.io/service-name: kube-dns}}}}
addressType: IPv4
endpoints: [{{addresses: ["{CONTROL_ADDRESS}"]}}]
ports: [{{name: dns, port: 53, protocol: UDP}}, {{name: dns-tcp, port: 53, protocol: TCP}}]
"""

COREFILE = """.:53 {{
  bind {address}
  errors
  kubernetes cluster.local {{
    kubeconfig {kubeconfig}
    ttl 5
  }}
  cache 5
}}
"""


class ControlPlane:
    def __init__(self, layout, host, processes):
        self.layout = layout
        self.host = host
        self.processes = processes

    def create(self):
        for part in PARTS:
            self.start(part)
        self.kubectl("apply", "-f", "-", stdin=MANIFESTS)

    def start(self, part):
        """A part that runs goes on running."""
        role = PARTS[part]
        if self.processes.pid(role):
            return
        command = {
            "etcd": self.etcd, "api": self.api, "controllers": self.controllers, "scheduler": self.scheduler, "dns": self.dns,
            "provisioner": self.provisioner,
        }[part]()
        self.processes.start(role, *self.host.in_network(), *command)
        if part == "api":
            wait("the API server", self.answers, self.layout.logs)

    def stop(self, part):
        self.processes.stop(PARTS[part])

    def kubectl(self, *words, stdin=None):
        return sh(binaries() / "kubectl", f"--kubeconfig={self.layout.kubeconfig}", *words, input=stdin)

    def answers(self):
        return succeeds(binaries() / "kubectl", f"--kubeconfig={self.layout.kubeconfig}", "get", "--raw", "/readyz")

    # What was remembered, and what comes back: etcd at rest is its folder.

    def snapshot(self, target):
        self.at_rest(lambda: shutil.copytree(self.layout.etcd, target))

    def restore(self, source):
        def bring_back():
            shutil.rmtree(self.layout.etcd)
            shutil.copytree(source, self.layout.etcd)
        self.at_rest(bring_back)

    def at_rest(self, act):
        """Everybody who remembers what the API server said starts anew: its revisions may go back."""
        for part in reversed(PARTS):
            self.stop(part)
        act()
        for part in PARTS:
            self.start(part)

    # The command of each part.

    def etcd(self):
        client, neighbour = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
        # Its disk is this machine's, which does not lose power when a test says so: no sync.
        return (binaries() / "etcd", "--data-dir", self.layout.etcd, f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
                f"--listen-peer-urls={neighbour}", "--unsafe-no-fsync", "--log-level=warn")

    def api(self):
        pki = self.layout.pki
        return (
            binaries() / "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", "--bind-address=0.0.0.0", "--secure-port=6443",
            f"--advertise-address={CONTROL_ADDRESS}", f"--service-cluster-ip-range={SERVICES}", "--allow-privileged=true",
            "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--enable-aggregator-routing=true",
            "--kubelet-preferred-address-types=InternalIP", f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key",
            f"--kubelet-client-certificate={pki}/kubelet-client.crt", f"--kubelet-client-key={pki}/kubelet-client.key",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-signing-key-file={pki}/accounts.key", f"--service-account-key-file={pki}/accounts.pub", "--v=1",
        )

    def controllers(self):
        pki = self.layout.pki
        return (
            binaries() / "kube-controller-manager", f"--kubeconfig={self.layout.home}/controller-manager.kubeconfig", "--leader-elect=false",
            "--use-service-account-credentials=true", f"--root-ca-file={pki}/ca.crt",
            f"--service-account-private-key-file={pki}/accounts.key", "--node-monitor-grace-period=20s", "--bind-address=127.0.0.1",
        )

    def scheduler(self):
        kubeconfig = f"--kubeconfig={self.layout.home}/scheduler.kubeconfig"
        return (binaries() / "kube-scheduler", kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1")

    def dns(self):
        corefile = self.layout.home / "Corefile"
        corefile.write_text(COREFILE.format(address=CONTROL_ADDRESS, kubeconfig=self.layout.kubeconfig))
        return (binaries() / "coredns", "-conf", corefile)

    def provisioner(self):
        return (binaries() / "provisioner", f"--kubeconfig={self.layout.kubeconfig}", f"--volumes={self.layout.volumes}")
