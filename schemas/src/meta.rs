//! A fact in Meta's words.
