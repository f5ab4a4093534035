"""The chart, as Helm renders it: what is in it, what Pods may do, who may talk to whom, which values are refused."""

import base64
import json
import re
import unittest

import yaml
from chart import CHART, HOUSE, NAMESPACE, RELEASE, of_kind, one, pod_specs, policies, render, run, template
from policies import Pod, may_connect

SPEC = {"zones": [{"name": "eu-1", "nodes": 2}, {"name": "eu-2"}, {"name": "eu-3", "nodes": 4}],
        "storage": {"class": "fast", "size": "20Gi"}}
OTHER = "other"
VARIANTS = {
    "as it comes": {},
    "nothing optional": {"priorityClass": {"create": False}, "networkPolicies": {"create": False}, "cluster": {"create": False}},
    "everything optional": {
        "serviceMonitor": {"create": True, "labels": {"team": "storage"}}, "toolbox": {"create": True, "tolerations": [{"operator": "Exists"}]},
        "prometheusRule": {"create": True, "labels": {"team": "storage"}},
        "networkPolicies": {"alsoFor": [OTHER], "apiServer": {"cidrs": ["10.0.0.1/32"]}},
        "operator": {"nodeSelector": {"disk": "none"}, "tolerations": [{"operator": "Exists"}], "affinity": {"nodeAffinity": {}}},
        "cluster": {"spec": SPEC},
    },
}


