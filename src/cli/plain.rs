//! How is a text of others shown, so that it neither steers a terminal nor deceives who reads it?

use super::output::is_steering;

/// Whether a character is not seen, so that two texts look alike.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}')
        || matches!(c, '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

fn is_shown_as_code(c: char) -> bool {
    is_steering(c) || is_hidden(c)
}

/// Returns the text with its code in place of each character that steers or hides: `\u{202e}`.
pub(super) fn plain(text: &str) -> String {
    if !text.contains(is_shown_as_code) {
        return text.to_owned();
    }
    let shown = |c: char| if is_shown_as_code(c) { c.escape_unicode().to_string() } else { c.to_string() };
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
