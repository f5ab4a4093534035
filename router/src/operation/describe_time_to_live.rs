//! DescribeTimeToLive: it cannot be switched on yet, so it is off.

use serde::Deserialize;

use super::{Call, table};
use crate::backend::Backend;
use crate::error::Error;
use crate::json;
use crate::json::field::Text;
use crate::json::write::Writer;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    table_name: Option<Text>,
}

pub async fn run<B: Backend>(call: &mut Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Error> {
    let request: Request = json::parse(body)?;
    table::check_required(request.table_name.as_ref())?;
    call.any_table(table::checked_name(request.table_name.as_ref())).await?;
    let mut json = Writer::new();
    json.object(|json| {
        json.key("TimeToLiveDescription");
        json.object(|json| {
            json.key("TimeToLiveStatus");
            json.text("DISABLED");
        });
    });
    Ok(json.finish())
}
