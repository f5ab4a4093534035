//! `Cluster`: one Trivet. Its zones, nodes, routers and MemDS servers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::removal::Removal;

/// One Trivet: storage nodes in three or more zones, routers that speak DynamoDB's API, MemDS servers that know which partition is
/// where.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "trivet.dev",
    version = "v1alpha1",
    kind = "Cluster",
    namespaced,
    shortname = "trv",
    status = "ClusterStatus",
    derive = "PartialEq",
    doc = "One Trivet: storage nodes in three or more zones, routers that speak DynamoDB's API, MemDS servers.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodes"),
    printcolumn(name = "Tables", type_ = "integer", json_path = ".status.tables"),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".status.partitions"),
    printcolumn(name = "Degraded", type_ = "integer", json_path = ".status.degradedPartitions"),
    printcolumn(name = "Safe", type_ = "string", json_path = ".status.conditions[?(@.type=='Safe')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 30").message("a Cluster's name has at most 30 characters: the names of its Pods and Services begin with it"),
    // A wish that no volume has followed may be taken back.
    validation = Rule::new("(has(self.spec.storage.class) ? self.spec.storage.class : '') == (has(oldSelf.spec.storage.class) ? oldSelf.spec.storage.class : '') || !has(oldSelf.status) || has(oldSelf.status.volumes) && oldSelf.status.volumes == 0").message("spec.storage.class never changes once a node has a volume (status.volumes): make another Cluster"),
    validation = Rule::new("quantity(self.spec.storage.size).compareTo(quantity(oldSelf.spec.storage.size)) >= 0 || has(oldSelf.status) && has(oldSelf.status.largestVolume) && quantity(self.spec.storage.size).compareTo(quantity(oldSelf.status.largestVolume)) >= 0").message("storage never shrinks: a wish for more can be taken back down to status.largestVolume, and no further")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterSpec {
    /// The image that every Pod of the cluster runs.
    #[x_kube(validation = Rule::new("size(self) > 0").message("name an image"))]
    pub image: String,
    /// When Kubernetes fetches the image: IfNotPresent, Always or Never. Default: IfNotPresent.
    #[serde(default)]
    pub image_pull_policy: ImagePullPolicy,
    /// The zones that replicas are spread over: three or more, no two of one name. Each partition has one replica in each of three. The nodes of
    /// a zone that is taken away go when their replicas are in the others.
    #[x_kube(
        validation = Rule::new("size(self) >= 3").message("a partition has replicas in three zones: name three zones or more"),
        validation = Rule::new("self.all(zone, self.exists_one(other, other.name == zone.name))").message("no two zones have one name"),
    )]
    #[schemars(length(max = 9))]
    pub zones: Vec<ZoneSpec>,
    /// Labelled: a zone is where Kubernetes nodes carry its name. Simulated: zones are names only, for a first look on a single machine;
    /// one failure may take every copy, and every status says that it is not safe. Default: Labelled.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("zoneMode never changes: nodes would have to be placed anew; make another Cluster"))]
    pub zone_mode: ZoneMode,
    /// Each node's disk.
    pub storage: StorageSpec,
    /// Processors and memory of each node. The cache follows the memory limit: a quarter of it. Default: 500m and 1Gi, limited to 2Gi.
    #[serde(default)]
    pub node: NodeSpec,
    /// The processes that speak DynamoDB's API.
    #[serde(default)]
    pub routers: RoutersSpec,
    /// The servers that know which partition is where: one a zone.
    #[serde(default, rename = "memds")]
    pub mem_ds: MemDsSpec,
    /// The Secret with the access keys that clients sign with: its key `credentials` is a file in the format of ~/.aws/credentials.
    #[x_kube(validation = Rule::new("size(self.name) > 0").message("name the Secret with the clients' credentials"))]
    pub credentials_secret: SecretReference,
    /// How the processes of the cluster prove to each other who they are, and keep others from listening. Default: certificates of a CA
    /// that the operator makes.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new("self.mode == oldSelf.mode").message("tls.mode never changes: processes with and without certificates do not understand each other; make another Cluster"),
        validation = Rule::new("(self.mode == 'CertManager') == has(self.issuerRef)").message("tls.issuerRef goes with mode CertManager, which needs it"),
    )]
    pub tls: TlsSpec,
    /// The PriorityClass of every Pod of the cluster, so that others make room for those that hold data. Default: the Kubernetes cluster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// The region that ARNs name and that clients sign for. Default: us-east-1.
    #[serde(default = "default_region")]
    pub region: String,
    /// How many partitions a table begins with whose creator does not say, 1 to 1024. Default: 1.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = 1024))]
    pub default_partitions: u32,
    /// Whether the operator changes nothing of this cluster; it goes on to report. Default: false.
    #[serde(default)]
    pub paused: bool,
}