class WhatIsInIt(unittest.TestCase):
    def test_helm_finds_nothing_to_complain_about(self):
        for name, values in VARIANTS.items():
            done = run("lint", "--strict", CHART, values=values)
            self.assertEqual(done.returncode, 0, f"{name}: {done.stdout}{done.stderr}")

    def test_every_object_is_said_once_and_well_named(self):
        for values in VARIANTS.values():
            seen = set()
            for thing in render(values):
                key = (thing["kind"], thing["metadata"]["name"])
                self.assertNotIn(key, seen)
                seen.add(key)
                self.assertEqual(thing["metadata"]["labels"]["app.kubernetes.io/name"], "trivet", key)

    def test_the_chart_has_the_version_of_the_program(self):
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        version = re.search(r'^version = "(.*)"', (HOUSE / "Cargo.toml").read_text(), re.MULTILINE).group(1)
        self.assertEqual((chart["version"], chart["appVersion"]), (version, version))

    def test_values_are_the_cluster_s_spec_field_by_field(self):
        cluster = one(render({"cluster": {"spec": {**SPEC, "credentialsSecret": {"name": "mine"}, "paused": True}}}), "Cluster", RELEASE)
        self.assertEqual(cluster["spec"], {
            **SPEC, "storage": {**SPEC["storage"], "lostAfterSeconds": 900}, "zoneMode": "Labelled", "credentialsSecret": {"name": "mine"},
            "paused": True, "region": "us-east-1", "defaultPartitions": 1, "tls": {"mode": "Own"},
            "image": "trivet:0.1.0", "imagePullPolicy": "IfNotPresent", "priorityClassName": f"{NAMESPACE}-{RELEASE}"})
        self.assertNotIn("priorityClassName", one(render({"priorityClass": {"create": False}}), "Cluster", RELEASE)["spec"])

    def test_the_schema_of_values_has_the_fields_of_the_cluster_s_spec(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        crd = yaml.safe_load((CHART / "crds" / "clusters.trivet.dev.yaml").read_text())
        spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        self.same_fields(schema, schema["definitions"]["clusterSpec"], spec, "spec")

    def same_fields(self, schema, ours, theirs, path):
        if "$ref" in ours:
            ours = schema["definitions"][ours["$ref"].rsplit("/", 1)[1]]
        if path.endswith("resources"):
            # Kubernetes' own type; of its fields only claims is left out, which is for devices.
            return
        if "items" in theirs:
            return self.same_fields(schema, ours["items"], theirs["items"], path + "[]")
        self.assertEqual(set(ours.get("properties", {})), set(theirs.get("properties", {})), path)
        for name, field in theirs.get("properties", {}).items():
            self.same_fields(schema, ours["properties"][name], field, f"{path}.{name}")

    def test_definitions_of_resources_are_those_of_the_program(self):
        names = sorted(path.name for path in (HOUSE / "crds").glob("*.yaml"))
        self.assertEqual(names, sorted(path.name for path in (CHART / "crds").glob("*.yaml")))
        self.assertEqual(len(names), 3)
        for name in names:
            self.assertEqual((HOUSE / "crds" / name).read_text(), (CHART / "crds" / name).read_text(), name)

    def test_definitions_are_brought_up_to_date_before_anything_uses_them(self):
        things = render()
        job = one(things, "Job", f"{RELEASE}-crds")
        notes = job["metadata"]["annotations"]
        self.assertEqual(set(notes["helm.sh/hook"].split(",")), {"pre-install", "pre-upgrade"})
        pod = job["spec"]["template"]["spec"]
        operator = one(things, "Deployment", f"{RELEASE}-operator")["spec"]["template"]["spec"]
        self.assertEqual(pod["containers"][0]["image"], operator["containers"][0]["image"])
        self.assertEqual(pod["containers"][0]["args"], ["operator", "crds", "--apply"])
        for kind, name in [("ServiceAccount", pod["serviceAccountName"]), ("ClusterRole", f"{NAMESPACE}-{RELEASE}-crds"),
                           ("ClusterRoleBinding", f"{NAMESPACE}-{RELEASE}-crds")]:
            needed = one(things, kind, name)["metadata"]["annotations"]
            self.assertEqual(needed["helm.sh/hook"], notes["helm.sh/hook"])
            self.assertLess(int(needed["helm.sh/hook-weight"]), int(notes["helm.sh/hook-weight"]))

    def test_what_the_data_plane_needs_outlives_an_uninstall(self):
        things = render()
        needed = [("Cluster", RELEASE), ("Secret", f"{RELEASE}-credentials"), ("PriorityClass", f"{NAMESPACE}-{RELEASE}"),
                  *(("ServiceAccount", f"trivet-{name}") for name in ("node", "router", "memds")),
                  *(("NetworkPolicy", f"{RELEASE}-{name}") for name in ("deny", "node", "router", "memds", "admin"))]
        for kind, name in needed:
            self.assertEqual(one(things, kind, name)["metadata"]["annotations"]["helm.sh/resource-policy"], "keep", name)

    def test_a_secret_is_made_where_none_is_named(self):
        text = base64.b64decode(one(render(), "Secret", f"{RELEASE}-credentials")["data"]["credentials"]).decode()
        self.assertRegex(text, r"^\[default\]\naws_access_key_id = trivet\naws_secret_access_key = [A-Za-z0-9]{40}\n$")
        self.assertEqual(of_kind(render({"cluster": {"spec": {"credentialsSecret": {"name": "mine"}}}}), "Secret"), [])

    def test_the_operators_arguments_name_its_place_and_who_it_is(self):
        deployment = one(render({"image": {"repository": "example.org/trivet", "tag": "7"}}), "Deployment", f"{RELEASE}-operator")
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        self.assertEqual(container["args"], [
            "operator", "--namespace", NAMESPACE, "--listen", "0.0.0.0:7200", "--metrics-listen", "0.0.0.0:9600",
            "--identity", "$(POD_NAME)"])
        self.assertEqual(container["env"][0], {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
        self.assertEqual(container["image"], "example.org/trivet:7")

    def test_several_operators_take_turns_and_one_may_write_their_lease(self):
        deployment = one(render({"operator": {"replicas": 3}}), "Deployment", f"{RELEASE}-operator")
        self.assertEqual(deployment["spec"]["replicas"], 3)
        # One that comes waits for the lease of one that goes: that both are there for a while is no harm, and leaves no gap.
        self.assertEqual(deployment["spec"]["strategy"], {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
        rules = [rule for rule in one(render(), "Role", f"{RELEASE}-operator")["rules"] if "leases" in rule["resources"]]
        self.assertEqual([(rule.get("resourceNames"), rule["verbs"]) for rule in rules],
                         [(None, ["create"]), (["trivet-operator"], ["get", "update"])])

    def test_the_operator_is_found_by_the_services_that_it_makes_itself(self):
        pod = one(render(), "Deployment", f"{RELEASE}-operator")["spec"]["template"]
        wanted = {"app.kubernetes.io/name": "trivet", "app.kubernetes.io/component": "operator"}
        self.assertLessEqual(wanted.items(), pod["metadata"]["labels"].items())
        ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
        self.assertEqual(ports, {"control": 7200, "metrics": 9600})

    def test_prometheus_finds_the_metrics(self):
        things = render({"serviceMonitor": {"create": True}})
        monitor, service = of_kind(things, "ServiceMonitor")[0], one(things, "Service", f"{RELEASE}-metrics")
        self.assertLessEqual(monitor["spec"]["selector"]["matchLabels"].items(), service["metadata"]["labels"].items())
        self.assertEqual(monitor["spec"]["endpoints"][0]["port"], service["spec"]["ports"][0]["name"])
        self.assertEqual(of_kind(render(), "ServiceMonitor"), [])

    def test_the_toolbox_has_what_trivet_admin_needs(self):
        for mode, tls in {"Own": True, "None": False}.items():
            things = render({"toolbox": {"create": True}, "cluster": {"spec": {"tls": {"mode": mode}}}})
            pod = one(things, "Deployment", f"{RELEASE}-toolbox")["spec"]["template"]
            self.assertEqual(pod["metadata"]["labels"]["trivet.dev/cluster"], RELEASE)
            container = pod["spec"]["containers"][0]
            env = {each["name"]: each["value"] for each in container["env"]}
            self.assertEqual(env["TRIVET_ADMIN_NODES"], f"{RELEASE}-nodes:7400")
            self.assertEqual(env.get("TRIVET_ADMIN_TLS"), container["volumeMounts"][0]["mountPath"] if tls else None)
            secrets = [volume["secret"]["secretName"] for volume in pod["spec"].get("volumes", [])]
            self.assertEqual(secrets, [f"{RELEASE}-tls-admin"] if tls else [])
        self.assertNotIn(f"{RELEASE}-toolbox", [each["metadata"]["name"] for each in of_kind(render(), "Deployment")])

    def test_an_alarm_tells_of_certificates_that_nobody_renews(self):
        rule = one(render({"prometheusRule": {"create": True}}), "PrometheusRule", RELEASE)["spec"]["groups"][0]["rules"][0]
        self.assertIn(f'trivet_certificate_days_left{{namespace="{NAMESPACE}"}}) < 30', rule["expr"])
        self.assertIn("{{ $labels.certificate }}", rule["annotations"]["summary"])
        self.assertEqual(of_kind(render(), "PrometheusRule"), [])


class WhatPodsMayDo(unittest.TestCase):
    def test_every_pod_is_restricted(self):
        for name, values in VARIANTS.items():
            pods = pod_specs(render(values))
            self.assertEqual(len(pods), 3 if "toolbox" in values else 2, name)
            for who, spec in pods.items():
                with self.subTest(name, who=who):
                    self.is_restricted(spec)

    def is_restricted(self, spec):
        """Pod Security "restricted", and a root file system that cannot be written."""
        for field in ("hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"):
            self.assertNotIn(field, spec)
        self.assertEqual([volume["name"] for volume in spec.get("volumes", []) if "secret" not in volume], [])
        security = spec["securityContext"]
        self.assertIs(security["runAsNonRoot"], True)
        self.assertEqual(security["runAsUser"], 65532)
        self.assertEqual(security["seccompProfile"], {"type": "RuntimeDefault"})
        self.assertNotIn("sysctls", security)
        for container in spec["containers"]:
            self.assertEqual(container["securityContext"], {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}})
            self.assertFalse(any("hostPort" in port for port in container.get("ports", [])))
            self.assertIn("memory", container["resources"]["limits"])

    def test_only_operator_and_job_have_a_token(self):
        for account in of_kind(render(), "ServiceAccount"):
            self.assertIs(account["automountServiceAccountToken"], False, account["metadata"]["name"])
        for who, spec in pod_specs(render()).items():
            self.assertIs(spec["automountServiceAccountToken"], True, who)

    def test_roles_say_what_they_mean(self):
        for role in (thing for thing in render() if thing["kind"] in ("Role", "ClusterRole")):
            for rule in role["rules"]:
                words = {*rule["verbs"], *rule["resources"], *rule["apiGroups"]}
                self.assertNotIn("*", words)
                self.assertFalse(words & {"bind", "escalate", "impersonate", "pods/exec", "pods/attach", "serviceaccounts/token"}, rule)
                if "secrets" in rule["resources"]:
                    self.assertLessEqual(set(rule["verbs"]), {"get", "create", "patch"}, rule)

    def test_outside_its_namespace_the_operator_looks_only(self):
        rules = one(render(), "ClusterRole", f"{NAMESPACE}-{RELEASE}-operator")["rules"]
        may = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
        looks = {(resource, verb) for resource in ("nodes", "persistentvolumes", "storageclasses") for verb in ("get", "list", "watch")}
        self.assertEqual(may, looks | {("customresourcedefinitions", "get")})

    def test_roles_are_bound_to_the_operator_alone(self):
        for binding in (thing for thing in render() if thing["kind"] in ("RoleBinding", "ClusterRoleBinding")):
            names = [subject["name"] for subject in binding["subjects"]]
            self.assertEqual(names, [f"{RELEASE}-crds" if binding["metadata"]["name"].endswith("crds") else "trivet-operator"])


def pod(component, cluster=RELEASE, zone="zone-a"):
    labels = {"app.kubernetes.io/name": "trivet", "app.kubernetes.io/component": component}
    if component in ("operator", "crds"):
        return Pod({**labels, "app.kubernetes.io/instance": RELEASE}, NAMESPACE)
    return Pod({**labels, "app.kubernetes.io/instance": cluster, "trivet.dev/cluster": cluster, "trivet.dev/zone": zone}, NAMESPACE)


OURS = {name: pod(name) for name in ("node", "router", "memds", "operator", "crds", "admin")}
STRANGERS = {
    "a neighbour": Pod({"app": "shop"}, NAMESPACE),
    "a stranger": Pod({"app": "shop"}, "shops"),
    "a stranger that calls itself node": Pod(OURS["node"].labels, "shops"),
    "prometheus": Pod({"app": "prometheus"}, "monitoring"),
    "dns": Pod({"k8s-app": "kube-dns"}, "kube-system"),
    # No Pod in most clusters; if it were one, it would be here.
    "the API server": Pod({"component": "kube-apiserver"}, "default"),
}
PORTS = {"node": 7400, "router": 8000, "memds": 7300, "operator": 7200, "dns": 53, "the API server": 443}
ALLOWED = {
    ("router", "node"), ("router", "memds"), ("router", "operator"), ("node", "node"), ("node", "memds"), ("operator", "node"),
    ("operator", "memds"), ("admin", "node"), ("operator", "the API server"), ("crds", "the API server"),
    *((who, "dns") for who in OURS),
    # DynamoDB's API is everybody's, as far as their own policies go.
    *((who, "router") for who in STRANGERS),
}


class WhoMayTalkToWhom(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.policies = policies()

    def test_exactly_these_pairs(self):
        everybody = {**OURS, **STRANGERS}
        for source in everybody:
            for target, port in PORTS.items():
                if source in OURS or target in OURS:
                    may = may_connect(self.policies, everybody[source], everybody[target], port)
                    self.assertEqual(may, (source, target) in ALLOWED, f"{source} → {target}")

    def test_no_port_but_the_one_of_the_table(self):
        for source in OURS:
            for target in ("node", "router", "memds", "operator"):
                # While a CA is replaced the operator asks everybody what they trust.
                asked = {9600} if source == "operator" and target != "operator" else set()
                for port in {22, 443, 6443, 9600, *PORTS.values()} - {PORTS[target]} - asked:
                    self.assertFalse(may_connect(self.policies, OURS[source], OURS[target], port), f"{source} → {target}:{port}")

    def test_the_data_plane_has_no_way_to_the_api_server(self):
        for who in ("node", "router", "memds", "admin"):
            for port in (443, 6443, 8443):
                self.assertFalse(may_connect(self.policies, OURS[who], STRANGERS["the API server"], port))

    def test_metrics_are_prometheus_s_and_those_of_the_data_plane_the_operator_s(self):
        for target in ("node", "router", "memds"):
            self.assertTrue(may_connect(self.policies, OURS["operator"], OURS[target], 9600), target)
        for target in ("node", "router", "memds", "operator"):
            self.assertTrue(may_connect(self.policies, STRANGERS["prometheus"], OURS[target], 9600), target)
            for who in ("a neighbour", "a stranger", "dns"):
                self.assertFalse(may_connect(self.policies, STRANGERS[who], OURS[target], 9600), f"{who} → {target}")

    def test_names_are_asked_for_by_both_protocols(self):
        for who in OURS.values():
            for protocol in ("UDP", "TCP"):
                self.assertTrue(may_connect(self.policies, who, STRANGERS["dns"], 53, protocol))

    def test_a_second_cluster_of_the_namespace_is_apart(self):
        both = policies({"networkPolicies": {"alsoFor": [OTHER]}})
        for source, target in ALLOWED:
            if source in OURS and target in ("node", "memds") and source != "operator":
                self.assertTrue(may_connect(both, pod(source, OTHER), pod(target, OTHER), PORTS[target]))
                self.assertFalse(may_connect(both, pod(source, OTHER), OURS[target], PORTS[target]), f"{source} → {target}")
                self.assertFalse(may_connect(both, OURS[source], pod(target, OTHER), PORTS[target]), f"{source} → {target}")
        for target in ("node", "memds"):
            self.assertTrue(may_connect(both, OURS["operator"], pod(target, OTHER), PORTS[target]))
        self.assertTrue(may_connect(both, pod("router", OTHER), OURS["operator"], PORTS["operator"]))

    def test_every_pod_of_the_chart_is_under_a_policy(self):
        things = render()
        for thing in things:
            if "template" in thing.get("spec", {}):
                here = Pod(thing["spec"]["template"]["metadata"]["labels"], NAMESPACE)
                self.assertFalse(may_connect(self.policies, STRANGERS["a stranger"], here, 7200))


NONSENSE = {
    "two zones": {"cluster": {"spec": {"zones": [{"name": "a"}, {"name": "b"}]}}},
    "one zone twice": {"cluster": {"spec": {"zones": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}}},
    "no node in a zone": {"cluster": {"spec": {"zones": [{"name": "a", "nodes": 0}, {"name": "b"}, {"name": "c"}]}}},
    "a field that is not there": {"cluster": {"spec": {"replicas": 3}}},
    "a value that is not there": {"operators": {}},
    "a size without a unit that exists": {"cluster": {"spec": {"storage": {"size": "10 GB"}}}},
    "zones of another kind": {"cluster": {"spec": {"zoneMode": "Imagined"}}},
    "no patience with volumes": {"cluster": {"spec": {"storage": {"lostAfterSeconds": 5}}}},
    "no partitions": {"cluster": {"spec": {"defaultPartitions": 0}}},
    "a Service of another kind": {"cluster": {"spec": {"routers": {"service": {"type": "ExternalName"}}}}},
    "an empty list, which would mean everybody": {"networkPolicies": {"metricsFrom": []}},
    "the same, for DNS": {"networkPolicies": {"dnsAt": []}},
    "a pull policy of another kind": {"image": {"pullPolicy": "Sometimes"}},
    "a priority above Kubernetes' own": {"priorityClass": {"value": 2000000000}},
    "a way of signing that is not there": {"cluster": {"spec": {"tls": {"mode": "Vault"}}}},
    "an issuer without a name": {"cluster": {"spec": {"tls": {"mode": "CertManager", "issuerRef": {"kind": "Issuer"}}}}},
    "a number as text": {"cluster": {"spec": {"defaultPartitions": "seven"}}},
}


class WhichValuesAreRefused(unittest.TestCase):
    def test_nonsense_is_refused_and_the_field_named(self):
        for name, values in NONSENSE.items():
            done = template(values)
            self.assertNotEqual(done.returncode, 0, name)
            self.assertRegex(done.stderr, "values don't meet the specifications of the schema|zones", name)

    def test_a_release_with_a_name_too_long_for_a_cluster_is_refused(self):
        done = template(release="x" * 31)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("at most 30 characters", done.stderr)


if __name__ == "__main__":
    unittest.main()
