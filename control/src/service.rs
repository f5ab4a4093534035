//! The control service: CreateTable, UpdateTable, DeleteTable as changes of resources, in DynamoDB's words.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use model::{
    BillingMode, KeyRange, PartitionDescriptor, PartitionId, TableDescriptor, TableId, TableStatus, Throughput,
};
use placement::NodeView;
use tokio::sync::Notify;
use tonic::{Request, Response, Status};
use wire::control::control_server::Control;
use wire::control::{CreateTableRequest, DeleteTableRequest, TableAnswer, UpdateTableRequest};

use crate::cluster::Cluster;
use crate::config::Settings;
use crate::diverged::{self, Divergence, Newest};
use crate::observe;
use crate::plan::Observed;
use crate::resources::{ResourceError, Resources, Snapshot, TableResource};

/// How often an operation reads and decides again when somebody else wrote first.
const ATTEMPTS: u32 = 10;

const MILLIS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

pub struct Service<R> {
    pub settings: Settings,
    pub resources: Arc<R>,
    pub cluster: Arc<Cluster>,
    pub wake: Arc<Notify>,
}

/// A table as somebody has looked at it who decides what becomes of it: void as soon as anybody has written it since. What is decided of a
/// table that is to be born would else be done to one that serves.
#[derive(Clone, Copy, Debug)]
pub struct Decided<'a> {
    pub name: &'a str,
    /// As in [`Snapshot::versions`]: where tables have no versions of their own whatever is decided is void.
    pub version: &'a str,
}

#[tonic::async_trait]
impl<R: Resources> Control for Service<R> {
    async fn create_table(&self, request: Request<CreateTableRequest>) -> Result<Response<TableAnswer>, Status> {
        let wish = TableDescriptor::decode(request.into_inner().wish)
            .map_err(|error| Status::internal(format!("the wish cannot be read: {error}")))?;
        answer(&self.create(wish).await?)
    }

    async fn update_table(&self, request: Request<UpdateTableRequest>) -> Result<Response<TableAnswer>, Status> {
        let request = request.into_inner();
        answer(&self.change(&request.name, |table, now| updated(table, &request, now)).await?)
    }

    async fn delete_table(&self, request: Request<DeleteTableRequest>) -> Result<Response<TableAnswer>, Status> {
        answer(&self.change(&request.into_inner().name, |table, _| deleted(table)).await?)
    }
}

impl<R: Resources> Service<R> {
    async fn create(&self, wish: TableDescriptor) -> Result<TableDescriptor, Status> {
        for _ in 0..ATTEMPTS {
            let wished = self.read().await?;
            if wished.tables.contains_key(&wish.name) || wished.versions.contains_key(&wish.name) {
                return Err(Status::already_exists(format!("Table already exists: {}", wish.name)));
            }
            if let Some(owner) = wished.taken.get(&wish.name) {
                return Err(Status::already_exists(format!("Table already exists: {}: {owner} has it", wish.name)));
            }
            let (nodes, observed) = observe::nodes_and_groups(&self.cluster).await;
            refuse_a_name_that_nodes_know(&wish.name, &observed)?;
            if let Some(table) = self.try_birth(&wished, self.named(wish.clone())?, &nodes).await? {
                return Ok(table);
            }
        }
        Err(too_busy())
    }

    /// Plans the partitions of a table that is named in the resources and has none yet, and writes them down. One that has an id already
    /// keeps it: its birth was cut short.
    pub async fn give_birth(&self, on: Decided<'_>, table: TableDescriptor) -> Result<(), Status> {
        let Some(wished) = self.read_unless_void(on).await? else { return Ok(()) };
        let table = if table.id == TableId(0) { self.named(table)? } else { table };
        let nodes = observe::node_views(&self.cluster).await;
        self.try_birth(&wished, table, &nodes).await?;
        Ok(())
    }

