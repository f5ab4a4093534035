//! Requests as bytes, signed before the clock runs.

use std::fmt::Write as _;
use std::time::SystemTime;

use anyhow::Context;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign};
use aws_sigv4::sign::v4;

use crate::client;

/// Builds requests for one address; they are valid for a quarter of an hour.
pub struct Signer {
    pub address: String,
    pub time: SystemTime,
}

impl Signer {
    /// The bytes of a signed request for `operation`.
    pub fn request(&self, operation: &str, body: &str) -> anyhow::Result<Vec<u8>> {
        let target = format!("DynamoDB_20120810.{operation}");
        let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", &target)];
        let identity = client::credentials().into();
        let params: SigningParams<'_> = v4::SigningParams::builder()
            .identity(&identity)
            .region(client::REGION)
            .name("dynamodb")
            .time(self.time)
            .settings(SigningSettings::default())
            .build()
            .context("say how to sign")?
            .into();
        let url = format!("http://{}/", self.address);
        let signable = SignableRequest::new("POST", url, headers.into_iter(), SignableBody::Bytes(body.as_bytes()));
        let (signed, _) = sign(signable.context("read what to sign")?, &params).context("sign")?.into_parts();
        let mut request = format!("POST / HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n", self.address, body.len());
        for (name, value) in headers.into_iter().chain(signed.headers()) {
            write!(request, "{name}: {value}\r\n").context("write a header")?;
        }
        request.push_str("\r\n");
        request.push_str(body);
        Ok(request.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_carries_its_signature_over_host_target_and_date() {
        let signer = Signer { address: "127.0.0.1:8123".into(), time: SystemTime::UNIX_EPOCH };
        let request = String::from_utf8(signer.request("GetItem", "{}").unwrap()).unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "{}");
        for line in ["host: 127.0.0.1:8123", "content-length: 2", "x-amz-date: 19700101T000000Z"] {
            assert!(head.lines().any(|found| found == line), "{line} is not in {head}");
        }
        assert!(head.contains("Credential=local/19700101/us-east-1/dynamodb/aws4_request"), "{head}");
        assert!(head.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-target"), "{head}");
    }
}
