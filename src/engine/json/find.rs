//! Where does one of two bytes first stand?

/// Finds the first byte that is one of two. It compares eight bytes at a time by plain arithmetic: most
/// strings of a review are so short that a call into vector instructions costs more than it saves.
#[inline]
pub(in crate::engine) fn find_either(bytes: &[u8], one: u8, other: u8) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let (one_each, other_each) = (ONES * u64::from(one), ONES * u64::from(other));
    // The lowest bit that this leaves belongs to the first byte that is zero.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
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

#[cfg(test)]
mod tests {
    use super::*;

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