    /// Lets the table follow a wish that was written into its resource.
    pub async fn follow(
        &self,
        on: Decided<'_>,
        wish: impl Fn(&TableDescriptor) -> TableDescriptor,
    ) -> Result<(), Status> {
        let follow = |table: &TableDescriptor, now| {
            refuse_unless_active(table)?;
            let mut next = wish(table);
            if next.billing == BillingMode::PayPerRequest && table.billing != next.billing {
                next.last_on_demand_ms = now;
            }
            record_throughput_change(table, &mut next, now);
            Ok(TableDescriptor { status: TableStatus::Updating, version: table.version + 1, ..next })
        };
        self.change_once(on, follow).await
    }

    /// As DeleteTable.
    pub async fn delete(&self, on: Decided<'_>) -> Result<(), Status> {
        self.change_once(on, |table, _| deleted(table)).await
    }

    /// The table goes out of service, and its items stay.
    pub async fn retain(&self, on: Decided<'_>) -> Result<(), Status> {
        let retained = |table: &TableDescriptor, _now| {
            refuse_unless_active(table)?;
            Ok(TableDescriptor { status: TableStatus::Retained, version: table.version + 1, ..table.clone() })
        };
        self.change_once(on, retained).await
    }

    /// None where another was faster.
    async fn try_birth(
        &self,
        wished: &Snapshot,
        table: TableDescriptor,
        nodes: &[NodeView],
    ) -> Result<Option<TableDescriptor>, Status> {
        let resource = plan_birth(table, nodes)?;
        self.write(wished, resource).await
    }

    /// What a table gets once: its id, its seed, its date, how many partitions it begins with.
    fn named(&self, wish: TableDescriptor) -> Result<TableDescriptor, Status> {
        let count =
            if wish.initial_partitions == 0 { self.settings.default_partitions } else { wish.initial_partitions };
        let now = now_ms();
        Ok(TableDescriptor {
            id: TableId(random()?),
            version: 1,
            status: TableStatus::Creating,
            hash_seed: random()?,
            created_ms: now,
            last_on_demand_ms: if wish.billing == BillingMode::PayPerRequest { now } else { 0 },
            initial_partitions: count,
            ..wish
        })
    }

    /// However often somebody else is faster.
    async fn change(
        &self,
        name: &str,
        change: impl Fn(&TableDescriptor, u64) -> Result<TableDescriptor, Status>,
    ) -> Result<TableDescriptor, Status> {
        for _ in 0..ATTEMPTS {
            let wished = self.read().await?;
            if let Some(table) = self.try_change(&wished, name, &change).await? {
                return Ok(table);
            }
        }
        Err(too_busy())
    }

    /// Nothing where another was faster: who looks again and again decides anew.
    async fn change_once(
        &self,
        on: Decided<'_>,
        change: impl Fn(&TableDescriptor, u64) -> Result<TableDescriptor, Status>,
    ) -> Result<(), Status> {
        if let Some(wished) = self.read_unless_void(on).await? {
            self.try_change(&wished, on.name, &change).await?;
        }
        Ok(())
    }

    /// None where another was faster.
    async fn try_change(
        &self,
        wished: &Snapshot,
        name: &str,
        change: &impl Fn(&TableDescriptor, u64) -> Result<TableDescriptor, Status>,
    ) -> Result<Option<TableDescriptor>, Status> {
        let Some(resource) = wished.tables.get(name) else {
            return Err(Status::not_found(format!("Requested resource not found: Table: {name} not found")));
        };
        let table = change(&resource.table, now_ms())?;
        let observed = observe::groups(&self.cluster).await;
        match refuse_diverged(resource, &observed) {
            Ok(()) => {}
            // The groups have followed a resource that was not read yet.
            Err(_) if !self.resources.is_newest(wished, name).await.map_err(unavailable)? => return Ok(None),
            Err(refused) => return Err(refused),
        }
        self.write(wished, TableResource { table, partitions: resource.partitions.clone() }).await
    }

    async fn read_unless_void(&self, on: Decided<'_>) -> Result<Option<Snapshot>, Status> {
        let wished = self.read().await?;
        let is_as_seen = wished.versions.get(on.name).is_some_and(|version| version == on.version);
        Ok(is_as_seen.then_some(wished))
    }

