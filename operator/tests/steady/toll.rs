//! Every call that an operator makes passes here: it is counted and remembered, and one of them may be the last.

use std::sync::{Arc, Mutex};

use kube::Client;
use kube::client::Body;
use tokio::sync::watch;
use tonic::codegen::http::Request;

/// Whether the last call still reaches whom it was meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

/// The call that ends the operator, counted from 1.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    pub at: usize,
    pub when: When,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Pass,
    /// It is done, and nobody hears the answer.
    LastWords,
    /// Whoever makes it is gone.
    Lost,
}

/// One operator process, from its start to its end.
pub struct Toll {
    kill: Option<Kill>,
    calls: Mutex<Vec<String>>,
    dead: watch::Sender<bool>,
}

impl Toll {
    pub fn new(kill: Option<Kill>) -> Arc<Toll> {
        Arc::new(Toll { kill, calls: Mutex::default(), dead: watch::Sender::new(false) })
    }

    /// One more.
    pub fn pay(&self, call: String) -> Fate {
        let mut calls = self.calls.lock().unwrap();
        if *self.dead.borrow() {
            return Fate::Lost;
        }
        calls.push(call);
        match self.kill {
            Some(Kill { at, when: When::Before }) if at == calls.len() => {
                self.dead.send_replace(true);
                Fate::Lost
            }
            Some(Kill { at, when: When::After }) if at == calls.len() => Fate::LastWords,
            _ => Fate::Pass,
        }
    }

    /// A call that is asked again and again, and changes nothing: it is not counted.
    pub fn ask(&self) -> Fate {
        if *self.dead.borrow() { Fate::Lost } else { Fate::Pass }
    }

    pub fn die(&self) {
        self.dead.send_replace(true);
    }

    pub async fn died(&self) {
        self.dead.subscribe().wait_for(|dead| *dead).await.unwrap();
    }

    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

/// The client of one operator process.
pub fn tolled(client: Client, toll: &Arc<Toll>) -> Client {
    let (toll, namespace) = (Arc::clone(toll), client.default_namespace().to_owned());
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, toll) = (client.clone(), Arc::clone(&toll));
        async move {
            let fate = toll.pay(described(&request));
            if fate == Fate::Lost {
                return std::future::pending().await;
            }
            let answer = client.send(request).await;
            if fate == Fate::LastWords {
                toll.die();
                return std::future::pending().await;
            }
            answer
        }
    });
    Client::new(service, namespace)
}

fn described(request: &Request<Body>) -> String {
    let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let verb = if watches { "WATCH" } else { request.method().as_str() };
    format!("{verb} {}", request.uri().path())
}
