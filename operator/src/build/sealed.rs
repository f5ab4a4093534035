//! A process's certificates in its Pod: files of a Secret, in a folder that the process follows. What is in them is no part of the Pod,
//! so that it is not replaced when they are.

use serde_json::{Value, json};

use crate::crd::Cluster;
use crate::crd::cluster::TlsMode;
use crate::seal::secret::{BUNDLE, CERTIFICATE, KEY};

const VOLUME: &str = "tls";
/// Where the files are, in every Pod.
pub const FOLDER: &str = "/etc/trivet/tls";

/// The Pod's spec with the Secret mounted for its one container, and the flag that names the folder. As it was, for a Cluster without.
pub fn sealed(cluster: &Cluster, mut spec: Value, secret: &str) -> Value {
    match cluster.spec.tls.mode {
        TlsMode::None => return spec,
        TlsMode::Own | TlsMode::CertManager => {}
    }
    let items = [BUNDLE, CERTIFICATE, KEY].map(|name| json!({ "key": name, "path": name }));
    let container = &mut spec["containers"][0];
    push(&mut container["args"], json!(format!("--tls={FOLDER}")));
    push(&mut container["volumeMounts"], json!({ "name": VOLUME, "mountPath": FOLDER, "readOnly": true }));
    // The key is for the process's group alone, which is the Pod's.
    let files = json!({ "name": VOLUME, "secret": { "secretName": secret, "items": items, "defaultMode": 0o440 } });
    push(&mut spec["volumes"], files);
    spec
}

fn push(list: &mut Value, value: Value) {
    match list {
        Value::Array(values) => values.push(value),
        other => *other = json!([value]),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodSpec;
    use model::NodeId;

    use super::*;
    use crate::build::{fleet, node};

    fn cluster(mode: &str) -> Cluster {
        let spec = json!({
            "image": "trivet:1", "zones": [{ "name": "a" }], "storage": { "size": "10Gi" },
            "credentialsSecret": { "name": "keys" }, "tls": { "mode": mode },
        });
        serde_json::from_value(json!({ "metadata": { "name": "trv", "namespace": "shop", "uid": "u" }, "spec": spec }))
            .unwrap()
    }

    /// The Secrets that are mounted as certificates, and whether the flag is there.
    fn shown(spec: PodSpec) -> (Vec<String>, bool) {
        let volumes = spec.volumes.unwrap_or_default().into_iter();
        let secrets = volumes.filter(|volume| volume.name == VOLUME).filter_map(|volume| volume.secret?.secret_name);
        let container = &spec.containers[0];
        let mounts = container.volume_mounts.iter().flatten();
        let mounted = mounts.filter(|mount| mount.mount_path == FOLDER && mount.read_only == Some(true)).count();
        let flag = container.args.iter().flatten().any(|argument| argument == "--tls=/etc/trivet/tls");
        let secrets: Vec<String> = secrets.collect();
        assert_eq!(mounted, secrets.len());
        (secrets, flag)
    }

    fn of_deployment(deployment: k8s_openapi::api::apps::v1::Deployment) -> PodSpec {
        deployment.spec.unwrap().template.spec.unwrap()
    }

    #[test]
    fn every_process_mounts_its_own_certificates_and_no_others() {
        let cluster = cluster("Own");
        let pod = |id: u64| shown(node::pod(&cluster, "a", NodeId(id)).spec.unwrap());
        assert_eq!(pod(0x1f), (vec!["trv-tls-node-000000000000001f".to_owned()], true));
        assert_eq!(pod(0x2f), (vec!["trv-tls-node-000000000000002f".to_owned()], true));
        let router = shown(of_deployment(fleet::routers(&cluster, "a")));
        assert_eq!(router, (vec!["trv-tls-router".to_owned()], true));
        let mem_ds = shown(of_deployment(fleet::mem_ds(&cluster, "a")));
        assert_eq!(mem_ds, (vec!["trv-tls-memds".to_owned()], true));
    }

    #[test]
    fn without_certificates_nothing_is_mounted() {
        let cluster = cluster("None");
        let nothing = (Vec::new(), false);
        assert_eq!(shown(node::pod(&cluster, "a", NodeId(1)).spec.unwrap()), nothing);
        assert_eq!(shown(of_deployment(fleet::routers(&cluster, "a"))), nothing);
        assert_eq!(shown(of_deployment(fleet::mem_ds(&cluster, "a"))), nothing);
    }
}