    async fn read(&self) -> Result<Snapshot, Status> {
        self.resources.read().await.map_err(unavailable)
    }

    /// None where another was faster.
    async fn write(&self, wished: &Snapshot, resource: TableResource) -> Result<Option<TableDescriptor>, Status> {
        let table = resource.table.clone();
        match self.resources.write(wished, &table.name, Some(resource)).await {
            Ok(()) => {}
            Err(ResourceError::Conflict(_)) => return Ok(None),
            Err(error) => return Err(unavailable(error)),
        }
        self.wake.notify_one();
        // Before the answer: a DescribeTable that follows finds it.
        self.cluster.put_table(&table).await;
        Ok(Some(table))
    }
}

/// A table bears its name as long as nodes have it: a retained one, of which an SDK has not to say whether it returns, and one whose resource
/// went by accident, which is adopted as soon as every node answers. Where one may go unseen the name is given to nobody.
fn refuse_a_name_that_nodes_know(name: &str, observed: &Observed) -> Result<(), Status> {
    let reports = observed.groups.values().flatten();
    let named = reports.filter_map(|report| report.table.as_deref()).filter(|table| table.name == name);
    match named.map(|table| table.status).find(|status| *status != TableStatus::Deleting) {
        None => {}
        Some(TableStatus::Retained) => {
            return Err(Status::already_exists(format!(
                "Table already exists: {name}, out of service; its items were retained when its resource was deleted"
            )));
        }
        Some(_) => return Err(Status::already_exists(format!("Table already exists: {name}"))),
    }
    if observed.may_hide_a_table() {
        let silence = observed.silence();
        return Err(Status::unavailable(format!("{silence}: whether one of them has a table {name} is not known")));
    }
    Ok(())
}

/// Nothing is changed of a table whose groups may hold something else than what was changed: its newest descriptor would go.
fn refuse_diverged(resource: &TableResource, observed: &Observed) -> Result<(), Status> {
    let TableResource { table, partitions } = resource;
    let reports = observed.groups.values().flatten();
    let ours = reports.filter(|report| report.table.as_ref().is_some_and(|held| held.id == table.id));
    if let Some(divergence) = diverged::divergence(table, Newest::of(ours).as_ref()) {
        return Err(in_two_forms(&table.name, &divergence));
    }
    let is_led = |partition: &PartitionDescriptor| {
        let reports = observed.groups.get(&partition.id);
        reports.is_some_and(|reports| reports.iter().any(|report| report.serving))
    };
    if observed.may_hide_a_table() && !partitions.iter().all(is_led) {
        let (silence, name) = (observed.silence(), &table.name);
        return Err(Status::unavailable(format!("{silence}: what groups of table {name} hold is not known")));
    }
    Ok(())
}

fn in_two_forms(name: &str, divergence: &Divergence) -> Status {
    Status::failed_precondition(format!(
        "Attempt to change a resource which is still in use: Table {name} waits for its operator to confirm which of two forms is right: {divergence}"
    ))
}

/// Ids, ranges and places of a new table's partitions.
fn plan_birth(table: TableDescriptor, nodes: &[NodeView]) -> Result<TableResource, Status> {
    let count = table.initial_partitions;
    let ids: Vec<PartitionId> = (0..count).map(|number| partition_id(table.id, number)).collect();
    let places = placement::place_new(nodes, &ids).map_err(|blocked| Status::unavailable(blocked.to_string()))?;
    let partitions = ids.into_iter().zip(KeyRange::even(count)).zip(places);
    let partitions = partitions.map(|((id, range), places)| birth(&table, id, range, &places)).collect();
    Ok(TableResource { table, partitions })
}

