//! ListTagsOfResource: the tags that a table was created with.

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
    resource_arn: Option<Text>,
}

pub async fn run<B: Backend>(call: &mut Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Error> {
    let Request { resource_arn } = json::parse(body)?;
    let Some(Text(arn)) = resource_arn else {
        return Err(Error::validation("Invalid TableArn"));
    };
    let name = table::name_of(&arn);
    if name.len() == arn.len() {
        return Err(Error::validation(format!("Invalid TableArn: Invalid ResourceArn provided as input {arn}")));
    }
    let table = call.any_table(name).await.map_err(|error| match error {
        // The spelling is DynamoDB's.
        Error::ResourceNotFound(_) => {
            Error::ResourceNotFound(format!("Requested resource not found: ResourcArn: {arn} not found").into())
        }
        other => other,
    })?;
    let mut json = Writer::new();
    json.object(|json| {
        json.key("Tags");
        json.array(|json| {
            for (key, value) in &table.tags {
                json.object(|json| {
                    json.key("Key");
                    json.text(key);
                    json.key("Value");
                    json.text(value);
                });
            }
        });
    });
    Ok(json.finish())
}
