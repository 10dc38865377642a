//! Requests as they are kept while they wait: compressed, and checked when they come back (gzip, RFC 1952, has a
//! checksum).

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};

/// Longest request that is unpacked, bytes: none is made that is longer than 4 MiB.
const LONGEST: u64 = 8 << 20;

/// Compresses a request, for speed rather than size.
pub fn pack(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    // Writing to a Vec does not fail.
    let _: std::io::Result<()> = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

/// What [`pack`] was given; `None` when its bytes have changed since.
pub fn unpack(packed: &[u8]) -> Option<Bytes> {
    let mut body = Vec::new();
    GzDecoder::new(packed).take(LONGEST).read_to_end(&mut body).ok()?;
    Some(body.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_what_is_damaged_does_not() {
        let body: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for body in [&body[..], b"", b"x"] {
            let packed = pack(body);
            assert!(unpack(&packed).is_some_and(|unpacked| unpacked == body));
            let mut refused = 0;
            for at in 0..packed.len().min(2_000) {
                let mut damaged = packed.clone();
                damaged[at] ^= 0x10;
                // Not every bit means something; but nothing else comes back than what was packed.
                match unpack(&damaged) {
                    None => refused += 1,
                    Some(other) => assert!(other == body, "byte {at}"),
                }
            }
            assert!(refused >= 8, "the checksum and the length at least: {refused}");
            assert_eq!(unpack(&packed[..packed.len() - 1]), None, "cut");
        }
        assert!(pack(&body).len() < body.len() / 3);
    }
}
