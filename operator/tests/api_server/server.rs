//! A real API server with its etcd, on loopback, for one test binary: no controllers, no kubelets.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kube::{Client, Config};

/// How long an API server may take to begin on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(200);
pub const TOKEN: &str = "of-this-test-alone";
/// etcd's folder, and what was set aside of it.
const ETCD: &str = "etcd";
const SAVED: &str = "etcd-saved";

pub struct ApiServer {
    pub client: Client,
    /// For clients of one's own.
    pub config: Config,
    /// In the order in which they are ended.
    children: Vec<Child>,
    ports: Ports,
    folder: tempfile::TempDir,
}

#[derive(Clone, Copy)]
struct Ports {
    etcd: u16,
    members: u16,
    server: u16,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

impl ApiServer {
    pub async fn start() -> ApiServer {
        let folder = tempfile::tempdir().unwrap();
        let ports = Ports { etcd: free_port(), members: free_port(), server: free_port() };
        let mut config = Config::new(format!("https://127.0.0.1:{}", ports.server).parse().unwrap());
        config.accept_invalid_certs = true;
        config.auth_info.token = Some(TOKEN.to_owned().into());
        let client = Client::try_from(config.clone()).unwrap();
        let mut started = ApiServer { client, config, children: Vec::new(), ports, folder };
        started.start_again().await;
        started
    }

    /// As it was left.
    pub async fn start_again(&mut self) {
        let (binaries, folder) = (binaries(), self.folder.path());
        let etcd = etcd(&binaries, folder, self.ports);
        let server = kube_apiserver(&binaries, folder, self.ports);
        self.children = vec![server, etcd];
        self.until_it_answers().await;
    }

    pub fn stop(&mut self) {
        for mut child in self.children.drain(..) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// What etcd has, set aside. Only while it is stopped.
    pub fn save(&self) {
        copy(&self.folder.path().join(ETCD), &self.folder.path().join(SAVED));
    }

    /// What was set aside is what etcd has from now on. Only while it is stopped.
    pub fn set_back(&self) {
        fs::remove_dir_all(self.folder.path().join(ETCD)).unwrap();
        copy(&self.folder.path().join(SAVED), &self.folder.path().join(ETCD));
    }

    async fn until_it_answers(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let asked = self.client.apiserver_version().await;
            if asked.is_ok() {
                return;
            }
            for child in &mut self.children {
                assert!(child.try_wait().unwrap().is_none(), "it has ended: {}", self.folder.path().display());
            }
            assert!(Instant::now() < deadline, "the API server does not answer: {asked:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Where `kube-apiserver` and `etcd` are: as other test suites are told, else as the tool of the house has built them.
fn binaries() -> PathBuf {
    if let Ok(folder) = std::env::var("KUBEBUILDER_ASSETS") {
        return PathBuf::from(folder);
    }
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/cluster/cluster");
    let told = Command::new(&tool).args(["get", "binaries"]).stderr(Stdio::inherit()).output();
    let told = told.unwrap_or_else(|error| panic!("run {}: {error}", tool.display()));
    assert!(told.status.success(), "{} get binaries: {}", tool.display(), told.status);
    PathBuf::from(String::from_utf8(told.stdout).unwrap().trim())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(command: &mut Command, log: &Path) -> Child {
    let log = File::create(log).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

fn etcd(binaries: &Path, folder: &Path, ports: Ports) -> Child {
    let Ports { etcd: port, members: members_port, server: _ } = ports;
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{members_port}"));
    let mut command = Command::new(binaries.join("etcd"));
    command.arg(format!("--data-dir={}", folder.join(ETCD).display()));
    command.args([format!("--listen-client-urls={client}"), format!("--advertise-client-urls={client}")]);
    command.args([format!("--listen-peer-urls={peer}"), format!("--initial-advertise-peer-urls={peer}")]);
    command.args([format!("--initial-cluster=default={peer}"), "--unsafe-no-fsync".to_owned()]);
    spawn(&mut command, &folder.join("etcd.log"))
}

fn kube_apiserver(binaries: &Path, folder: &Path, ports: Ports) -> Child {
    let Ports { etcd: etcd_port, server: port, members: _ } = ports;
    let key = folder.join("service-accounts.key");
    let made = Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048").output().unwrap();
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    let tokens = folder.join("tokens.csv");
    fs::write(&tokens, format!("{TOKEN},tester,1,system:masters\n")).unwrap();
    let mut command = Command::new(binaries.join("kube-apiserver"));
    command.args([
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", folder.join("certificates").display()),
        format!("--token-auth-file={}", tokens.display()),
        "--service-account-issuer=https://127.0.0.1".to_owned(),
        format!("--service-account-key-file={}", key.display()),
        format!("--service-account-signing-key-file={}", key.display()),
        "--service-cluster-ip-range=10.96.0.0/12".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        // There is no controller that would make the accounts.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
    ]);
    spawn(&mut command, &folder.join("kube-apiserver.log"))
}
