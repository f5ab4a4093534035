//! `ReturnValues` and its relatives: which images of an item a write's answer shows.

use bytes::Bytes;
use model::Item;
use model::expression::{Projection, Update};
use model::item::decode_attributes;

use super::violations::Violations;
use crate::error::Error;
use crate::json::field::Text;
use crate::json::write::Writer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returning {
    None,
    AllOld,
    AllNew,
    UpdatedOld,
    UpdatedNew,
}

/// The shape of the three parameters that say what a write returns.
pub fn check(violations: &mut Violations, values: Option<&Text>) {
    violations.one_of("returnValues", values, &["ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW"]);
}

/// No table has local indexes yet, so there is never a metric to return; the parameter is checked all the same.
pub fn check_metrics(violations: &mut Violations, metrics: Option<&Text>) {
    violations.one_of("returnItemCollectionMetrics", metrics, &["SIZE", "NONE"]);
}

pub fn check_on_failure(violations: &mut Violations, on_failure: Option<&Text>) {
    violations.one_of("returnValuesOnConditionCheckFailure", on_failure, &["ALL_OLD", "NONE"]);
}

/// Whether a failed condition shows the item. The text has been checked.
pub fn on_failure(text: Option<&Text>) -> bool {
    text.is_some_and(|Text(text)| text == "ALL_OLD")
}

impl Returning {
    /// The text has been checked.
    pub fn asked(text: Option<&Text>) -> Returning {
        match text.map(|Text(text)| text.as_str()) {
            Some("ALL_OLD") => Returning::AllOld,
            Some("ALL_NEW") => Returning::AllNew,
            Some("UPDATED_OLD") => Returning::UpdatedOld,
            Some("UPDATED_NEW") => Returning::UpdatedNew,
            Some(_) | None => Returning::None,
        }
    }

    /// For writes that put or delete a whole item.
    pub fn asked_of_whole(text: Option<&Text>) -> Result<Returning, Error> {
        match Returning::asked(text) {
            asked @ (Returning::None | Returning::AllOld) => Ok(asked),
            Returning::AllNew | Returning::UpdatedOld | Returning::UpdatedNew => {
                Err(Error::validation("ReturnValues can only be ALL_OLD or NONE"))
            }
        }
    }

    pub fn wants_old(self) -> bool {
        matches!(self, Returning::AllOld | Returning::UpdatedOld)
    }

    pub fn wants_new(self) -> bool {
        matches!(self, Returning::AllNew | Returning::UpdatedNew)
    }

    /// The attributes to show of the image that was asked for; none where there is nothing to show.
    pub fn image(
        self,
        old: Option<&Bytes>,
        new: Option<&Bytes>,
        update: Option<&Update>,
    ) -> Result<Option<Item>, Error> {
        let image = if self.wants_old() { old } else { new };
        let Some(image) = image.filter(|_| self != Returning::None) else {
            return Ok(None);
        };
        let item = decode_attributes(image)?;
        Ok(match self {
            Returning::None => None,
            Returning::AllOld | Returning::AllNew => Some(item),
            Returning::UpdatedOld | Returning::UpdatedNew => {
                let paths = update.map(Update::targets).unwrap_or_default().into_iter().cloned().collect();
                Some(Projection { paths }.project(&item)).filter(|updated| !updated.is_empty())
            }
        })
    }
}

/// The field `Attributes`, if there are any.
pub fn write_attributes(json: &mut Writer, attributes: Option<&Item>) {
    if let Some(attributes) = attributes {
        json.key("Attributes");
        json.item(attributes);
    }
}
