//! ListTables: names in order, in pages.

use model::limits::LIST_TABLES_LIMIT;
use serde::Deserialize;

use super::Call;
use super::violations::Violations;
use crate::backend::Backend;
use crate::error::Error;
use crate::json;
use crate::json::field::{Int, Text};
use crate::json::write::Writer;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    exclusive_start_table_name: Option<Text>,
    limit: Option<Int>,
}

pub async fn run<B: Backend>(call: &mut Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Error> {
    let Request { exclusive_start_table_name, limit } = json::parse(body)?;
    let most = i64::try_from(LIST_TABLES_LIMIT).unwrap_or(i64::MAX);
    let limit = limit.map(|Int(limit)| limit);
    let mut violations = Violations::new();
    violations.at_least("limit", limit, 1);
    violations.at_most("limit", limit, most);
    if let Some(Text(name)) = &exclusive_start_table_name {
        violations.name_pattern("exclusiveStartTableName", name);
        violations.length("exclusiveStartTableName", name, name.chars().count(), 3, 255);
    }
    violations.finish()?;
    let start = exclusive_start_table_name.map(|Text(name)| name).unwrap_or_default();
    let limit = u32::try_from(limit.unwrap_or(most)).unwrap_or(1);
    let (names, more) = call.backend.list_tables(&start, limit, call.deadline).await?;
    let mut json = Writer::new();
    json.object(|json| {
        json.key("TableNames");
        json.array(|json| names.iter().for_each(|name| json.text(name)));
        if let Some(last) = names.last().filter(|_| more) {
            json.key("LastEvaluatedTableName");
            json.text(last);
        }
    });
    Ok(json.finish())
}
