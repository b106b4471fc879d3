//! Which partition a key belongs to: `murmur2` as Kafka's Java client places keys (and `librdkafka` with `murmur2_random`), so that
//! data teams who join our topics with Flink, ksqlDB or Kafka Streams find both sides in the same partition.

const SEED: u32 = 0x9747_b28c;
const MULTIPLY: u32 = 0x5bd1_e995;

/// The partition of a key among `partitions`.
pub(crate) fn partition(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

/// MurmurHash2, 32 bits, with Kafka's seed.
fn murmur2(key: &[u8]) -> u32 {
    let mut hash = SEED ^ key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(MULTIPLY);
        k ^= k >> 24;
        hash = hash.wrapping_mul(MULTIPLY) ^ k.wrapping_mul(MULTIPLY);
    }
    for (at, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * at);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(MULTIPLY);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLY);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own test (`UtilsTest.testMurmur2`).
    #[test]
    fn keys_are_placed_as_kafka_places_them() {
        for (key, hash) in [
            (&b"21"[..], -973_932_308_i32),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key) as i32, hash, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn a_partition_is_inside_the_topic() {
        for n in 1..20 {
            assert!(partition(b"foobar", n) < n);
        }
    }
}
