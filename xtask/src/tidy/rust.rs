//! As much of Rust's grammar as the rules need: what is code, and what is a test.

/// The text with every comment and the inside of every string and character blanked out, so that
/// words found in it are code. Same length in lines; each blanked character becomes a space.
pub(super) fn code_only(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&c) = characters.get(at) {
        let rest = characters.get(at..).unwrap_or(&[]);
        let blank = match c {
            '/' if rest.starts_with(&['/', '/']) => line_comment(rest),
            '/' if rest.starts_with(&['/', '*']) => block_comment(rest),
            '"' => string(rest),
            'r' | 'b' | 'c' if !ends_in_word(&code) => prefixed_string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if blank == 0 {
            code.push(c);
            at += 1;
            continue;
        }
        for &blanked in rest.iter().take(blank) {
            code.push(if blanked == '\n' { '\n' } else { ' ' });
        }
        at += blank;
    }
    code
}

fn ends_in_word(code: &str) -> bool {
    code.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

fn line_comment(rest: &[char]) -> usize {
    rest.iter().position(|&c| c == '\n').unwrap_or(rest.len())
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let here = rest.get(at..).unwrap_or(&[]);
        if here.starts_with(&['/', '*']) {
            depth += 1;
            at += 2;
        } else if here.starts_with(&['*', '/']) {
            depth = depth.saturating_sub(1);
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while let Some(&c) = rest.get(at) {
        match c {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A string behind `r`, `b`, `c`, `br` or `cr`, with or without `#`; 0 if it is none.
fn prefixed_string(rest: &[char]) -> usize {
    let prefix = rest.iter().take_while(|&&c| matches!(c, 'r' | 'b' | 'c')).take(2).count();
    let is_raw = rest.iter().take(prefix).any(|&c| c == 'r');
    let behind = rest.get(prefix..).unwrap_or(&[]);
    if !is_raw {
        return match behind.first() {
            Some('"') => prefix + string(behind),
            Some('\'') => prefix + character(behind),
            _ => 0,
        };
    }
    let hashes = behind.iter().take_while(|&&c| c == '#').count();
    if behind.get(hashes) != Some(&'"') {
        return 0;
    }
    let mut at = hashes + 1;
    while let Some(&c) = behind.get(at) {
        at += 1;
        let closing = behind.get(at..).unwrap_or(&[]);
        if c == '"' && closing.iter().take_while(|&&c| c == '#').count() >= hashes {
            return prefix + at + hashes;
        }
    }
    rest.len()
}

/// A character such as `'x'` or `'\n'`; 0 for a lifetime or a label.
fn character(rest: &[char]) -> usize {
    match (rest.get(1), rest.get(2)) {
        (Some('\\'), Some(_)) => {
            let closing = rest.iter().skip(3).position(|&c| c == '\'');
            closing.map_or(0, |at| at + 4)
        }
        (Some(_), Some('\'')) => 3,
        _ => 0,
    }
}

/// Blanks out each item behind `#[cfg(test)]`, in text that [`code_only`] returned.
pub(super) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let (before, from_mark) = rest.split_at(at);
        let (item, behind) = from_mark.split_at(item_end(from_mark));
        kept += before;
        kept.extend(item.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = behind;
    }
    kept + rest
}

/// Where the item ends that begins here: behind its `;`, or behind the brace that closes its first.
fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// The lines (from 1) on which `word` stands as a word of its own.
pub(super) fn lines_with_word<'a>(
    code: &'a str,
    word: &'a str,
) -> impl Iterator<Item = usize> + 'a {
    (1..).zip(code.lines()).filter(move |(_, line)| has_word(line, word)).map(|(number, _)| number)
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).unwrap_or("");
        let behind = line.get(at + word.len()..).unwrap_or("");
        !ends_in_word(before) && !behind.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_no_code() {
        let text = "a /* unsafe /* x */ unsafe */ b // unsafe\nlet c = \"unsafe \\\" unsafe\"; 'l: loop {}\n\
            r#\"unsafe \"x\" unsafe\"# b\"unsafe\" '\"' '\\'' f(br\"unsafe\") unsafe {}\nfor_r\"unsafe\"";
        let code = code_only(text);
        assert_eq!(lines_with_word(&code, "unsafe").collect::<Vec<_>>(), [3]);
        assert_eq!(code.lines().count(), text.lines().count());
        assert!(code.contains("'l: loop {}"), "{code}");
        assert_eq!(code.matches("unsafe").count(), 1, "{code}");
    }

    #[test]
    fn a_test_module_is_blanked_and_what_follows_is_kept() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn t() { println!() } }\nfn b() { println!() }\n\
            #[cfg(test)]\nuse x::y;\nfn c() {}";
        let kept = without_tests(code);
        assert_eq!(lines_with_word(&kept, "println!").collect::<Vec<_>>(), [4]);
        assert!(kept.contains("fn c() {}") && !kept.contains("x::y"));
    }

    #[test]
    fn a_word_is_not_found_inside_another() {
        assert_eq!(
            lines_with_word("unsafe_code\nfn unsafe2() {}\n(unsafe)", "unsafe").collect::<Vec<_>>(),
            [3]
        );
    }
}
