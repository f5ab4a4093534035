//! One operator process: a runtime of its own, with which all that it has begun ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use kube::Client;
use operator::config::Config;
use operator::outside::{Outside, Pace};
use tokio::sync::oneshot;

use crate::fleet::Fleet;
use crate::toll::{Kill, Toll, tolled};

/// What every operator of one namespace is told.
#[derive(Clone)]
pub struct Told {
    pub server: kube::Config,
    pub namespace: String,
    pub listen: SocketAddr,
    pub memds: BTreeMap<String, SocketAddr>,
    pub fleet: Fleet,
}

/// Started anew by whoever started it, as a kubelet does, until it is dropped.
pub struct Operator {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    first: Arc<Toll>,
    starts: Arc<Mutex<usize>>,
}

impl Operator {
    pub fn start(told: &Told, kill: Option<Kill>) -> Operator {
        let (stop, mut stopped) = oneshot::channel();
        let (told, first, starts) = (told.clone(), Toll::new(kill), Arc::new(Mutex::new(0)));
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

#[derive(PartialEq, Eq)]
enum End {
    Died,
    Stopped,
}

fn run(told: &Told, toll: &Arc<Toll>, stopped: &mut oneshot::Receiver<()>) -> End {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = tolled(Client::try_from(told.server.clone()).unwrap(), toll);
        let memds = told.memds.clone();
        let locate = move |name: &str| memds.get(name).map_or_else(|| name.to_owned(), SocketAddr::to_string);
        let outside = Outside { client, locate: Arc::new(locate), pace: pace() };
        let config = Config { namespace: told.namespace.clone(), listen: told.listen, metrics_listen: None };
        tokio::select! {
            biased;
            () = toll.died() => End::Died,
            _ = stopped => End::Stopped,
            ended = operator::server::run_in(outside, config, std::future::pending()) => panic!("it ends: {ended:?}"),
        }
    })
}

/// As it is, but that nobody waits where nothing is to be waited for.
fn pace() -> Pace {
    let quick = Duration::from_millis(20);
    Pace { look: quick, burst: Duration::from_millis(2), busy: quick, idle: quick }
}
