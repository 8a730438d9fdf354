//! Where does an object or a list end that nobody reads?
//!
//! Most of a Pod is such. It is gone through in blocks: what stands in a block is told by the bits of a few
//! numbers, one for each byte, and only the block in which the end can be is gone through bracket by bracket.

use super::find::places;

const BLOCK: usize = 64;

/// Returns how many bytes the object or list takes that these bytes begin with, or `None` where it does not
/// end.
pub(super) fn nested_len(bytes: &[u8]) -> Option<usize> {
    let mut scan = Scan::default();
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    for (index, block) in blocks.iter().enumerate() {
        if let Some(end) = scan.end_in(block) {
            return Some(index * BLOCK + end);
        }
    }
    let mut last = [b' '; BLOCK];
    for (place, byte) in last.iter_mut().zip(rest) {
        *place = *byte;
    }
    scan.end_in(&last).map(|end| blocks.len() * BLOCK + end)
}

/// What the blocks so far leave open.
#[derive(Default)]
struct Scan {
    depth: usize,
    /// All bits where the next block begins in a text.
    in_text: u64,
    /// The first bit where the next block begins with an escaped byte.
    escaped: u64,
}

impl Scan {
    /// Returns where the outermost bracket is closed in this block, where it is.
    fn end_in(&mut self, block: &[u8; BLOCK]) -> Option<usize> {
        let quotes = places(block, |byte| byte == b'"') & !self.escaped_in(block);
        let in_text = parities(quotes) ^ self.in_text;
        self.in_text = if in_text >> (BLOCK - 1) == 0 { 0 } else { u64::MAX };
        let opens = places(block, |byte| byte | 0x20 == b'{') & !in_text;
        let closes = places(block, |byte| byte | 0x20 == b'}') & !in_text;
        let closed = closes.count_ones() as usize;
        if closed < self.depth {
            self.depth = self.depth + opens.count_ones() as usize - closed;
            return None;
        }
        let mut brackets = opens | closes;
        while brackets != 0 {
            let first = brackets & brackets.wrapping_neg();
            if opens & first != 0 {
                self.depth += 1;
            } else {
                self.depth -= 1;
                if self.depth == 0 {
                    return Some(first.trailing_zeros() as usize + 1);
                }
            }
            brackets ^= first;
        }
        None
    }

    /// Returns the bytes that are escaped, because a backslash stands before them that is not.
    fn escaped_in(&mut self, block: &[u8; BLOCK]) -> u64 {
        let mut escaped = std::mem::take(&mut self.escaped);
        // Hardly any block has a backslash, and this is seen at once.
        if block.iter().fold(0, |found, byte| found | u8::from(*byte == b'\\')) == 0 {
            return escaped;
        }
        let mut backslashes = places(block, |byte| byte == b'\\') & !escaped;
        while backslashes != 0 {
            let first = backslashes & backslashes.wrapping_neg();
            escaped |= first << 1;
            self.escaped = first >> (BLOCK - 1);
            backslashes &= !(first | first << 1);
        }
        escaped
    }
}

/// Returns the bits before which, themselves included, an odd number of bits are set.
fn parities(bits: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].into_iter().fold(bits, |bits, far| bits ^ bits << far)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same, byte by byte.
    fn plainly(bytes: &[u8]) -> Option<usize> {
        let (mut depth, mut in_text, mut escaped) = (0, false, false);
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = !in_text,
                _ if in_text => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 1 => return Some(at + 1),
                b'}' | b']' => depth -= 1,
                _ => {}
            }
        }
        None
    }

    #[test]
    fn the_end_is_the_same_as_byte_by_byte_wherever_blocks_begin() {
        let parts = [
            r#""a":"#,
            "{",
            "}",
            "[",
            "]",
            r#""}""#,
            r#""\"""#,
            r#""\\""#,
            r#""]{\\\"[""#,
            "1,",
            "é",
            r#"""#,
        ];
        let mut random = fastrand::Rng::with_seed(14);
        let (mut ended, mut endless) = (0, 0);
        for _ in 0..20_000 {
            let mut text = "{".to_owned();
            for _ in 0..random.usize(0..60) {
                text.push_str(random.choice(parts).unwrap());
            }
            for end in ["", "}", "}}}}}}]]]]]]}}}}}}"] {
                let text = format!("{text}{end}");
                let want = plainly(text.as_bytes());
                assert_eq!(nested_len(text.as_bytes()), want, "{text}");
                if want.is_some() { ended += 1 } else { endless += 1 }
            }
        }
        assert!(ended > 10_000 && endless > 10_000, "{ended} {endless}");
    }

    #[test]
    fn an_escape_reaches_from_one_block_into_the_next() {
        for length in 50..140 {
            for backslashes in 0..5 {
                let text = format!(r#"{{"{}{}"}}"#, "x".repeat(length), r"\".repeat(backslashes));
                assert_eq!(nested_len(text.as_bytes()), plainly(text.as_bytes()), "{text}");
            }
        }
    }
}
