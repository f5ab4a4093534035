//! A control service behind a door, and clients of it.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};
use wire::control::control_client::ControlClient;
use wire::control::control_server::{Control, ControlServer};
use wire::control::{CreateTableRequest, DeleteTableRequest, TableAnswer, UpdateTableRequest};
use wire::door::{self, Manner};
use wire::seal::callers::Voice;
use wire::seal::connect::{self, Line, Whom};
use wire::seal::{Pem, Seal};

use crate::authority::{Authority, Files};

pub const OPERATOR: &str = "spiffe://trivet/shop/music/operator";
pub const ROUTER: &str = "spiffe://trivet/shop/music/router";

impl Files {
    /// The same, of somebody who trusts these.
    pub fn trusting(self, authorities: &[&Authority]) -> Files {
        Files { ca: authorities.iter().map(|authority| authority.pem.as_str()).collect(), ..self }
    }

    pub fn pem(&self) -> Pem {
        let Files { ca, certificate, key } = self.clone();
        Pem { ca: ca.into(), certificate: certificate.into(), key: key.into() }
    }
}

pub fn seal(authority: &Authority, uri: &str) -> Seal {
    Seal::from_pem(authority.files(uri).pem()).unwrap()
}

/// Answers who has asked.
#[derive(Clone, Default)]
pub struct Service {
    pub callers: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl Control for Service {
    async fn create_table(&self, request: Request<CreateTableRequest>) -> Result<Response<TableAnswer>, Status> {
        let caller = match Voice::of(&request) {
            Voice::Of(identity, _) => identity.to_string(),
            Voice::Anybodys => "anybody".to_owned(),
            Voice::Nobodys => "nobody".to_owned(),
        };
        self.callers.lock().unwrap().push(caller);
        Ok(Response::new(TableAnswer { table: request.into_inner().wish }))
    }

    async fn update_table(&self, _: Request<UpdateTableRequest>) -> Result<Response<TableAnswer>, Status> {
        Err(Status::not_found("no table"))
    }

    async fn delete_table(&self, _: Request<DeleteTableRequest>) -> Result<Response<TableAnswer>, Status> {
        Err(Status::not_found("no table"))
    }
}

pub struct World {
    pub address: SocketAddr,
    pub service: Service,
}

impl World {
    pub async fn start(manner: Manner) -> World {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Service::default();
        let server = door::server().add_service(ControlServer::new(service.clone()));
        tokio::spawn(server.serve_with_incoming(door::guests(listener, manner)));
        World { address, service }
    }

    pub async fn line(&self, seal: Option<&Seal>, whom: Whom) -> Result<Line, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        connect::connect(endpoint, seal, whom).await
    }

    /// One call; the whole of the error where it fails, whenever that is.
    pub async fn call(&self, seal: Option<&Seal>, whom: Whom) -> Result<Line, String> {
        let line = self.line(seal, whom).await.map_err(|error| chain(&error))?;
        call(&line).await?;
        Ok(line)
    }
}

pub async fn call(line: &Line) -> Result<(), String> {
    let mut client = ControlClient::new(line.channel.clone());
    let answer = client.create_table(CreateTableRequest { wish: "a table".into() }).await;
    answer.map(drop).map_err(|status| chain(&status))
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

pub async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
