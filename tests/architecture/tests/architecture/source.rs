//! Rust source with its comments and literals blanked out, so that a rule looks at code only.

/// The code of a source text: comments and the contents of string and character literals become
/// spaces, line breaks stay.
pub(crate) fn code(text: &str) -> String {
    let mut rest = text;
    let mut code = String::with_capacity(text.len());
    // Most of a text cannot begin a comment or a literal; looking for what can keeps this quick.
    while let Some(at) = rest.find(['/', '"', '\'', 'r', 'b']) {
        let (plain, here) = rest.split_at_checked(at).unwrap_or((rest, ""));
        code.push_str(plain);
        let blank = blank_length(here, code.chars().next_back());
        let (taken, behind) = here.split_at_checked(blank.max(1)).unwrap_or((here, ""));
        if blank == 0 {
            code.push_str(taken);
        } else {
            code.extend(
                taken
                    .chars()
                    .map(|character| if character == '\n' { '\n' } else { ' ' }),
            );
        }
        rest = behind;
    }
    code.push_str(rest);
    code
}

/// How many bytes at the start of `rest` are a comment or a literal.
fn blank_length(rest: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|character| character.is_alphanumeric() || character == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_length(rest);
    }
    if rest.starts_with('"') {
        return 1 + quoted_length(rest.get(1..).unwrap_or_default(), '"');
    }
    if rest.starts_with('\'') {
        return character_length(rest);
    }
    if !in_word && (rest.starts_with('r') || rest.starts_with("br")) {
        return raw_string_length(rest);
    }
    0
}

/// A block comment with the comments inside it.
fn block_comment_length(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0_usize);
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// Up to and with the closing quote; a backslash hides the next character.
fn quoted_length(inside: &str, quote: char) -> usize {
    let mut hidden = false;
    for (at, character) in inside.char_indices() {
        if hidden {
            hidden = false;
        } else if character == '\\' {
            hidden = true;
        } else if character == quote {
            return at + quote.len_utf8();
        }
    }
    inside.len()
}

/// A character literal; 0 for a lifetime.
fn character_length(rest: &str) -> usize {
    let mut characters = rest.chars().skip(1);
    let first = characters.next();
    if first == Some('\\') || characters.next() == Some('\'') {
        return 1 + quoted_length(rest.get(1..).unwrap_or_default(), '\'');
    }
    0
}

/// A raw string with any number of `#`; 0 if there is none here.
fn raw_string_length(rest: &str) -> usize {
    let start = if rest.starts_with("br") { 2 } else { 1 };
    let hashes = rest
        .get(start..)
        .unwrap_or_default()
        .chars()
        .take_while(|character| *character == '#')
        .count();
    let open = start + hashes;
    if !rest.get(open..).unwrap_or_default().starts_with('"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let inside = rest.get(open + 1..).unwrap_or_default();
    inside
        .find(&close)
        .map_or(rest.len(), |at| open + 1 + at + close.len())
}

/// The code of the unit tests in a source text: what follows the last `#[cfg(test)]`. By our
/// order of things in a file, tests come last.
pub(crate) fn unit_tests(code: &str) -> &str {
    code.rfind("#[cfg(test)]")
        .and_then(|at| code.get(at..))
        .unwrap_or_default()
}

/// The code before the unit tests.
pub(crate) fn without_unit_tests(code: &str) -> &str {
    code.rfind("#[cfg(test)]")
        .and_then(|at| code.get(..at))
        .unwrap_or(code)
}

#[test]
fn literals_and_comments_are_blank_and_code_stays() {
    let cases = [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        ("f(\"x\\\"y\", 'z', '\\'')", "f(      ,    ,     )"),
        ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
        ("r#\"a\"b\"#.len()", "        .len()"),
        ("for r in x", "for r in x"),
    ];
    for (text, expected) in cases {
        assert_eq!(code(text), expected, "{text}");
    }
}
