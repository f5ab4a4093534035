//! DescribeEndpoints: the endpoint is the one that was asked.

use serde::Deserialize;

use super::Call;
use crate::error::Error;
use crate::json;
use crate::json::write::Writer;

/// How long a client may remember the endpoint (DynamoDB's number).
const CACHE_MINUTES: u32 = 1440;

#[derive(Deserialize)]
struct Request {}

pub fn run<B>(call: &Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Error> {
    let Request {} = json::parse(body)?;
    let mut json = Writer::new();
    json.object(|json| {
        json.key("Endpoints");
        json.array(|json| {
            json.object(|json| {
                json.key("Address");
                json.text(call.host);
                json.key("CachePeriodInMinutes");
                json.raw(CACHE_MINUTES);
            });
        });
    });
    Ok(json.finish())
}
