//! The shape constraints of requests: all that are broken are told at once, ten at most, in DynamoDB's words.

use crate::error::Error;
use crate::json::field::Text;

/// DynamoDB lists no more than these.
const MOST: usize = 10;

/// What is wrong with a request's shape.
#[derive(Default)]
pub struct Violations(Vec<String>);

impl Violations {
    pub fn new() -> Violations {
        Violations::default()
    }

    /// `value` stands in the sentence; give it only where the constraint is broken.
    pub fn add(&mut self, path: &str, value: &str, constraint: &str) {
        self.0.push(format!("Value '{value}' at '{path}' failed to satisfy constraint: {constraint}"));
    }

    pub fn not_null(&mut self, path: &str, present: bool) {
        if !present {
            self.0.push(format!("Value null at '{path}' failed to satisfy constraint: Member must not be null"));
        }
    }

    /// A text of a fixed set; `set` in DynamoDB's order.
    pub fn one_of(&mut self, path: &str, value: Option<&Text>, set: &[&str]) {
        if let Some(Text(value)) = value
            && !set.contains(&value.as_str())
        {
            self.add(path, value, &format!("Member must satisfy enum value set: [{}]", set.join(", ")));
        }
    }

    pub fn at_least(&mut self, path: &str, value: Option<i64>, least: i64) {
        if let Some(value) = value.filter(|&value| value < least) {
            self.add(path, &value.to_string(), &format!("Member must have value greater than or equal to {least}"));
        }
    }

    pub fn at_most(&mut self, path: &str, value: Option<i64>, most: i64) {
        if let Some(value) = value.filter(|&value| value > most) {
            self.add(path, &value.to_string(), &format!("Member must have value less than or equal to {most}"));
        }
    }

    /// `length` of what reads as `value`.
    pub fn length(&mut self, path: &str, value: &str, length: usize, least: usize, most: usize) {
        if length < least {
            self.add(path, value, &format!("Member must have length greater than or equal to {least}"));
        }
        if length > most {
            self.add(path, value, &format!("Member must have length less than or equal to {most}"));
        }
    }

    /// `[a-zA-Z0-9_.-]+`
    pub fn name_pattern(&mut self, path: &str, value: &str) {
        if !is_name(value) {
            self.add(path, value, "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+");
        }
    }

    pub fn finish(mut self) -> Result<(), Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        self.0.truncate(MOST);
        let count = self.0.len();
        let plural = if count == 1 { "" } else { "s" };
        Err(Error::validation(format!("{count} validation error{plural} detected: {}", self.0.join("; "))))
    }
}

/// Whether a text is made of the characters of names of tables and indexes.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}