/// What a zone is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ZoneMode {
    #[default]
    Labelled,
    Simulated,
}

/// When an image is fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    #[default]
    IfNotPresent,
    Always,
    Never,
}

/// One zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ZoneSpec {
    /// The value of the label `topology.kubernetes.io/zone` on the zone's Kubernetes nodes.
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("a zone's name is in lower case letters, digits and dashes: it becomes part of names"))]
    #[schemars(length(min = 1, max = 20))]
    pub name: String,
    /// Storage nodes in this zone, 1 to 1000, each on a Kubernetes node of its own. Default: 1.
    #[serde(default = "default_nodes")]
    #[schemars(range(min = 1, max = 1000))]
    pub nodes: u32,
}

/// Each node's disk: a PersistentVolumeClaim that belongs to the node's identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StorageSpec {
    /// The StorageClass; the cluster's default one if not given. It should bind a volume when its first Pod is placed (WaitForFirstConsumer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub class: Option<String>,
    /// The size of each node's volume, at least 2Gi. It may grow where the class allows it, and never shrinks.
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity('2Gi')) >= 0").message("a node's volume has at least 2Gi"))]
    pub size: Quantity,
    /// How long a volume that cannot be used is waited for, in seconds, 30 or more, before another node takes its node's place: its
    /// Kubernetes node is gone, its claim has lost it, or it cannot be mounted. Default: 900.
    #[serde(default = "default_lost_after")]
    #[schemars(range(min = 30, max = 86_400))]
    pub lost_after_seconds: u32,
}

/// What each node gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSpec {
    /// Processors and memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// How long a replica is away before it is rebuilt on another node, in seconds, 30 or more. Default: 600.
    #[serde(default = "default_replace_after")]
    #[schemars(range(min = 30, max = 86_400))]
    pub replace_after_seconds: u32,
    /// Whether two nodes of the cluster may share a Kubernetes node, as a small test cluster may want: one failure then takes both.
    /// Default: false.
    #[serde(default)]
    pub share_kubernetes_nodes: bool,
}

impl Default for NodeSpec {
    fn default() -> NodeSpec {
        NodeSpec { resources: None, replace_after_seconds: default_replace_after(), share_kubernetes_nodes: false }
    }
}

/// The processes that speak DynamoDB's API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoutersSpec {
    /// Routers in each zone, 1 to 100. Default: 1.
    #[serde(default = "default_nodes")]
    #[schemars(range(min = 1, max = 100))]
    pub per_zone: u32,
    /// How clients reach them.
    #[serde(default)]
    pub service: ServiceSpec,
    /// Processors and memory of each. What requests and answers may take follows the memory limit: three eighths of it. Default: 250m and
    /// 256Mi, limited to 1Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

impl Default for RoutersSpec {
    fn default() -> RoutersSpec {
        RoutersSpec { per_zone: default_nodes(), service: ServiceSpec::default(), resources: None }
    }
}

/// The Service in front of the routers: port 8000.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!has(self.nodePort) || self.type != 'ClusterIP'").message("nodePort goes with type NodePort or LoadBalancer"))]
pub struct ServiceSpec {
    /// ClusterIP, NodePort or LoadBalancer. Default: ClusterIP.
    #[serde(default, rename = "type")]
    pub kind: ServiceKind,
    /// The port on every Kubernetes node, 1 to 65535; chosen by Kubernetes if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub node_port: Option<i32>,
    /// Annotations of the Service, as load balancers want them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// How a Service is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceKind {
    #[default]
    ClusterIP,
    NodePort,
    LoadBalancer,
}

