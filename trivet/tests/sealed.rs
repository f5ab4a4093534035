//! Real processes, sealed: everything works by mutual TLS, a rotation of the authority costs no client an error, and strangers are
//! refused at every port.
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

#[path = "../../wire/tests/seal/authority.rs"]
mod authority;

#[path = "../../wire/tests/seal/stranger.rs"]
mod stranger;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use authority::{Authority, Files};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use e2e::client::{self, Retries};
use rustls::version::TLS13;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::Endpoint;
use wire::control::DeleteTableRequest;
use wire::control::control_client::ControlClient;
use wire::seal::connect::{self, Whom};
use wire::seal::{Pem, Seal, bundle};

const TABLE: &str = "songs";
const WRITERS: usize = 8;
const WITHIN: Duration = Duration::from_secs(60);
/// How long connections of who is no longer trusted are kept, and a little more.
const GRACE: Duration = Duration::from_secs(32);
/// Until when new certificates are valid; the first ones are for longer. So it can be told which one a process uses.
const NEW_UNTIL: i32 = 2080;

/// One process, its role in its certificate, and its first port.
#[derive(Clone, Copy)]
struct Member {
    name: &'static str,
    role: &'static str,
    port: u16,
    whom: Whom,
}

const NODES: [&str; 3] = ["node/0000000000000011", "node/0000000000000012", "node/0000000000000013"];
const MEMBERS: [Member; 6] = [
    Member { name: "memds", role: "memds", port: 7300, whom: Whom::MemDs },
    Member { name: "control", role: "operator", port: 7200, whom: Whom::Control },
    Member { name: "node-1", role: NODES[0], port: 7400, whom: Whom::AnyNode },
    Member { name: "node-2", role: NODES[1], port: 7410, whom: Whom::AnyNode },
    Member { name: "node-3", role: NODES[2], port: 7420, whom: Whom::AnyNode },
    Member { name: "router", role: "router", port: 8000, whom: Whom::Control },
];

fn uri(role: &str) -> String {
    format!("spiffe://trivet/shop/music/{role}")
}

fn pem(files: &Files) -> Pem {
    let Files { ca, certificate, key } = files.clone();
    Pem { ca: ca.into(), certificate: certificate.into(), key: key.into() }
}

fn trusting(files: Files, authorities: &[&Authority]) -> Files {
    Files { ca: authorities.iter().map(|authority| authority.pem.as_str()).collect(), ..files }
}

/// As Kubernetes brings a Secret: a folder of this version, and a link that is swapped.
fn bring(files: &Files, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let version = folder.join(format!("..version-{}", fs::read_dir(folder).unwrap().count()));
    fs::create_dir(&version).unwrap();
    for (name, text) in [("ca.crt", &files.ca), ("tls.crt", &files.certificate), ("tls.key", &files.key)] {
        fs::write(version.join(name), text).unwrap();
    }
    let new = folder.join("..data_tmp");
    std::os::unix::fs::symlink(version.file_name().unwrap(), &new).unwrap();
    fs::rename(new, folder.join("..data")).unwrap();
}

struct House {
    folder: TempDir,
    running: Vec<Child>,
}

impl Member {
    /// All of 127/8 is this machine; another run of the tests has another address.
    fn at(self, port: u16) -> SocketAddr {
        let [high, low] = u16::try_from(std::process::id() % (1 << 16)).unwrap().to_be_bytes();
        SocketAddr::from(([127, high, low, 80], port))
    }

    fn address(self) -> String {
        self.at(self.port).to_string()
    }

    /// The control service has none.
    fn metrics(self) -> SocketAddr {
        self.at(self.port + 1)
    }

    fn has_metrics(self) -> bool {
        self.name != "control"
    }

    fn get(self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.metrics()).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    fn days_left(self) -> Option<String> {
        let metrics = self.get("/metrics")?;
        metrics.lines().find_map(|line| line.strip_prefix("trivet_certificate_days_left ").map(str::to_owned))
    }

    fn arguments(self, folder: &Path) -> Vec<String> {
        let nodes = MEMBERS.iter().filter(|member| member.name.starts_with("node")).map(|member| member.address());
        let (nodes, memds, control) = (nodes.collect::<Vec<_>>().join(","), MEMBERS[0].address(), MEMBERS[1].address());
        let data = folder.join(self.name).display().to_string();
        let zone = format!("zone-{}", &self.name[self.name.len() - 1..]);
        let mut flags: Vec<(&str, String)> = match self.name {
            "memds" => Vec::new(),
            "control" => vec![("--resources", data), ("--nodes", nodes), ("--memds", memds)],
            "router" => vec![
                ("--memds", memds),
                ("--control", control),
                ("--zone", "zone-1".to_owned()),
                // A stall of a busy machine is not to be a client's error.
                ("--operation-deadline-ms", "60000".to_owned()),
            ],
            _ => vec![
                ("--data", data),
                ("--zone", zone),
                ("--memds", memds),
                ("--seeds", nodes),
                ("--cache", "32MiB".to_owned()),
                ("--reserve", "1MiB".to_owned()),
            ],
        };
        flags.push(("--listen", self.address()));
        flags.push(("--tls", tls(folder, self).display().to_string()));
        if self.has_metrics() {
            flags.push(("--metrics-listen", self.metrics().to_string()));
        }
        flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    }
}

