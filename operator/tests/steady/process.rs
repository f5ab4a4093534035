//! One operator process: a runtime of its own, with which all that it has begun ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use kube::Client;
use operator::config::Config;
use operator::lease::Terms;
use operator::outside::{Outside, Pace};
use tokio::sync::oneshot;

use crate::fleet::Fleet;
use crate::luck::{Luck, unlucky};
use crate::toll::{Kill, Log, Toll, tolled};

/// What every operator of one namespace is told.
#[derive(Clone)]
pub struct Told {
    pub server: kube::Config,
    pub namespace: String,
    pub identity: String,
    /// Between it and the API server.
    pub luck: Option<Arc<Luck>>,
    pub listen: SocketAddr,
    /// Where it tells what it counts.
    pub metrics: Option<SocketAddr>,
    pub memds: BTreeMap<String, SocketAddr>,
    pub fleet: Fleet,
}

/// Started anew by whoever started it, as a kubelet does, until it is dropped.
pub struct Operator {
    stop: Option<oneshot::Sender<Stop>>,
    thread: Option<JoinHandle<()>>,
    first: Arc<Toll>,
    starts: Arc<Mutex<usize>>,
}

impl Operator {
    pub fn start(told: &Told, kill: Option<Kill>) -> Operator {
        Operator::with(told, Toll::new(kill))
    }

    /// Its calls go into a log that others write, too.
    pub fn logged(told: &Told, log: &Log) -> Operator {
        Operator::with(told, Toll::logged(&told.identity, log))
    }

    fn with(told: &Told, first: Arc<Toll>) -> Operator {
        let (stop, mut stopped) = oneshot::channel();
        let (told, starts) = (told.clone(), Arc::new(Mutex::new(0)));
        let (mut toll, counted) = (Arc::clone(&first), Arc::clone(&starts));
        let thread = std::thread::spawn(move || {
            loop {
                *counted.lock().unwrap() += 1;
                told.fleet.serves(&toll);
                if run(&told, &toll, &mut stopped) == End::Stopped {
                    return;
                }
                toll = Toll::new(None);
            }
        });
        Operator { stop: Some(stop), thread: Some(thread), first, starts }
    }

    /// What the first process has called.
    pub fn calls(&self) -> Vec<String> {
        self.first.calls()
    }

    pub fn heard(&self) -> Vec<(usize, String)> {
        self.first.heard()
    }

    pub fn freeze_at_its_next_act(&self) {
        self.first.freeze_at_its_next_act();
    }

    pub fn thaw(&self) {
        self.first.thaw();
    }

    /// As SIGTERM does: it has ended when this returns.
    pub fn stop(mut self) {
        self.stop.take().unwrap().send(Stop::Gently).unwrap();
    }

    pub fn starts(&self) -> usize {
        *self.starts.lock().unwrap()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Err(panic) = self.thread.take().unwrap().join() {
            std::panic::resume_unwind(panic);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Stop {
    Gently,
}

#[derive(PartialEq, Eq)]
enum End {
    Died,
    Stopped,
}

fn run(told: &Told, toll: &Arc<Toll>, stopped: &mut oneshot::Receiver<Stop>) -> End {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = match &told.luck {
            Some(luck) => unlucky(&told.server, luck),
            None => Client::try_from(told.server.clone()).unwrap(),
        };
        let client = tolled(client, toll);
        tokio::spawn({
            let toll = Arc::clone(toll);
            async move { toll.freezes().await }
        });
        let memds = told.memds.clone();
        let locate = move |name: &str| memds.get(name).map_or_else(|| name.to_owned(), SocketAddr::to_string);
        let outside = Outside { client, locate: Arc::new(locate), pace: pace() };
        let config = Config {
            namespace: told.namespace.clone(),
            listen: told.listen,
            identity: Some(told.identity.clone()),
            metrics_listen: told.metrics,
        };
        let (end_it, ends) = oneshot::channel::<()>();
        let shutdown = async { drop(ends.await) };
        let mut running = std::pin::pin!(operator::server::run_in(outside, config, shutdown));
        tokio::select! {
            biased;
            () = toll.died() => return End::Died,
            stop = stopped => if stop.is_err() {
                // Nobody needs it any more.
                return End::Stopped;
            },
            ended = &mut running => panic!("it ends: {ended:?}"),
        }
        drop(end_it);
        running.await.unwrap();
        End::Stopped
    })
}

/// As it is, but that nobody waits where nothing is to be waited for.
fn pace() -> Pace {
    let quick = Duration::from_millis(20);
    let lease = Terms {
        term: Duration::from_secs(2),
        renew_within: Duration::from_millis(1500),
        pace: Duration::from_millis(100),
    };
    Pace { look: quick, burst: Duration::from_millis(2), busy: quick, lease, ..Pace::default() }
}
