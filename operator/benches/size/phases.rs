//! What happens to the operator that is measured, one after the other.

use std::future::Future;
use std::time::{Duration, Instant};

use kube::Client;
use kube::api::{Patch, PatchParams};
use operator::crd::Cluster;
use serde_json::json;
use tonic::codegen::http::Request;

use crate::Arguments;
use crate::changes;
use crate::counts::Counts;
use crate::report::Row;
use crate::server::ApiServer;
use crate::stage::{CLUSTER, Stage};
use crate::stock;
use crate::subject::Subject;

const SAMPLE: Duration = Duration::from_secs(1);
/// Leaders that change in each second while a zone is lost.
const CHANGES_PER_S: usize = 5;
/// So many versions are written that are forgotten again.
const FORGOTTEN: usize = 20;
const LOST_ZONE: &str = "c";

/// What was counted at the beginning of a phase.
struct Mark {
    at: Instant,
    operator: Counts,
    server: Counts,
    cpu_s: f64,
}

pub async fn all(arguments: &Arguments) -> Vec<Row> {
    let mut server = ApiServer::start().await;
    operator::definitions::apply(server.client.clone()).await.unwrap();
    let mut stage = Stage::new(&server.client, &server.config).await;
    {
        println!("three nodes are installed");
        let _installs = Subject::start(arguments.trivet.as_deref(), &stage).await;
        stage.apply_cluster().await;
        let ready = ["Cluster trv.status.conditions", "\"type\":\"Ready\"", "\"status\":\"True\""];
        stage.until("three nodes", |picture| picture.has(&ready) && picture.count(&["disk ", "runs=true"]) == 3).await;
    }
    println!("{} Tables with {} Partitions are written", arguments.tables, arguments.partitions);
    stock::put(&stage, arguments.partitions, arguments.tables).await;
    let before =
        Mark { at: Instant::now(), operator: Counts::default(), server: of_server(&stage.client).await, cpu_s: 0.0 };
    let subject = Subject::start(arguments.trivet.as_deref(), &stage).await;
    let started = since("start", &subject, &stage.client, before, subject.settles()).await;
    vec![
        started,
        idle(arguments, &subject, &stage).await,
        leaders_change(arguments, &subject, &stage).await,
        listed_anew(&subject, &mut stage, &mut server).await,
        zone_lost(arguments, &subject, &stage).await,
    ]
}

async fn idle(arguments: &Arguments, subject: &Subject, stage: &Stage) -> Row {
    let phase = tokio::time::sleep(Duration::from_secs(arguments.seconds));
    measured("idle", subject, &stage.client, phase).await
}

async fn leaders_change(arguments: &Arguments, subject: &Subject, stage: &Stage) -> Row {
    let phase = async {
        changes::change_leaders(&mut stage.fleet.world(), 0, arguments.changes as usize);
        changes::until_told(stage).await;
        subject.settles().await;
    };
    measured("changes", subject, &stage.client, phase).await
}

/// etcd is set back to an older state: whoever watches lists everything once more.
async fn listed_anew(subject: &Subject, stage: &mut Stage, server: &mut ApiServer) -> Row {
    println!("everything is listed anew");
    subject.forget_the_most();
    let client = stage.client.clone();
    let Mark { at, operator, cpu_s, server: _ } = mark(subject, &client).await;
    server.stop();
    server.save();
    server.start_again().await;
    for number in 0..FORGOTTEN {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { "forgotten": number.to_string() } } }));
        stage.api::<Cluster>().patch(CLUSTER, &PatchParams::default(), &patch).await.unwrap();
    }
    subject.settles().await;
    let lists = subject.said().await.counts.lists_of("partitions");
    server.stop();
    server.set_back();
    server.start_again().await;
    stage.restart_machines();
    let lists_again = async {
        while subject.said().await.counts.lists_of("partitions") == lists {
            tokio::time::sleep(SAMPLE).await;
        }
        subject.settles().await;
    };
    // The API server's counts began anew with it.
    let before = Mark { at, operator, server: Counts::default(), cpu_s };
    Row { server: None, ..since("listed anew", subject, &client, before, lists_again).await }
}

async fn zone_lost(arguments: &Arguments, subject: &Subject, stage: &Stage) -> Row {
    let is_lost = |claim: &&String| stage.fleet.world().disks[*claim].zone == LOST_ZONE;
    let claims: Vec<String> = stage.fleet.world().disks.keys().cloned().collect();
    let claim = claims.iter().find(is_lost).unwrap();
    let phase = async {
        stage.fleet.stop(claim);
        // Kubernetes notices.
        stage.fleet.formatted.notify_one();
        let partitions = arguments.partitions as usize;
        for second in 0..usize::try_from(arguments.seconds).unwrap() {
            tokio::time::sleep(SAMPLE).await;
            let mut world = stage.fleet.world();
            world.settle();
            changes::change_leaders(&mut world, second * CHANGES_PER_S % partitions, CHANGES_PER_S);
        }
    };
    measured("zone lost", subject, &stage.client, phase).await
}

async fn measured(name: &'static str, subject: &Subject, client: &Client, phase: impl Future<Output = ()>) -> Row {
    subject.forget_the_most();
    let before = mark(subject, client).await;
    since(name, subject, client, before, phase).await
}

async fn mark(subject: &Subject, client: &Client) -> Mark {
    let (operator, server) = (subject.said().await.counts, of_server(client).await);
    Mark { at: Instant::now(), operator, server, cpu_s: subject.cpu_s() }
}

async fn since(
    name: &'static str,
    subject: &Subject,
    client: &Client,
    before: Mark,
    phase: impl Future<Output = ()>,
) -> Row {
    println!("{name} …");
    let mut phase = std::pin::pin!(phase);
    let mut samples = vec![(before.at, before.operator.writes())];
    loop {
        tokio::select! {
            biased;
            () = &mut phase => break,
            () = tokio::time::sleep(SAMPLE) => {}
        }
        if let Some(said) = subject.answers().await {
            samples.push((Instant::now(), said.counts.writes()));
        }
    }
    let Mark { at, operator, server, cpu_s } = mark(subject, client).await;
    let (resident_bytes, peak_bytes) = subject.memory_bytes();
    let row = Row {
        name,
        lasted: at - before.at,
        operator: operator.since(&before.operator),
        server: Some(server.since(&before.server)),
        samples,
        cpu_s: cpu_s - before.cpu_s,
        resident_bytes,
        peak_bytes,
    };
    println!("{name}: {}", row.operator);
    row
}

async fn of_server(client: &Client) -> Counts {
    let text = client.request_text(Request::get("/metrics").body(Vec::new()).unwrap()).await.unwrap();
    Counts::of_server(&text)
}
