"""The cluster's authority, its certificates, and the kubeconfigs that carry them."""

import base64
import json

from layout import sh

# A cluster for tests does not get old.
DAYS = "30"
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
API_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost")


class Certificates:
    """`server` is where the API server answers."""

    def __init__(self, layout, server):
        self.layout = layout
        self.folder = layout.pki
        self.server = server

    def make(self, service_address):
        self.folder.mkdir(parents=True)
        sh("openssl", "req", "-x509", *KEY, "-days", DAYS, "-keyout", self.folder / "ca.key", "-out", self.folder / "ca.crt",
           "-subj", "/CN=trivet-cluster")
        sh("openssl", "genrsa", "-out", self.folder / "accounts.key", "2048")
        sh("openssl", "rsa", "-in", self.folder / "accounts.key", "-pubout", "-out", self.folder / "accounts.pub")
        names = [f"DNS:{name}" for name in API_NAMES] + [f"IP:{address}" for address in ("127.0.0.1", service_address, self.server)]
        self.certificate("apiserver", "/CN=kube-apiserver", names)
        self.certificate("kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client")
        self.kubeconfig("admin", "/O=system:masters/CN=kubernetes-admin")
        for role in ("controller-manager", "scheduler", "proxy"):
            self.kubeconfig(role, f"/CN=system:kube-{role}")

    def certificate(self, name, subject, names=()):
        key, request, made = (self.folder / f"{name}.{ending}" for ending in ("key", "csr", "crt"))
        extensions = self.folder / f"{name}.ext"
        lines = ["extendedKeyUsage=serverAuth,clientAuth", *(["subjectAltName=" + ",".join(names)] if names else [])]
        extensions.write_text("\n".join(lines) + "\n")
        sh("openssl", "req", *KEY, "-keyout", key, "-out", request, "-subj", subject)
        sh("openssl", "x509", "-req", "-in", request, "-CA", self.folder / "ca.crt", "-CAkey", self.folder / "ca.key", "-CAcreateserial",
           "-days", DAYS, "-extfile", extensions, "-out", made)
        return made, key

    def kubeconfig(self, name, subject):
        certificate, key = self.certificate(name, subject)
        context = self.layout.context
        cluster = {"server": f"https://{self.server}:6443", "certificate-authority-data": encoded(self.folder / "ca.crt")}
        user = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}
        path = self.layout.home / f"{name}.kubeconfig"
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": context,
            "clusters": [{"name": context, "cluster": cluster}],
            "users": [{"name": context, "user": user}],
            "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
        }))
        path.chmod(0o600)


def encoded(path):
    return base64.b64encode(path.read_bytes()).decode()