fn tls(folder: &Path, member: Member) -> PathBuf {
    folder.join(format!("tls-{}", member.name))
}

impl House {
    fn start(certificates: &BTreeMap<&str, Files>) -> House {
        let mut house = House { folder: TempDir::new().unwrap(), running: Vec::new() };
        house.bring(certificates);
        for member in MEMBERS {
            let folder = house.folder.path();
            let is_node = member.name.starts_with("node");
            let log = File::create(folder.join(format!("{}.log", member.name))).unwrap();
            let child = Command::new(env!("CARGO_BIN_EXE_trivet"))
                .arg(if is_node { "node" } else { member.name })
                .args(member.arguments(folder))
                .args(is_node.then_some("--format"))
                .arg("--stop-with-stdin")
                .envs([("TRIVET_ACCESS_KEY", "local"), ("TRIVET_SECRET_KEY", "local")])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(log)
                .kill_on_drop(true)
                .spawn();
            house.running.push(child.unwrap());
        }
        house
    }

    fn bring(&self, certificates: &BTreeMap<&str, Files>) {
        for member in MEMBERS {
            bring(&certificates[member.name], &tls(self.folder.path(), member));
        }
    }

    fn logs(&self) -> String {
        let log = |member: Member| {
            let text = fs::read_to_string(self.folder.path().join(format!("{}.log", member.name))).unwrap_or_default();
            format!("--- {}\n{text}", member.name)
        };
        MEMBERS.map(log).concat()
    }
}

async fn eventually<T>(house: &House, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}\n{}", house.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Every process trusts these.
async fn all_trust(house: &House, authorities: &str) {
    let wanted = bundle(authorities.as_bytes());
    for member in MEMBERS.into_iter().filter(|member| member.has_metrics()) {
        let what = format!("{} to trust the new bundle", member.name);
        eventually(house, &what, async || {
            member.get("/trust").is_some_and(|trust| trust.trim() == wanted).then_some(())
        })
        .await;
    }
}

/// Why a stranger's call of this process is refused; none if it is answered.
async fn refusal(member: Member, seal: Option<&Seal>) -> Option<String> {
    let endpoint = Endpoint::from_shared(format!("http://{}", member.address())).unwrap();
    let line = match connect::connect(endpoint.timeout(WITHIN), seal, member.whom).await {
        Ok(line) => line,
        Err(error) => return Some(format!("{error:?}")),
    };
    // A router that is let in may delete a table, and finds that there is none, or nobody who knows tables.
    let answer = ControlClient::new(line.channel).delete_table(DeleteTableRequest { name: "nothing".to_owned() }).await;
    let status = answer.unwrap_err();
    let inside = [Code::NotFound, Code::Unimplemented];
    (!inside.contains(&status.code())).then(|| format!("{status:?}"))
}

/// Writers that count what they were promised.
struct Writers {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<(u64, Vec<String>)>>,
}

fn string(text: String) -> AttributeValue {
    AttributeValue::S(text)
}

async fn write_and_read(client: &Client, key: &str, count: u64) -> Result<(), String> {
    let (key, value) = (string(key.to_owned()), string(count.to_string()));
    let put = client.put_item().table_name(TABLE).item("key", key.clone()).item("count", value.clone()).send();
    put.await.map_err(|error| format!("put: {error:?}"))?;
    let got = client.get_item().table_name(TABLE).key("key", key).consistent_read(true).send().await;
    let item = got.map_err(|error| format!("get: {error:?}"))?.item;
    match item.as_ref().and_then(|item| item.get("count")) == Some(&value) {
        true => Ok(()),
        false => Err(format!("wrote {count}, read {item:?}")),
    }
}

impl Writers {
    fn start(client: &Client) -> Writers {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let write = |number: usize| {
            let (client, stop, written) = (client.clone(), Arc::clone(&stop), Arc::clone(&written));
            tokio::spawn(async move {
                let (mut count, mut failures) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    count += 1;
                    failures.extend(write_and_read(&client, &format!("key-{number}"), count).await.err());
                    written.fetch_add(1, Ordering::Relaxed);
                }
                (count, failures)
            })
        };
        let tasks = (0..WRITERS).map(write).collect();
        Writers { stop, written, tasks }
    }

    async fn go_on(&self, house: &House, more: u64) {
        let until = self.written.load(Ordering::Relaxed) + more;
        eventually(house, "writes", async || (self.written.load(Ordering::Relaxed) >= until).then_some(())).await;
    }

    async fn end(self, house: &House) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            let (count, failures) = task.await.unwrap();
            assert!(failures.is_empty(), "of {count}: {failures:#?}\n{}", house.logs());
        }
    }
}

