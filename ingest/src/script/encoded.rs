//! A text in the encodings that browsers take, made once and kept.

use std::{
    io::Write as _,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::Bytes,
    http::{HeaderMap, header::ACCEPT_ENCODING},
};
use brotli::enc::BrotliEncoderParams;
use flate2::{Compression, write::GzEncoder};
use lru::LruCache;

/// Texts kept. One takes about 30 KB, and there is one per funnel and host.
const KEPT: NonZeroUsize = NonZeroUsize::new(256).expect("it is not zero");

/// How hard Brotli tries.
#[derive(Clone, Copy)]
pub(crate) enum Effort {
    /// All it can, some 30 ms: for what is made once and fetched by every page.
    Once,
    /// About a millisecond, for a few hundred bytes more: for what whoever asks can make anew with each request, by naming ever new hosts
    /// or funnels. Nobody must be able to buy the machine's time.
    EachTime,
}

/// One text, and what it is when compressed.
pub(crate) struct Encoded {
    plain: Bytes,
    brotli: Bytes,
    gzip: Bytes,
}

impl Encoded {
    /// Of a text that never changes.
    pub(crate) fn once(text: &str) -> Self {
        Self::with(text.to_owned().into(), Effort::Once)
    }

    fn with(plain: Bytes, effort: Effort) -> Self {
        Self { brotli: brotli(&plain, effort).into(), gzip: gzip(&plain).into(), plain }
    }

    /// The smallest that the caller takes, and its name.
    pub(crate) fn best(&self, headers: &HeaderMap) -> (Bytes, Option<&'static str>) {
        if accepts(headers, "br") {
            (self.brotli.clone(), Some("br"))
        } else if accepts(headers, "gzip") {
            (self.gzip.clone(), Some("gzip"))
        } else {
            (self.plain.clone(), None)
        }
    }
}

/// What was asked for lately, by the hash of its text.
pub(crate) struct Kept(Mutex<LruCache<u64, Arc<Encoded>>>);

impl Kept {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(LruCache::new(KEPT)))
    }

    /// The text with that hash; made if it is not here. Two who come at once may both make it.
    pub(crate) fn get(&self, hash: u64, effort: Effort, text: impl FnOnce() -> Bytes) -> Arc<Encoded> {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept().get(&hash) {
            return known.clone();
        }
        let made = Arc::new(Encoded::with(text(), effort));
        kept().put(hash, made.clone());
        made
    }
}

fn brotli(text: &[u8], effort: Effort) -> Vec<u8> {
    let mut packed = Vec::with_capacity(text.len() / 2);
    let quality = match effort {
        Effort::Once => 11,
        Effort::EachTime => 7,
    };
    let params = BrotliEncoderParams { quality, size_hint: text.len(), ..BrotliEncoderParams::default() };
    brotli::BrotliCompress(&mut &*text, &mut packed, &params).expect("memory takes what is written to it");
    packed
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::with_capacity(text.len() / 2), Compression::best());
    packed.write_all(text).and_then(|()| packed.finish()).expect("memory takes what is written to it")
}

/// Whether an `Accept-Encoding` takes a coding: RFC 9110, 12.5.3. What is refused by `q=0` is not taken; `*` is left alone.
fn accepts(headers: &HeaderMap, coding: &str) -> bool {
    let listed = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    listed.into_iter().any(|item| {
        let (name, weight) = item.split_once(';').unwrap_or((item, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(1.0, |weight| weight.parse::<f32>().unwrap_or(1.0));
        name.trim().eq_ignore_ascii_case(coding) && weight > 0.0
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use axum::http::HeaderValue;

    use super::*;

    fn asked(encodings: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(encodings))])
    }

    #[test]
    fn each_encoding_unpacks_to_the_text() {
        let text = "var a = 1; ".repeat(500);
        let encoded = Encoded::once(&text);
        let mut unpacked = String::new();
        brotli::Decompressor::new(&*encoded.best(&asked("br")).0, 4_096).read_to_string(&mut unpacked).expect("it unpacks");
        assert_eq!(unpacked, text);
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(&*encoded.best(&asked("gzip")).0).read_to_string(&mut unpacked).expect("it unpacks");
        assert_eq!((unpacked, encoded.best(&asked("")).0), (text.clone(), Bytes::from(text)));
    }

    #[test]
    fn the_caller_gets_the_best_that_it_takes() {
        let encoded = Encoded::once("text");
        for (taken, got) in [
            ("gzip, deflate, br, zstd", Some("br")),
            ("gzip", Some("gzip")),
            ("GZIP;q=0.5", Some("gzip")),
            ("br;q=0, gzip; q=1", Some("gzip")),
            ("br;q=0", None),
            ("identity", None),
            ("", None),
            ("*", None),
        ] {
            assert_eq!(encoded.best(&asked(taken)).1, got, "{taken}");
        }
        assert_eq!(encoded.best(&HeaderMap::new()).1, None);
    }

    #[test]
    fn what_was_asked_for_is_made_once() {
        let kept = Kept::new();
        let first = kept.get(1, Effort::EachTime, || "text".into());
        assert!(Arc::ptr_eq(&first, &kept.get(1, Effort::Once, || panic!("it is here"))));
    }
}
