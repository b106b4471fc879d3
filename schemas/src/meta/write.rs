//! JSON as text, written piece by piece.

use crate::person::Digest;

/// `,"key":` for a key that needs no escapes.
pub(super) fn key(out: &mut String, key: &str) {
    out.push_str(",\"");
    out.push_str(key);
    out.push_str("\":");
}

/// Another member of an object that is gathered without its brackets.
pub(super) fn member(members: &mut String, name: &str, value: &str) {
    if !members.is_empty() {
        members.push(',');
    }
    string(members, name);
    members.push(':');
    members.push_str(value);
}

/// A JSON string.
pub(super) fn string(out: &mut String, text: &str) {
    if text.bytes().any(|b| b < 0x20 || b == b'"' || b == b'\\') {
        out.push_str(&serde_json::to_string(text).expect("every text is a JSON string"));
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

/// A digest as a JSON string.
pub(super) fn digest(out: &mut String, digest: &Digest) {
    let mut hex = [0; 64];
    hex::encode_to_slice(digest.bytes(), &mut hex).expect("64 is twice 32");
    out.push('"');
    out.push_str(std::str::from_utf8(&hex).expect("hex digits are ASCII"));
    out.push('"');
}

/// An object or array that fills up: begins with its bracket, puts commas between.
pub(super) struct Members {
    open: char,
    close: char,
    is_begun: bool,
}

impl Members {
    /// An object.
    pub(super) fn object() -> Self {
        Self { open: '{', close: '}', is_begun: false }
    }

    /// An array.
    pub(super) fn array() -> Self {
        Self { open: '[', close: ']', is_begun: false }
    }

    /// The bracket before the first member, a comma before each other.
    pub(super) fn next(&mut self, out: &mut String) {
        out.push(if self.is_begun { ',' } else { self.open });
        self.is_begun = true;
    }

    /// The next member's key; it must need no escapes.
    pub(super) fn key(&mut self, out: &mut String, key: &str) {
        self.next(out);
        out.push('"');
        out.push_str(key);
        out.push_str("\":");
    }

    /// Closes it, also when nothing came.
    pub(super) fn end(self, out: &mut String) {
        if !self.is_begun {
            out.push(self.open);
        }
        out.push(self.close);
    }
}
