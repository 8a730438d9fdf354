//! How is a text written as JSON?

use super::find::is_plain;

/// Writes a JSON string. Nearly every text is written as it is, and `serde_json` escapes the others.
///
/// # Errors
/// Returns an error of `serde_json`, which has none for a text.
pub(in crate::engine) fn write_text(json: &mut Vec<u8>, text: &str) -> serde_json::Result<()> {
    if !is_plain(text) {
        return serde_json::to_writer(json, text);
    }
    json.reserve(text.len() + 2);
    json.push(b'"');
    json.extend_from_slice(text.as_bytes());
    json.push(b'"');
    Ok(())
}

/// Writes a JSON object whose members are texts.
///
/// # Errors
/// Returns an error as [`write_text`] does.
pub(in crate::engine) fn write_texts<N: AsRef<str>, T: AsRef<str>>(
    json: &mut Vec<u8>,
    texts: impl IntoIterator<Item = (N, T)>,
) -> serde_json::Result<()> {
    let mut before = b'{';
    for (name, text) in texts {
        json.push(before);
        write_text(json, name.as_ref())?;
        json.push(b':');
        write_text(json, text.as_ref())?;
        before = b',';
    }
    json.extend_from_slice(if before == b'{' { b"{}" } else { b"}" });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_written_as_serde_json_writes_them() {
        let texts = ["", "plain", "a \"quoted\" one", "\\", "\n\u{1}\u{7f}", "é\u{2028}\u{1f600}"];
        for text in texts {
            let mut json = Vec::new();
            write_text(&mut json, text).unwrap();
            assert_eq!(json, serde_json::to_vec(text).unwrap(), "{text:?}");
        }
        for count in [0, 1, 2] {
            let (mut json, pairs) = (Vec::new(), || texts.into_iter().zip(texts).skip(1).take(count));
            write_texts(&mut json, pairs()).unwrap();
            let map: serde_json::Map<_, _> =
                pairs().map(|(name, text)| (name.to_owned(), text.into())).collect();
            assert_eq!(json, serde_json::to_vec(&map).unwrap());
        }
    }
}
