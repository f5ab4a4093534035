//! A seal follows its folder.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use wire::seal::{Seal, bundle};

use crate::authority::{Authority, Files};
use crate::world::{OPERATOR, ROUTER, eventually};

impl Files {
    /// As Kubernetes brings a Secret: a folder of this version, and a link that is swapped.
    fn bring(&self, folder: &Path) {
        let versions = fs::read_dir(folder).unwrap().count();
        let version = folder.join(format!("..version-{versions}"));
        fs::create_dir(&version).unwrap();
        for (name, text) in [("ca.crt", &self.ca), ("tls.crt", &self.certificate), ("tls.key", &self.key)] {
            fs::write(version.join(name), text).unwrap();
        }
        let new = folder.join("..data_tmp");
        std::os::unix::fs::symlink(version.file_name().unwrap(), &new).unwrap();
        fs::rename(new, folder.join("..data")).unwrap();
    }
}

fn reloads(seal: &Seal, outcome: &str) -> String {
    let metrics = seal.metrics();
    let line = metrics
        .lines()
        .find(|line| line.starts_with(&format!("trivet_certificate_reloads_total{{outcome=\"{outcome}\"")));
    line.unwrap().rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_new_content_is_used_and_a_broken_one_is_not() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let folder = TempDir::new().unwrap();
    old.files(ROUTER).bring(folder.path());
    let seal = Seal::from_folder(folder.path()).unwrap();
    assert_eq!((seal.identity().to_string(), seal.trust()), (ROUTER.to_owned(), bundle(old.pem.as_bytes())));
    let both = old.files(ROUTER).trusting(&[&old, &new]);
    both.bring(folder.path());
    eventually(async || (seal.trust() == bundle(both.ca.as_bytes())).then_some(())).await;
    assert_eq!((reloads(&seal, "changed"), reloads(&seal, "refused")), ("1".to_owned(), "0".to_owned()));
    // A certificate that nobody would believe; then one of somebody else.
    old.files(ROUTER).trusting(&[&new]).bring(folder.path());
    eventually(async || (reloads(&seal, "refused") == "1").then_some(())).await;
    new.files(OPERATOR).bring(folder.path());
    eventually(async || (reloads(&seal, "refused") == "2").then_some(())).await;
    assert_eq!(seal.trust(), bundle(both.ca.as_bytes()));
    new.files(ROUTER).bring(folder.path());
    eventually(async || (seal.trust() == bundle(new.pem.as_bytes())).then_some(())).await;
    assert_eq!((reloads(&seal, "changed"), reloads(&seal, "refused")), ("2".to_owned(), "2".to_owned()));
}

#[test]
fn a_folder_without_a_file_is_named() {
    let folder = TempDir::new().unwrap();
    let error = Seal::from_folder(folder.path()).unwrap_err().to_string();
    assert_eq!(error, format!("failed to read {}", folder.path().join("ca.crt").display()));
}