fn certificates(of: impl Fn(Member) -> Files) -> BTreeMap<&'static str, Files> {
    MEMBERS.into_iter().map(|member| (member.name, of(member))).collect()
}

async fn everybody_refuses(house: &House, why: &str, seal: Option<&Seal>) {
    for member in MEMBERS.into_iter().filter(|member| member.name != "router") {
        // A plain client may be told before it has a call that could fail by it.
        eventually(house, why, async || {
            let refused = refusal(member, seal).await;
            let refused = refused.unwrap_or_else(|| panic!("{} answers a stranger\n{}", member.name, house.logs()));
            refused.contains(why).then_some(())
        })
        .await;
    }
}

fn admin(house: &House, certificate: Option<&Files>) -> String {
    let nodes = MEMBERS.iter().filter(|member| member.name.starts_with("node")).map(|member| member.address());
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_trivet"));
    command.args(["admin", "nodes", "--nodes", &nodes.collect::<Vec<_>>().join(",")]);
    if let Some(files) = certificate {
        let folder = house.folder.path().join("tls-admin");
        bring(files, &folder);
        command.arg("--tls").arg(folder);
    }
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_is_rotated_under_traffic_and_strangers_stay_outside() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let both = format!("{}{}", old.pem, new.pem);
    let first = certificates(|member| old.files(&uri(member.role)));
    let house = House::start(&first);
    let client = client::connect(&MEMBERS[5].address(), Retries::None, WITHIN);
    eventually(&house, "a table", async || client::create_table(&client, TABLE, 3, WITHIN).await.ok()).await;
    let writers = Writers::start(&client);
    writers.go_on(&house, 200).await;
    assert_eq!(admin(&house, Some(&old.files(&uri("admin")))).matches(" ready ").count(), 3);
    assert_eq!(admin(&house, None).matches("does not answer").count(), 3);

    // Both are trusted; then everybody has a new certificate; then the old authority is dropped.
    let days_left = MEMBERS[5].days_left();
    house.bring(&first.into_iter().map(|(name, files)| (name, trusting(files, &[&old, &new]))).collect());
    all_trust(&house, &both).await;
    writers.go_on(&house, 200).await;
    let certificate = |member: Member| {
        new.sign(&[&uri(member.role)], |params| params.not_after = rcgen::date_time_ymd(NEW_UNTIL, 1, 1))
    };
    let second = certificates(certificate);
    house.bring(&second.iter().map(|(name, files)| (*name, trusting(files.clone(), &[&old, &new]))).collect());
    for member in MEMBERS.into_iter().filter(|member| member.has_metrics()) {
        eventually(&house, "a new certificate", async || (member.days_left() != days_left).then_some(())).await;
    }
    let newcomer = Seal::from_pem(pem(&new.files(&uri("router")))).unwrap();
    eventually(&house, "control's", async || refusal(MEMBERS[1], Some(&newcomer)).await.is_none().then_some(())).await;
    writers.go_on(&house, 200).await;
    house.bring(&second);
    all_trust(&house, &new.pem).await;
    tokio::time::sleep(GRACE).await;
    writers.go_on(&house, 200).await;
    writers.end(&house).await;
    // Tables, too, are made by what is new.
    eventually(&house, "a table", async || client::create_table(&client, "more", 1, WITHIN).await.ok()).await;

    let of_old = Seal::from_pem(pem(&trusting(old.files(&uri("router")), &[&old, &new]))).unwrap();
    everybody_refuses(&house, "signed by no authority that is trusted", Some(&of_old)).await;
    let of_another = Seal::from_pem(pem(&new.files("spiffe://trivet/shop/books/router"))).unwrap();
    everybody_refuses(&house, "is of another cluster than", Some(&of_another)).await;
    everybody_refuses(&house, "this port is sealed", None).await;
    // Nor does any port believe who would believe it.
    for member in MEMBERS.into_iter().filter(|member| member.name != "router") {
        let knock = async |files: Files| stranger::knock(member.at(member.port), &TLS13, Some(&files)).await;
        assert_eq!(knock(new.files(&uri("router"))).await, "let in");
        let other = knock(new.files("spiffe://trivet/shop/books/router")).await;
        assert!(other.contains("CertificateUnknown"), "{}: {other}", member.name);
        let dropped = knock(old.files(&uri("router"))).await;
        assert!(dropped.contains("UnknownCA"), "{}: {dropped}", member.name);
    }
}
