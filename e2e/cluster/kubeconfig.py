"""The file that kubectl reads, which may be somebody's own and have other clusters in it."""

import os
import subprocess

from binaries import binaries
from layout import sh


def add(layout, target):
    """The new cluster becomes the current one; what else is in the file stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    files = [str(path) for path in (layout.kubeconfig, target) if path.exists()]
    merged = subprocess.run([binaries() / "kubectl", "config", "view", "--flatten"], check=True, stdout=subprocess.PIPE,
                            env={**os.environ, "KUBECONFIG": ":".join(files)}).stdout
    target.write_bytes(merged)
    target.chmod(0o600)


def forget(layout, target):
    if not target.exists():
        return
    kubectl = (binaries() / "kubectl", f"--kubeconfig={target}", "config")
    if layout.context in sh(*kubectl, "get-contexts", "-o", "name").split():
        if sh(*kubectl, "current-context", check=False).strip() == layout.context:
            sh(*kubectl, "unset", "current-context")
        for kind in ("context", "cluster", "user"):
            sh(*kubectl, f"delete-{kind}", layout.context)