/// The partitions that a table is born with: the same ones whoever plans its birth, and however often, so that two who do meet at the same
/// partitions. As random as the table's id is: SplitMix64's finaliser, which gives no two numbers the same.
fn partition_id(table: TableId, number: u32) -> PartitionId {
    let mut x = table.0.wrapping_add(u64::from(number).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    PartitionId(x ^ (x >> 31))
}

fn birth(
    table: &TableDescriptor,
    id: PartitionId,
    range: KeyRange,
    places: &[placement::Place],
) -> PartitionDescriptor {
    let places = places.iter().map(|place| (place.node, place.zone.clone()));
    PartitionDescriptor::birth(id, table.id, range, places)
}

fn updated(table: &TableDescriptor, request: &UpdateTableRequest, now: u64) -> Result<TableDescriptor, Status> {
    refuse_unless_active(table)?;
    let mut next = table.clone();
    if let Some(on_demand) = request.pay_per_request {
        next.billing = if on_demand { BillingMode::PayPerRequest } else { BillingMode::Provisioned };
        if on_demand {
            next.throughput = Throughput::default();
            next.last_on_demand_ms = now;
        }
    }
    if let Some(wished) = request.throughput {
        next.throughput = Throughput { read_units: wished.read_units, write_units: wished.write_units };
        record_throughput_change(table, &mut next, now);
    }
    if let Some(protection) = request.deletion_protection {
        next.deletion_protection = protection;
    }
    if let Some(class) = &request.table_class {
        next.table_class.clone_from(class);
    }
    next.status = TableStatus::Updating;
    next.version += 1;
    Ok(next)
}

/// `LastIncreaseDateTime`, `LastDecreaseDateTime` and `NumberOfDecreasesToday` of DescribeTable.
fn record_throughput_change(before: &TableDescriptor, next: &mut TableDescriptor, now: u64) {
    let (old, new) = (before.throughput, next.throughput);
    if new.read_units > old.read_units || new.write_units > old.write_units {
        next.last_increase_ms = now;
    }
    if new.read_units < old.read_units || new.write_units < old.write_units {
        let same_day = before.last_decrease_ms / MILLIS_PER_DAY == now / MILLIS_PER_DAY;
        next.decreases_today = if same_day { before.decreases_today + 1 } else { 1 };
        next.last_decrease_ms = now;
    }
}

fn deleted(table: &TableDescriptor) -> Result<TableDescriptor, Status> {
    if table.deletion_protection {
        let message = "Resource cannot be deleted as it is currently protected against deletion. \
                       Disable deletion protection first.";
        return Err(Status::invalid_argument(message));
    }
    refuse_unless_active(table)?;
    Ok(TableDescriptor { status: TableStatus::Deleting, version: table.version + 1, ..table.clone() })
}

fn refuse_unless_active(table: &TableDescriptor) -> Result<(), Status> {
    let doing = match table.status {
        TableStatus::Active => return Ok(()),
        TableStatus::Creating => "created",
        TableStatus::Updating => "updated",
        TableStatus::Deleting => "deleted",
        TableStatus::Retained => "taken out of service",
    };
    let name = &table.name;
    Err(Status::failed_precondition(format!(
        "Attempt to change a resource which is still in use: Table is being {doing}: {name}"
    )))
}

fn answer(table: &TableDescriptor) -> Result<Response<TableAnswer>, Status> {
    Ok(Response::new(TableAnswer { table: table.encode() }))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err asks for")]
fn unavailable(error: ResourceError) -> Status {
    tracing::error!(%error, "resources cannot be read or written");
    Status::unavailable(error.to_string())
}

fn too_busy() -> Status {
    Status::unavailable("the resources change too often")
}

fn random() -> Result<u64, Status> {
    getrandom::u64().map_err(|error| Status::internal(format!("no randomness: {error}")))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Node;
    use crate::plan::tests::table;
    use crate::resources::file::FileResources;

    fn active() -> TableDescriptor {
        TableDescriptor { status: TableStatus::Active, version: 5, ..table("music") }
    }

    #[test]
    fn throughput_changes_leave_their_dates() {
        let mut before = active();
        before.throughput = Throughput { read_units: 10, write_units: 10 };
        let ask = |read_units, write_units| UpdateTableRequest {
            throughput: Some(wire::control::Throughput { read_units, write_units }),
            ..UpdateTableRequest::default()
        };
        let day = 20_000 * MILLIS_PER_DAY;
        let lower = updated(&before, &ask(5, 10), day).unwrap();
        assert_eq!((lower.last_increase_ms, lower.last_decrease_ms, lower.decreases_today), (0, day, 1));
        assert_eq!((lower.version, lower.status), (6, TableStatus::Updating));
        let lower = TableDescriptor { status: TableStatus::Active, ..lower };
        let again = updated(&lower, &ask(4, 12), day + 5).unwrap();
        assert_eq!((again.last_increase_ms, again.decreases_today), (day + 5, 2));
        let again = TableDescriptor { status: TableStatus::Active, ..again };
        assert_eq!(updated(&again, &ask(1, 1), day + MILLIS_PER_DAY).unwrap().decreases_today, 1);
    }

    #[test]
    fn a_table_is_born_with_the_same_partitions_whoever_plans_it() {
        let ids = |table: u64| (0..1024).map(|number| partition_id(TableId(table), number)).collect::<Vec<_>>();
        assert_eq!(ids(7), ids(7));
        let all: std::collections::BTreeSet<_> = [7, 8, u64::MAX].into_iter().flat_map(ids).collect();
        assert_eq!(all.len(), 3 * 1024);
    }

    #[test]
    fn a_name_that_nodes_know_is_given_to_nobody() {
        let reached: std::collections::BTreeSet<_> = [1, 2, 3].map(model::NodeId).into();
        let mut seen = Observed { reached, complete: true, ..Observed::default() };
        assert!(refuse_a_name_that_nodes_know("music", &seen).is_ok());
        // However many of one zone are silent: its groups have replicas in two zones more.
        (seen.silent, seen.silent_zones, seen.complete) = (4, 1, false);
        assert!(refuse_a_name_that_nodes_know("music", &seen).is_ok());
        let told = |status| {
            let seen = held(&TableDescriptor { status, ..table("music") });
            assert!(refuse_a_name_that_nodes_know("songs", &seen).is_ok());
            let refused = refuse_a_name_that_nodes_know("music", &seen).err();
            refused.map(|refused| (refused.code(), refused.message().to_owned()))
        };
        let exists = |message: &str| Some((tonic::Code::AlreadyExists, message.to_owned()));
        let retained =
            "Table already exists: music, out of service; its items were retained when its resource was deleted";
        assert_eq!(told(TableStatus::Retained), exists(retained));
        // Its object is gone, its groups are there: it is adopted once every node answers.
        assert_eq!(told(TableStatus::Active), exists("Table already exists: music"));
        assert_eq!(told(TableStatus::Deleting), None);
    }

    /// As its three nodes tell it; the first of them leads.
    fn held(table: &TableDescriptor) -> Observed {
        let report = |node: u64| crate::plan::ReplicaReport {
            node: model::NodeId(node),
            descriptor: None,
            table: Some(table.clone().into()),
            serving: node == 1,
            health: None,
            size: None,
            consumption: model::units::Consumption::default(),
        };
        let groups = [(PartitionId(3), [1, 2, 3].map(report).to_vec())].into();
        Observed { reached: [1, 2, 3].map(model::NodeId).into(), complete: true, groups, ..Observed::default() }
    }

    #[test]
    fn nothing_is_changed_of_a_table_whose_groups_hold_something_else() {
        let resource = |table| TableResource { table, partitions: vec![crate::plan::tests::partition(3, 7)] };
        assert!(refuse_diverged(&resource(active()), &held(&active())).is_ok());
        // They have not heard of the last change yet.
        assert!(refuse_diverged(&resource(active()), &held(&TableDescriptor { version: 4, ..active() })).is_ok());
        let protected = |version| TableDescriptor { version, deletion_protection: true, ..active() };
        for newer in [protected(5), protected(6)] {
            let refused = refuse_diverged(&resource(active()), &held(&newer)).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
            assert!(refused.message().contains("what differs: deletion protection"), "{}", refused.message());
        }
        // The table's items are missing, and it may be deleted.
        let nobody = Observed { groups: std::collections::BTreeMap::new(), ..held(&active()) };
        assert!(refuse_diverged(&resource(active()), &nobody).is_ok());
        let silent = Observed { silent: 2, silent_zones: 2, complete: false, ..nobody };
        let refused = refuse_diverged(&resource(active()), &silent).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unavailable);
        // Those that lead tell of every change.
        let led = Observed { silent: 2, silent_zones: 2, complete: false, ..held(&active()) };
        assert!(refuse_diverged(&resource(active()), &led).is_ok());
    }

    #[test]
    fn where_a_retained_table_may_go_unseen_its_name_is_asked_for_again_later() {
        let silent = Observed { reached: [model::NodeId(1)].into(), silent: 2, silent_zones: 2, ..Observed::default() };
        for seen in [silent, Observed::default()] {
            assert_eq!(refuse_a_name_that_nodes_know("music", &seen).unwrap_err().code(), tonic::Code::Unavailable);
        }
    }

    #[test]
    fn a_protected_or_busy_table_is_not_deleted() {
        let protected = TableDescriptor { deletion_protection: true, ..active() };
        assert_eq!(deleted(&protected).unwrap_err().code(), tonic::Code::InvalidArgument);
        assert_eq!(deleted(&table("music")).unwrap_err().code(), tonic::Code::FailedPrecondition);
        assert_eq!(deleted(&active()).unwrap().status, TableStatus::Deleting);
    }

    /// As Kubernetes has them: each table with a version of its own.
    struct Versioned(FileResources);

    impl Resources for Versioned {
        async fn read(&self) -> Result<Snapshot, ResourceError> {
            let mut read = self.0.read().await?;
            read.versions = read.tables.iter().map(|(name, now)| (name.clone(), version(&now.table))).collect();
            Ok(read)
        }

        async fn is_newest(&self, read: &Snapshot, name: &str) -> Result<bool, ResourceError> {
            self.0.is_newest(read, name).await
        }

        async fn write(&self, read: &Snapshot, name: &str, next: Option<TableResource>) -> Result<(), ResourceError> {
            self.0.write(read, name, next).await
        }
    }

    fn version(table: &TableDescriptor) -> String {
        table.version.to_string()
    }

    #[tokio::test]
    async fn what_was_decided_before_a_table_was_written_is_void() {
        let folder = tempfile::tempdir().unwrap();
        let resources = FileResources::open(&folder.path().join("resources.json")).unwrap();
        let nodes = [Node::start(1).await, Node::start(2).await, Node::start(3).await];
        let addresses: Vec<String> = nodes.iter().map(|node| node.address.clone()).collect();
        let service = Service {
            settings: Settings::new(1),
            resources: Arc::new(Versioned(resources)),
            cluster: Arc::new(Cluster::new(&addresses, &[]).unwrap()),
            wake: Arc::default(),
        };
        let now = async |service: &Service<Versioned>| {
            service.resources.read().await.unwrap().tables.get("music").map(|resource| resource.table.clone())
        };
        let unborn = TableDescriptor { version: 1, initial_partitions: 1, ..table("music") };
        let read = service.resources.read().await.unwrap();
        let served = TableDescriptor { status: TableStatus::Active, version: 2, ..unborn.clone() };
        let resource = TableResource { table: served.clone(), partitions: vec![] };
        service.resources.write(&read, "music", Some(resource)).await.unwrap();

        // Whoever looked at it earlier has seen that its birth was cut short.
        let early = Decided { name: "music", version: "1" };
        service.give_birth(early, unborn).await.unwrap();
        service.follow(early, |table| TableDescriptor { deletion_protection: true, ..table.clone() }).await.unwrap();
        service.retain(early).await.unwrap();
        service.delete(early).await.unwrap();
        assert_eq!(now(&service).await, Some(served));
        service.delete(Decided { version: "2", ..early }).await.unwrap();
        assert_eq!(now(&service).await.map(|table| table.status), Some(TableStatus::Deleting));
    }
}
