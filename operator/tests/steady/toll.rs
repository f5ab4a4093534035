//! Every call that an operator makes passes here: it is counted and remembered, and one of them may be the last.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use kube::Client;
use kube::client::Body;
use tokio::sync::{Notify, watch};
use tonic::codegen::http::{Method, Request};

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

/// Who has called what, of several processes.
pub type Log = Arc<Mutex<Vec<(String, String)>>>;

/// A call that changes something at the API server but the lease. Who tells nodes something is not known to them.
pub fn is_act(call: &str) -> bool {
    let reads = ["GET ", "WATCH ", "gRPC "].iter().any(|verb| call.starts_with(verb));
    !reads && !call.contains("/leases")
}

/// One operator process, from its start to its end.
pub struct Toll {
    kill: Option<Kill>,
    calls: Mutex<Vec<String>>,
    dead: watch::Sender<bool>,
    heard: Mutex<Vec<(usize, String)>>,
    log: Option<(String, Log)>,
    freezer: Freezer,
}

/// Stops the process's one thread in the middle of its work, until it is let go.
#[derive(Default)]
struct Freezer {
    /// At its next act.
    wanted: AtomicBool,
    begins: Notify,
    frozen: Mutex<bool>,
    thawed: Condvar,
}

impl Toll {
    pub fn new(kill: Option<Kill>) -> Arc<Toll> {
        let (calls, dead, freezer) = (Mutex::default(), watch::Sender::new(false), Freezer::default());
        Arc::new(Toll { kill, calls, dead, heard: Mutex::default(), log: None, freezer })
    }

    pub fn logged(who: &str, log: &Log) -> Arc<Toll> {
        let mut toll = Toll::new(None);
        Arc::get_mut(&mut toll).unwrap().log = Some((who.to_owned(), Arc::clone(log)));
        toll
    }

    pub fn freeze_at_its_next_act(&self) {
        *self.freezer.frozen.lock().unwrap() = true;
        self.freezer.wanted.store(true, Ordering::Relaxed);
    }

    pub fn thaw(&self) {
        *self.freezer.frozen.lock().unwrap() = false;
        self.freezer.thawed.notify_all();
    }

    /// A task of the process: while it is frozen, nothing else of the process goes on.
    pub async fn freezes(&self) {
        loop {
            self.freezer.begins.notified().await;
            let mut frozen = self.freezer.frozen.lock().unwrap();
            while *frozen {
                frozen = self.freezer.thawed.wait(frozen).unwrap();
            }
        }
    }

    /// One more.
    pub fn pay(&self, call: String) -> Fate {
        let mut calls = self.calls.lock().unwrap();
        if *self.dead.borrow() {
            return Fate::Lost;
        }
        if let Some((who, log)) = &self.log {
            log.lock().unwrap().push((who.clone(), call.clone()));
        }
        if is_act(&call) && self.freezer.wanted.swap(false, Ordering::Relaxed) {
            self.freezer.begins.notify_one();
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

    fn hear(&self, path: String) {
        let calls = self.calls.lock().unwrap().len();
        self.heard.lock().unwrap().push((calls, path));
    }

    /// What was read, and how many calls had been made by then.
    pub fn heard(&self) -> Vec<(usize, String)> {
        self.heard.lock().unwrap().clone()
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
            let (reads, path) = (request.method() == Method::GET, request.uri().to_string());
            let answer = client.send(request).await;
            if reads && answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
                toll.hear(path);
            }
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
