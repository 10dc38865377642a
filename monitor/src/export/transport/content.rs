//! Undoes the content coding of an answer (RFC 9110, 8.4.1; gRPC's `grpc-encoding`), within bounds: a few bytes of
//! gzip can stand for gigabytes.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Codings that can be undone, as `grpc-accept-encoding` lists them.
pub(super) const CODINGS: &str = "identity,deflate,gzip";

/// Longest content that is kept, bytes.
const LONGEST: usize = 1 << 20;

/// The content of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    /// Its bytes, or the first of them.
    pub(super) bytes: Bytes,
    /// Whether they are all.
    pub(super) whole: bool,
}

/// `body` with its content coding undone; `None` where the coding is unknown, or not one byte comes out.
pub(super) fn decoded(coding: &str, body: &Bytes) -> Option<Content> {
    match coding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Some(Content {
            bytes: body.clone(),
            whole: true,
        }),
        "gzip" | "x-gzip" => read(MultiGzDecoder::new(body.as_ref())),
        // Some servers leave the zlib wrapper out.
        "deflate" => {
            read(ZlibDecoder::new(body.as_ref())).or_else(|| read(DeflateDecoder::new(body.as_ref())))
        }
        _ => None,
    }
}

fn read(decoder: impl Read) -> Option<Content> {
    let mut bytes = Vec::new();
    let mut bounded = decoder.take(LONGEST as u64 + 1);
    let result: io::Result<usize> = bounded.read_to_end(&mut bytes);
    if result.is_err() && bytes.is_empty() {
        return None;
    }
    let whole = result.is_ok() && bytes.len() <= LONGEST;
    bytes.truncate(LONGEST);
    Some(Content {
        bytes: bytes.into(),
        whole,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };

    use super::*;

    fn gzip(plain: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn each_coding_is_undone_and_an_unknown_one_is_not() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"abc").unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(b"abc").unwrap();
        let plain = Bytes::from_static(b"abc");
        for (coding, body, expected) in [
            ("", plain.clone(), Some("abc")),
            ("Identity", plain.clone(), Some("abc")),
            (" GZIP", gzip(b"abc"), Some("abc")),
            ("x-gzip", gzip(b""), Some("")),
            ("deflate", zlib.finish().unwrap().into(), Some("abc")),
            ("deflate", raw.finish().unwrap().into(), Some("abc")),
            ("gzip", plain.clone(), None),
            ("br", plain.clone(), None),
            ("gzip, gzip", gzip(b"abc"), None),
        ] {
            let content = decoded(coding, &body);
            let text = content.as_ref().map(|content| content.bytes.as_ref());
            assert_eq!(text, expected.map(str::as_bytes), "{coding}");
            assert!(content.is_none_or(|content| content.whole), "{coding}");
        }
    }

    #[test]
    fn what_is_too_long_or_broken_is_cut() {
        let long = gzip(&vec![7; LONGEST + 1]);
        let content = decoded("gzip", &long).unwrap();
        assert_eq!((content.bytes.len(), content.whole), (LONGEST, false));
        let broken = long.slice(..long.len() - 20);
        assert!(!decoded("gzip", &broken).unwrap().whole);
    }
}
