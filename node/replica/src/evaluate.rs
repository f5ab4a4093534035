//! What a write does to an item: condition, then action, then limits. Values in, a verdict out.

use bytes::Bytes;
use model::expression::Update;
use model::limits::ITEM_BYTES;
use model::{Item, item};

use crate::entry::WriteKind;
use crate::{Action, Answer, Refusal, WriteRequest};

/// What follows from a request on an old item.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// To be proposed; the answer holds once it is applied.
    Write { kind: WriteKind, after: Option<Bytes>, answer: Answer },
    /// Changes nothing: the answer tells what was read, and needs a read's confirmation.
    Read(Answer),
}

pub(crate) fn evaluate(request: &WriteRequest, old: Option<&Bytes>) -> Verdict {
    match Evaluation::begin(request, old) {
        Ok(evaluation) => evaluation.verdict(),
        Err(unreadable) => unreadable,
    }
}

struct Evaluation<'a> {
    request: &'a WriteRequest,
    old: Option<&'a Bytes>,
    old_size: u32,
}

impl<'a> Evaluation<'a> {
    fn begin(request: &'a WriteRequest, old: Option<&'a Bytes>) -> Result<Evaluation<'a>, Verdict> {
        let old_size = match old {
            Some(bytes) => size_of(bytes).ok_or(UNREADABLE)?,
            None => 0,
        };
        Ok(Evaluation { request, old, old_size })
    }

    fn verdict(&self) -> Verdict {
        if let Some(condition) = &self.request.condition {
            let Some(item) = self.old_item() else { return UNREADABLE };
            if !condition.matches(&item.unwrap_or_default()) {
                let old = self.request.return_old_on_failure.then(|| self.old.cloned()).flatten();
                return Verdict::Read(Answer::ConditionFailed { old, old_size: self.old_size });
            }
        }
        match &self.request.action {
            Action::Put(attributes) => self.put(attributes),
            Action::Delete => self.delete(),
            Action::Update { key_attributes, update } => self.update(key_attributes, update.as_ref()),
        }
    }

    fn put(&self, attributes: &Bytes) -> Verdict {
        match size_of(attributes) {
            None => invalid("Item is malformed"),
            Some(size) if exceeds_limit(size) => invalid("Item size has exceeded the maximum allowed size"),
            Some(size) => self.write(attributes.clone(), size),
        }
    }

    fn delete(&self) -> Verdict {
        let answer = self.written(None, 0);
        match self.old {
            Some(_) => Verdict::Write { kind: WriteKind::Delete, after: None, answer },
            None => Verdict::Read(answer),
        }
    }

    fn update(&self, key_attributes: &Item, update: Option<&Update>) -> Verdict {
        let Some(item) = self.old_item() else { return UNREADABLE };
        let missing = item.is_none();
        let before = item.unwrap_or_else(|| key_attributes.clone());
        let after = match update {
            None if missing => before,
            None => return Verdict::Read(self.written(self.old, self.old_size)),
            Some(update) => match update.apply(&before) {
                Ok(after) => after,
                Err(error) => return invalid(&error.0),
            },
        };
        let encoded = Bytes::from(item::encode_attributes(&after));
        match size_of(&encoded) {
            None => invalid("Item is malformed"),
            Some(size) if exceeds_limit(size) => invalid("Item size to update has exceeded the maximum allowed size"),
            Some(size) => self.write(encoded, size),
        }
    }

    fn write(&self, after: Bytes, size: u32) -> Verdict {
        let answer = self.written(Some(&after), size);
        Verdict::Write { kind: WriteKind::Put, after: Some(after), answer }
    }

    fn written(&self, new: Option<&Bytes>, new_size: u32) -> Answer {
        let old = self.request.return_old.then(|| self.old.cloned()).flatten();
        let new = self.request.return_new.then(|| new.cloned()).flatten();
        Answer::Written { old, new, old_size: self.old_size, new_size }
    }

    /// None where it cannot be read; the inner one where there is no item.
    fn old_item(&self) -> Option<Option<Item>> {
        self.old.map(item::decode_attributes).transpose().ok()
    }
}

/// The old item's bytes make no sense.
const UNREADABLE: Verdict = Verdict::Read(Answer::Refused(Refusal::ReadFailed));

fn invalid(message: &str) -> Verdict {
    Verdict::Read(Answer::Invalid { message: message.to_owned() })
}

fn size_of(attributes: &Bytes) -> Option<u32> {
    u32::try_from(item::attributes_size(attributes).ok()?).ok()
}

fn exceeds_limit(size: u32) -> bool {
    usize::try_from(size).is_ok_and(|size| size > ITEM_BYTES)
}

#[cfg(test)]
mod tests {
    use model::Value;

    use super::*;
    use crate::fixture::{item_of, put, write_request};

    fn sizes(answer: &Answer) -> (u32, u32) {
        match answer {
            Answer::Written { old_size, new_size, .. } => (*old_size, *new_size),
            other => panic!("not written: {other:?}"),
        }
    }

    #[test]
    fn a_put_answers_with_both_sizes_and_the_images_that_were_asked_for() {
        let old = item_of(&[("pk", "a"), ("v", "long")]);
        let mut request = put("a", "v");
        request.return_old = true;
        let Verdict::Write { kind, after, answer } = evaluate(&request, Some(&old)) else { panic!("not a write") };
        assert_eq!(kind, WriteKind::Put);
        assert_eq!(after, Some(item_of(&[("pk", "a"), ("v", "v")])));
        assert_eq!(sizes(&answer), (8, 5));
        assert!(matches!(answer, Answer::Written { old: Some(bytes), new: None, .. } if bytes == old));
    }

    #[test]
    fn deleting_what_is_not_there_is_a_read() {
        let request = write_request("a", Action::Delete);
        assert!(matches!(evaluate(&request, None), Verdict::Read(Answer::Written { old_size: 0, new_size: 0, .. })));
        let old = item_of(&[("pk", "a")]);
        assert!(matches!(evaluate(&request, Some(&old)), Verdict::Write { kind: WriteKind::Delete, after: None, .. }));
    }

    #[test]
    fn an_item_of_the_largest_size_passes_and_one_byte_more_does_not() {
        let item = |bytes: usize| {
            let text = Value::S("x".repeat(bytes - "v".len()));
            Bytes::from(item::encode_attributes(&Item::from([("v".to_owned(), text)])))
        };
        let request = |bytes| write_request("a", Action::Put(item(bytes)));
        assert!(matches!(evaluate(&request(ITEM_BYTES), None), Verdict::Write { .. }));
        let message = "Item size has exceeded the maximum allowed size".to_owned();
        assert_eq!(evaluate(&request(ITEM_BYTES + 1), None), Verdict::Read(Answer::Invalid { message }));
    }

    #[test]
    fn an_update_without_actions_creates_the_item_and_then_changes_nothing() {
        let key_attributes = Item::from([("pk".to_owned(), Value::S("a".to_owned()))]);
        let request = write_request("a", Action::Update { key_attributes, update: None });
        let Verdict::Write { after: Some(after), .. } = evaluate(&request, None) else { panic!("not a write") };
        assert_eq!(after, item_of(&[("pk", "a")]));
        assert!(matches!(evaluate(&request, Some(&after)), Verdict::Read(Answer::Written { .. })));
    }

    #[test]
    fn an_old_item_that_cannot_be_read_refuses_the_write() {
        let old = Bytes::from_static(&[0xff, 0xff]);
        let refused = Verdict::Read(Answer::Refused(Refusal::ReadFailed));
        assert_eq!(evaluate(&put("a", "v"), Some(&old)), refused);
    }
}
