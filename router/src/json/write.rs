//! Answers as JSON, written straight from values: one growing buffer, no intermediate tree.

use std::fmt::Display;
use std::io::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::{Item, Value};

/// Writes one JSON text; commas are its own business.
pub struct Writer {
    out: Vec<u8>,
    /// Whether the next key or element needs a comma before it.
    comma: bool,
}

/// First room of an answer, in bytes: most fit without growing.
const ROOM: usize = 512;

const HEX: &[u8; 16] = b"0123456789abcdef";

fn needs_escape(byte: u8) -> bool {
    (byte < b' ') | (byte == b'"') | (byte == b'\\')
}

impl Writer {
    pub fn new() -> Writer {
        Writer { out: Vec::with_capacity(ROOM), comma: false }
    }

    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    pub fn object(&mut self, fields: impl FnOnce(&mut Writer)) {
        self.nest(b'{', b'}', fields);
    }

    pub fn array(&mut self, elements: impl FnOnce(&mut Writer)) {
        self.nest(b'[', b']', elements);
    }

    fn nest(&mut self, open: u8, close: u8, inside: impl FnOnce(&mut Writer)) {
        self.separate();
        self.out.push(open);
        self.comma = false;
        inside(self);
        self.out.push(close);
        self.comma = true;
    }

    fn separate(&mut self) {
        if self.comma {
            self.out.push(b',');
        }
        self.comma = true;
    }

    /// The key of the value that follows.
    pub fn key(&mut self, key: &str) {
        self.separate();
        self.quoted(&[key]);
        self.out.push(b':');
        self.comma = false;
    }

    pub fn text(&mut self, text: &str) {
        self.separate();
        self.quoted(&[text]);
    }

    /// A text given in two parts.
    pub fn text_parts(&mut self, first: &str, second: &str) {
        self.separate();
        self.quoted(&[first, second]);
    }

    pub fn boolean(&mut self, value: bool) {
        self.separate();
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// A number, or another text that is JSON as it stands.
    pub fn raw(&mut self, value: impl Display) {
        self.separate();
        write!(self.out, "{value}").expect("writing to memory cannot fail");
    }

    /// Capacity in half units, written as units.
    pub fn half_units(&mut self, half_units: u64) {
        self.separate();
        let fraction = if half_units.is_multiple_of(2) { '0' } else { '5' };
        write!(self.out, "{}.{fraction}", half_units / 2).expect("writing to memory cannot fail");
    }

    /// A time in milliseconds since the epoch, written in seconds.
    pub fn seconds(&mut self, ms: u64) {
        self.separate();
        write!(self.out, "{}.{:03}", ms / 1000, ms % 1000).expect("writing to memory cannot fail");
    }

    pub fn item(&mut self, item: &Item) {
        self.object(|json| {
            for (name, value) in item {
                json.key(name);
                json.value(value);
            }
        });
    }

    pub fn value(&mut self, value: &Value) {
        self.object(|json| {
            json.key(value.type_name());
            match value {
                Value::S(text) => json.text(text),
                Value::N(number) => json.quoted_display(number),
                Value::B(bytes) => json.base64(bytes),
                Value::Ss(texts) => json.array(|json| texts.iter().for_each(|text| json.text(text))),
                Value::Ns(numbers) => json.array(|json| numbers.iter().for_each(|number| json.quoted_display(number))),
                Value::Bs(blobs) => json.array(|json| blobs.iter().for_each(|bytes| json.base64(bytes))),
                Value::M(map) => json.item(map),
                Value::L(list) => json.array(|json| list.iter().for_each(|value| json.value(value))),
                Value::Bool(flag) => json.boolean(*flag),
                Value::Null => json.boolean(true),
            }
        });
    }

    /// Something whose text needs no escapes.
    fn quoted_display(&mut self, value: impl Display) {
        self.separate();
        write!(self.out, "\"{value}\"").expect("writing to memory cannot fail");
    }

    fn base64(&mut self, bytes: &[u8]) {
        self.separate();
        self.out.push(b'"');
        let start = self.out.len();
        self.out.resize(start + bytes.len().div_ceil(3) * 4, 0);
        let written = STANDARD.encode_slice(bytes, &mut self.out[start..]).expect("the room was made for it");
        self.out.truncate(start + written);
        self.out.push(b'"');
    }

    fn quoted(&mut self, parts: &[&str]) {
        self.out.push(b'"');
        for part in parts {
            self.escaped(part.as_bytes());
        }
        self.out.push(b'"');
    }

    fn escaped(&mut self, text: &[u8]) {
        if !text.iter().fold(false, |any, &byte| any | needs_escape(byte)) {
            // Most texts; this test has no early end, so that it becomes a few wide instructions.
            return self.out.extend_from_slice(text);
        }
        let mut clean_from = 0;
        for (at, &byte) in text.iter().enumerate() {
            if !needs_escape(byte) {
                continue;
            }
            self.out.extend_from_slice(&text[clean_from..at]);
            clean_from = at + 1;
            match byte {
                b'"' => self.out.extend_from_slice(b"\\\""),
                b'\\' => self.out.extend_from_slice(b"\\\\"),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                b'\r' => self.out.extend_from_slice(b"\\r"),
                b'\t' => self.out.extend_from_slice(b"\\t"),
                control => {
                    self.out.extend_from_slice(b"\\u00");
                    self.out.push(HEX[usize::from(control >> 4)]);
                    self.out.push(HEX[usize::from(control & 15)]);
                }
            }
        }
        self.out.extend_from_slice(&text[clean_from..]);
    }
}

impl Default for Writer {
    fn default() -> Writer {
        Writer::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_of_units_and_times_have_their_fractions() {
        let mut json = Writer::new();
        json.array(|json| {
            [0, 1, 2, 3].into_iter().for_each(|half_units| json.half_units(half_units));
            json.seconds(1_371_269_370_023);
        });
        assert_eq!(json.finish(), b"[0.0,0.5,1.0,1.5,1371269370.023]");
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in any::<String>()) {
            let mut json = Writer::new();
            json.object(|json| {
                json.key(&text);
                json.text_parts("", &text);
            });
            let read: std::collections::BTreeMap<String, String> = serde_json::from_slice(&json.finish()).unwrap();
            prop_assert_eq!(read, [(text.clone(), text)].into());
        }

        #[test]
        fn any_bytes_come_back(bytes in any::<Vec<u8>>()) {
            let mut json = Writer::new();
            json.value(&Value::B(bytes.clone().into()));
            let read: std::collections::BTreeMap<String, String> = serde_json::from_slice(&json.finish()).unwrap();
            prop_assert_eq!(STANDARD.decode(&read["B"]).unwrap(), bytes);
        }
    }
}
