//! How does a text of others become one word of a command that people paste into a shell?

/// Quotes a text where a shell would take it for anything else than one word.
#[must_use]
pub fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_others_stays_one_word_in_a_shell() {
        assert_eq!(word("gitlab-web_1.x/y:z=1,@"), "gitlab-web_1.x/y:z=1,@");
        for text in [
            "",
            "a b",
            "$(echo x)",
            "\"$x\"",
            "it's",
            "'; echo x; '",
            "`x`",
            "a;b",
            "*",
            "~",
            "#",
            "a\\",
            "!x",
            "{a,b}",
            "a\nb",
            "é",
        ] {
            let script = format!("printf '%s|' {}", word(text));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{text}|"));
        }
    }
}