/// The servers that know which partition is where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemDsSpec {
    /// Processors and memory of each. Default: 100m and 128Mi, limited to 512Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

/// A Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretReference {
    /// The Secret's name.
    pub name: String,
}

/// How the processes prove to each other who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsSpec {
    /// Own: by a CA that the operator makes, keeps in a Secret and replaces; CertManager: by an issuer of cert-manager; None: not at all, and
    /// whoever reaches a port may use it. It never changes. Default: Own.
    #[serde(default)]
    pub mode: TlsMode,
    /// The issuer of cert-manager, with mode CertManager. It never changes: processes would not trust each other's new certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("tls.issuerRef never changes: processes would not trust each other's new certificates"))]
    pub issuer_ref: Option<IssuerReference>,
}

/// Who signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    #[default]
    Own,
    CertManager,
    None,
}

/// An issuer of cert-manager. It must be one that has a CA (CA, Vault, Venafi and the like): processes trust what it writes into `ca.crt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IssuerReference {
    /// Its name.
    #[x_kube(validation = Rule::new("size(self) > 0").message("name the issuer"))]
    pub name: String,
    /// Issuer or ClusterIssuer. Default: Issuer.
    #[serde(default)]
    pub kind: IssuerKind,
    /// Its API group. Default: cert-manager.io.
    #[serde(default = "default_issuer_group")]
    pub group: String,
}

/// Whose namespace an issuer serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IssuerKind {
    #[default]
    Issuer,
    ClusterIssuer,
}

/// What the operator found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default)]
    pub observed_generation: i64,
    /// Ready, Progressing, Degraded, Blocked, Safe.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Nodes that go, or are about to.
    #[serde(default)]
    pub removals: Vec<Removal>,
    /// Nodes that serve, of those that are wished: `3/3`.
    #[serde(default)]
    pub nodes: String,
    /// Tables that nodes have.
    #[serde(default)]
    pub tables: u32,
    /// Partitions that nodes have.
    #[serde(default)]
    pub partitions: u32,
    /// Partitions that have fewer than three voters with items, or no leader.
    #[serde(default)]
    pub degraded_partitions: u32,
    /// Tables out of service: their objects were deleted with deletionPolicy Retain, and nodes have their items. A Table of that name and key
    /// brings one back. At most 100 are named.
    #[serde(default)]
    pub retained_tables: Vec<String>,
    /// The largest volume that a node's claim asks for; nothing while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 30))]
    pub largest_volume: Option<String>,
    /// Nodes' claims that have a volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<u32>,
    /// Where clients inside Kubernetes reach DynamoDB's API.
    #[serde(default)]
    pub endpoint: String,
    /// Its certificates; nothing with `tls.mode: None`.
    #[serde(default)]
    pub tls: Option<TlsStatus>,
}

/// The certificates of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsStatus {
    /// When the CA ends; of several that are trusted, the first.
    #[serde(default)]
    pub ca_ends: Option<Time>,
    /// When the first of the other certificates ends. They are renewed with 60 days left.
    #[serde(default)]
    pub leaves_end: Option<Time>,
    /// What every process is to trust: the SHA-256 of `ca.crt`, in hexadecimal digits. Empty with mode CertManager.
    #[serde(default)]
    pub trust: String,
    /// How far the CA's replacement has come: Settled, Distribute, Sign or Drop. Empty with mode CertManager.
    #[serde(default)]
    pub step: String,
    /// Since when.
    #[serde(default)]
    pub since: Option<Time>,
    /// Whom the step waits for; of many, the first ten.
    #[serde(default)]
    pub waits_for: Vec<String>,
}

fn default_issuer_group() -> String {
    "cert-manager.io".to_owned()
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

fn default_partitions() -> u32 {
    1
}

fn default_nodes() -> u32 {
    1
}

fn default_lost_after() -> u32 {
    900
}

fn default_replace_after() -> u32 {
    600
}
