//! Table operations: the control service's words, and what MemDS lists.

use std::sync::{Arc, Mutex};

use model::{TableDescriptor, TableId, TableStatus};
use router::routing::connector::TonicConnector;
use router::routing::{ControlCode, Failure, Routing, Settings, TableSize, TableUpdate};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use wire::control::control_server::{Control, ControlServer};
use wire::control::{CreateTableRequest, DeleteTableRequest, TableAnswer, Throughput, UpdateTableRequest};

use crate::world::{NAME, World, dead_address, deadline, partition, soon, table};

#[derive(Clone, Default)]
struct FakeControl {
    refusal: Arc<Mutex<Option<Status>>>,
    updates: Arc<Mutex<Vec<UpdateTableRequest>>>,
}

impl FakeControl {
    fn answer(&self, table: &TableDescriptor) -> Result<Response<TableAnswer>, Status> {
        match self.refusal.lock().unwrap().clone() {
            Some(status) => Err(status),
            None => Ok(Response::new(TableAnswer { table: table.encode() })),
        }
    }
}

#[tonic::async_trait]
impl Control for FakeControl {
    async fn create_table(&self, request: Request<CreateTableRequest>) -> Result<Response<TableAnswer>, Status> {
        let mut wish = TableDescriptor::decode(request.into_inner().wish).unwrap();
        wish.id = TableId(0xc0de);
        wish.version = 1;
        wish.status = TableStatus::Creating;
        self.answer(&wish)
    }

    async fn update_table(&self, request: Request<UpdateTableRequest>) -> Result<Response<TableAnswer>, Status> {
        self.updates.lock().unwrap().push(request.into_inner());
        self.answer(&table(TableStatus::Updating, 12))
    }

    async fn delete_table(&self, _: Request<DeleteTableRequest>) -> Result<Response<TableAnswer>, Status> {
        self.answer(&table(TableStatus::Deleting, 13))
    }
}

/// The first address of the control service is dead.
async fn routing(control: FakeControl, world: &World) -> Routing {
    let (held, dead) = dead_address();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tonic::transport::Server::builder().add_service(ControlServer::new(control));
    tokio::spawn(async move {
        let served = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
        drop(held);
        served
    });
    let settings =
        Settings { zone: String::new(), memds: vec![world.memds_address.clone()], control: vec![dead, address] };
    Routing::start(settings, Arc::new(TonicConnector::default()))
}

#[tokio::test]
async fn a_table_just_created_is_known_before_memds_hears_of_it() {
    let mut world = World::start().await;
    let routing = routing(FakeControl::default(), &world).await;
    let created = routing.create_table(table(TableStatus::Active, 0), deadline()).await.unwrap();
    assert_eq!((created.id, created.status), (TableId(0xc0de), TableStatus::Creating));
    world.kill_memds().await;
    assert_eq!(*routing.table(NAME, deadline()).await.unwrap(), created);
}

#[tokio::test]
async fn updates_and_deletions_travel_whole() {
    let world = World::with_one_partition().await;
    let control = FakeControl::default();
    let routing = routing(control.clone(), &world).await;
    let update = TableUpdate {
        pay_per_request: Some(false),
        throughput: Some((8, 3)),
        deletion_protection: Some(true),
        table_class: None,
    };
    assert_eq!(routing.update_table(NAME, update, deadline()).await.unwrap().version, 12);
    let expected = UpdateTableRequest {
        name: NAME.to_owned(),
        pay_per_request: Some(false),
        throughput: Some(Throughput { read_units: 8, write_units: 3 }),
        deletion_protection: Some(true),
        table_class: None,
    };
    assert_eq!(*control.updates.lock().unwrap(), vec![expected]);
    assert_eq!(routing.delete_table(NAME, deadline()).await.unwrap().status, TableStatus::Deleting);
    assert_eq!(routing.table(NAME, deadline()).await.unwrap().status, TableStatus::Deleting);
}

#[tokio::test]
async fn refusals_keep_their_code_and_their_sentence() {
    let world = World::start().await;
    let control = FakeControl::default();
    let routing = routing(control.clone(), &world).await;
    let cases = [
        (Status::already_exists("Table already exists: readings"), ControlCode::ResourceInUse),
        (Status::failed_precondition("Table is being updated: readings"), ControlCode::ResourceInUse),
        (Status::not_found("Table: readings not found"), ControlCode::ResourceNotFound),
        (Status::invalid_argument("One or more parameter values were invalid"), ControlCode::Validation),
        (Status::resource_exhausted("Subscriber limit exceeded"), ControlCode::LimitExceeded),
    ];
    for (status, code) in cases {
        *control.refusal.lock().unwrap() = Some(status.clone());
        let refused = routing.create_table(table(TableStatus::Active, 0), deadline()).await;
        assert_eq!(refused, Err(Failure::Control { code, message: status.message().to_owned() }));
    }
    *control.refusal.lock().unwrap() = Some(Status::internal("the resource store is away"));
    assert_eq!(routing.delete_table(NAME, deadline()).await, Err(Failure::Unknown));
}

#[tokio::test]
async fn without_a_control_service_nothing_was_done() {
    let world = World::start().await;
    let refused = world.routing.delete_table(NAME, soon()).await;
    assert_eq!(refused, Err(Failure::Unavailable("the control service cannot be reached".to_owned())));
}

#[tokio::test]
async fn tables_and_sizes_come_from_memds() {
    let world = World::start().await;
    let early = world.routing.list_tables("", 10, soon()).await;
    assert!(matches!(early, Err(Failure::Unavailable(_))), "a server that knows nothing yet lists nothing: {early:?}");
    world
        .announce(TableStatus::Active, &[(partition(20, "", Some("e"), 1), 1, 4), (partition(21, "e", None, 1), 2, 4)]);
    assert_eq!(world.routing.list_tables("", 10, deadline()).await, Ok((vec![NAME.to_owned()], false)));
    let size = world.routing.table_size(&table(TableStatus::Active, 2), deadline()).await;
    assert_eq!(size, Ok(TableSize { items: 6, bytes: 140 }), "the sum of its partitions");
}
