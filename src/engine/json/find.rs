//! Where do certain bytes stand? Many bytes are compared at a time, by plain arithmetic.

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH: u64 = u64::from_le_bytes([0x80; 8]);

/// Marks the bytes of a word that are zero. Only the lowest mark is sure to be true.
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH
}

/// Finds the first byte that is one of two. It compares eight bytes at a time by plain arithmetic: most
/// strings of a review are so short that a call into vector instructions costs more than it saves.
#[inline]
pub(in crate::engine) fn find_either(bytes: &[u8], one: u8, other: u8) -> Option<usize> {
    let (one_each, other_each) = (ONES * u64::from(one), ONES * u64::from(other));
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zeros(word ^ one_each) | zeros(word ^ other_each);
        if found != 0 {
            return Some(index * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    let found = rest.iter().position(|byte| *byte == one || *byte == other);
    found.map(|index| words.len() * 8 + index)
}

/// Whether a JSON string can hold this text as it is, because nothing in it is to be escaped.
pub(super) fn is_plain(text: &str) -> bool {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let is_plain_word = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        controls | zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\'))) == 0
    };
    words.iter().all(is_plain_word) && rest.iter().all(|byte| !matches!(byte, ..0x20 | b'"' | b'\\'))
}

/// Returns the places of some bytes in a block: bit 0 stands for its first byte.
#[inline]
pub(super) fn places(block: &[u8; 64], is_wanted: impl Fn(u8) -> bool) -> u64 {
    // The eight highest bits of a word, moved together.
    const GATHER: u64 = 0x0002_0408_1020_4081;
    let marks = block.map(|byte| u8::from(is_wanted(byte)) << 7);
    let (words, _) = marks.as_chunks::<8>();
    let bits = |word: &[u8; 8]| u64::from_le_bytes(*word).wrapping_mul(GATHER) >> 56;
    words.iter().rev().fold(0, |places, word| places << 8 | bits(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_plain_where_serde_json_escapes_nothing() {
        for length in 0..20 {
            for at in 0..length {
                for c in (0..=0x100).chain([0x2028, 0xd7ff]).filter_map(char::from_u32) {
                    let mut text = "é".repeat(at);
                    text.push(c);
                    text.push_str(&"x".repeat(length - at - 1));
                    let is_plain_json = serde_json::to_string(&text).unwrap() == format!("\"{text}\"");
                    assert_eq!(is_plain(&text), is_plain_json, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn each_place_in_a_block_has_its_bit() {
        for at in 0..64 {
            let mut block = [0xff; 64];
            block[at] = b'{';
            block[63 - at / 2] = b'[';
            assert_eq!(places(&block, |byte| byte | 0x20 == b'{'), 1 << at | 1 << (63 - at / 2), "{at}");
        }
        assert_eq!(places(&[b'{'; 64], |byte| byte == b'{'), u64::MAX);
    }

    #[test]
    fn the_first_of_two_bytes_is_found_wherever_it_stands() {
        for length in 0..40 {
            for at in 0..length {
                for byte in [b'"', b'\\'] {
                    let mut bytes: Vec<u8> =
                        (0..length).map(|n| [0, 0x21, 0x23, 0x5b, 0x5d, 0xa2, 0xff][n % 7]).collect();
                    bytes[at] = byte;
                    bytes[at + 1..].fill(b'"');
                    assert_eq!(find_either(&bytes, b'"', b'\\'), Some(at), "{bytes:?}");
                }
            }
            assert_eq!(find_either(&vec![0x23; length], b'"', b'\\'), None);
        }
    }
}
