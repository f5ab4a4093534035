//! Who may sign: access keys and their secrets.

use std::collections::BTreeMap;

use anyhow::{Context, bail};

/// Where the verifier learns a secret.
pub trait Credentials: Send + Sync {
    fn secret(&self, access_key: &str) -> Option<&str>;
}

/// Credentials that never change while the process runs.
#[derive(Default)]
pub struct FixedCredentials(BTreeMap<String, String>);

impl FixedCredentials {
    pub fn add(&mut self, access_key: &str, secret_key: &str) {
        self.0.insert(access_key.to_owned(), secret_key.to_owned());
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads AWS's own format: `[profile]` lines, then `aws_access_key_id = …` and `aws_secret_access_key = …`.
    pub fn add_file(&mut self, text: &str) -> anyhow::Result<()> {
        let mut access_key = None;
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with(['#', ';', '[']) {
                continue;
            }
            let (name, value) = line.split_once('=').with_context(|| format!("line {number} is not `name = value`"))?;
            match name.trim() {
                "aws_access_key_id" => access_key = Some(value.trim().to_owned()),
                "aws_secret_access_key" => {
                    let access_key =
                        access_key.take().with_context(|| format!("line {number}: a secret without an access key"))?;
                    self.add(&access_key, value.trim());
                }
                _ => {}
            }
        }
        if access_key.is_some() {
            bail!("the last access key has no secret");
        }
        Ok(())
    }
}

impl Credentials for FixedCredentials {
    fn secret(&self, access_key: &str) -> Option<&str> {
        self.0.get(access_key).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credentials_file_is_read_as_aws_reads_it() {
        let mut credentials = FixedCredentials::default();
        let file = "# ours\n[default]\naws_access_key_id = A1\naws_secret_access_key=s/1=\nregion = x\n\n[other]\n\
                    aws_access_key_id=A2\naws_secret_access_key = s2\n";
        credentials.add_file(file).unwrap();
        assert_eq!(credentials.secret("A1"), Some("s/1="));
        assert_eq!(credentials.secret("A2"), Some("s2"));
        assert_eq!(credentials.secret("default"), None);
    }

    #[test]
    fn a_broken_credentials_file_is_refused() {
        for (file, expected) in [
            ("hello", "line 1 is not `name = value`"),
            ("\naws_secret_access_key = s", "line 2: a secret without an access key"),
            ("aws_access_key_id = A", "the last access key has no secret"),
        ] {
            let error = FixedCredentials::default().add_file(file).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
