"""Kubernetes' programs, etcd, CoreDNS and Helm: built from their Go modules once, then kept."""

import fcntl
import hashlib
import os

from layout import CACHE, HERE, say, sh

SOURCES = HERE / "kubernetes"
VERSION = "v1.34.4"
MAJOR, MINOR = "1", "34"
# All of these are one program, which does as the name says that it is called by. The last one stands for a folder that is whole.
NAMES = ("etcd", "coredns", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "provisioner", "kubectl")
# Program, package, what is written into it: without its version Helm takes the one it renders for to be 1.20.
PROGRAMS = (
    ("kubernetes", ".", {"k8s.io/component-base/version": {"gitVersion": VERSION, "gitMajor": MAJOR, "gitMinor": MINOR}}),
    ("helm", "helm.sh/helm/v3/cmd/helm", {
        f"helm.sh/helm/v3/pkg/{package}": {"k8sVersionMajor": MAJOR, "k8sVersionMinor": MINOR} for package in ("chartutil", "lint/rules")}),
)


def binaries():
    """The folder with the programs; another one for whatever they are built from."""
    sources = sorted(path for path in SOURCES.iterdir() if path.suffix in (".go", ".mod", ".sum"))
    content = b"".join(path.read_bytes() for path in sources) + repr(PROGRAMS).encode()
    home = CACHE / hashlib.sha256(content).hexdigest()[:16]
    if not (home / NAMES[-1]).exists():
        home.mkdir(parents=True, exist_ok=True)
        with open(home / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (home / NAMES[-1]).exists():
                build(home)
    return home


def build(home):
    say(f"building Kubernetes {VERSION} from its Go modules (once; about ten minutes on two cores)")
    for program, package, written in PROGRAMS:
        values = [f"-X {at}.{name}={value}" for at, names in written.items() for name, value in names.items()]
        flags = " ".join(("-s", "-w", *values))
        sh("go", "build", "-trimpath", f"-ldflags={flags}", "-o", home / program, package, cwd=SOURCES, env={**os.environ, "CGO_ENABLED": "0"})
    for name in NAMES:
        link = home / name
        link.unlink(missing_ok=True)
        link.symlink_to(PROGRAMS[0][0])
