//! DeleteTable: the control service takes the table away.

use serde::Deserialize;

use super::{Call, named, table};
use crate::backend::Backend;
use crate::error::Error;
use crate::json;
use crate::json::field::Text;
use crate::json::write::Writer;
use crate::routing::TableSize;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    table_name: Option<Text>,
}

pub async fn run<B: Backend>(call: &mut Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Error> {
    let request: Request = json::parse(body)?;
    table::check_required(request.table_name.as_ref())?;
    let name = table::checked_name(request.table_name.as_ref());
    let table = call.backend.delete_table(name, call.deadline).await.map_err(|failure| named(failure, name))?;
    let mut json = Writer::new();
    json.object(|json| {
        json.key("TableDescription");
        table::describe(json, call.settings, &table, TableSize::default());
    });
    Ok(json.finish())
}
