//! A MemDS server, as far as the control side speaks to it.

use model::TableDescriptor;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, Streaming};
use wire::door::Manner;
use wire::memds::mem_ds_server::{MemDs, MemDsServer};
use wire::memds::{
    Announcement, AnnouncementAnswer, ListPartitionsAnswer, ListPartitionsRequest, ListTablesAnswer, ListTablesRequest,
    LookupAnswerFrame, LookupFrame, PutTableAnswer, PutTableRequest, RemoveTableAnswer, RemoveTableRequest,
};

use super::{Fleet, World};

struct Server {
    fleet: Fleet,
}

pub async fn serve(fleet: Fleet, listener: TcpListener) {
    let server = MemDsServer::new(Server { fleet });
    wire::door::server()
        .add_service(server)
        .serve_with_incoming(wire::door::guests(listener, Manner::Plain))
        .await
        .unwrap();
}

#[tonic::async_trait]
impl MemDs for Server {
    type AnnounceStream = futures::stream::Pending<Result<AnnouncementAnswer, Status>>;
    type LookupStream = futures::stream::Pending<Result<LookupAnswerFrame, Status>>;

    async fn announce(&self, _: Request<Streaming<Announcement>>) -> Result<Response<Self::AnnounceStream>, Status> {
        Err(Status::unimplemented("nodes alone announce"))
    }

    async fn lookup(&self, _: Request<Streaming<LookupFrame>>) -> Result<Response<Self::LookupStream>, Status> {
        Err(Status::unimplemented("routers alone look up"))
    }

    async fn list_tables(&self, _: Request<ListTablesRequest>) -> Result<Response<ListTablesAnswer>, Status> {
        Err(Status::unimplemented("routers alone list"))
    }

    async fn put_table(&self, request: Request<PutTableRequest>) -> Result<Response<PutTableAnswer>, Status> {
        let table = TableDescriptor::decode(request.into_inner().table);
        let table = table.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let put = |world: &mut World| {
            let known = world.known.entry(table.id.0).or_insert_with(|| table.clone());
            if known.version < table.version {
                *known = table.clone();
            }
            Ok(PutTableAnswer {})
        };
        self.fleet.change(format!("PutTable {} {:?}", table.name, table.status), put).await
    }

    async fn remove_table(&self, request: Request<RemoveTableRequest>) -> Result<Response<RemoveTableAnswer>, Status> {
        let table = request.into_inner().table;
        let remove = |world: &mut World| {
            world.known.remove(&table);
            Ok(RemoveTableAnswer {})
        };
        self.fleet.change(format!("RemoveTable {table:016x}"), remove).await
    }

    async fn list_partitions(
        &self,
        _: Request<ListPartitionsRequest>,
    ) -> Result<Response<ListPartitionsAnswer>, Status> {
        Err(Status::unimplemented("routers alone list"))
    }
}
