//! How is a text of others shown, so that it neither steers a terminal nor deceives who reads it?

/// Whether a character moves the cursor of a terminal, or turns or hides what stands beside it.
pub(super) fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Returns the text with its code in place of each character that steers: `\u{202e}`.
pub(super) fn plain(text: &str) -> String {
    if !text.contains(is_steering) {
        return text.to_owned();
    }
    let shown = |c: char| if is_steering(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_or_turns_a_text_stands_there_as_its_code() {
        assert_eq!(plain("arn:aws:iam::1:role/a-b é 角"), "arn:aws:iam::1:role/a-b é 角");
        assert_eq!(plain("\x1b[2Ja\nb\r"), "\\u{1b}[2Ja\\u{a}b\\u{d}");
        assert_eq!(plain("a\u{202e}b\u{2066}\u{200b}\u{feff}"), "a\\u{202e}b\\u{2066}\\u{200b}\\u{feff}");
        assert_eq!(plain("\u{9b}2J\u{7f}"), "\\u{9b}2J\\u{7f}");
    }
}
