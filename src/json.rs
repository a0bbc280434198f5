//! A lenient reader of JSON objects.
//!
//! A strict reader gives up at the first oddity, and a token or a refusal behind it is lost. This
//! reader finds the members of every object in the text and ignores what surrounds them. It has no
//! depth limit, because it skips nested values without recursion.

use zeroize::Zeroizing;

/// The value of a member.
pub(crate) enum Value {
    Text(Zeroizing<String>),
    /// A number or a word without quotes.
    Literal(String),
    Nested {
        is_empty: bool,
    },
}

/// A position in a text.
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

/// Starts of a page for people. The objects in it are scripts and styles.
const PAGES: [&[u8]; 4] = [b"<!doctype", b"<html", b"<?xml", b"<script"];

/// Reads the members of all objects in `text` that are not nested in another one. `take` is told
/// each name and value, and says whether the member is of interest.
///
/// Returns whether every object with a member of interest is complete.
pub(crate) fn read(text: &[u8], take: &mut dyn FnMut(&str, Value) -> bool) -> bool {
    if let Some(text) = from_utf16(text) {
        return read(text.as_bytes(), take);
    }
    let mut scanner = Scanner { text, at: 0 };
    scanner.skip_blanks();
    if scanner.peek() == Some(b'"') {
        // JSON in a string of JSON. The text inside is shorter, so this comes to an end.
        let inner = scanner.string().map(|inner| Zeroizing::new(inner.as_bytes().to_vec()));
        return inner.is_some_and(|inner| read(&inner, take));
    }
    let mut is_complete = true;
    while scanner.find_object() {
        let mut is_of_interest = false;
        let is_closed = scanner.object(&mut |name, value| is_of_interest |= take(name, value));
        is_complete &= is_closed || !is_of_interest;
    }
    is_complete
}

fn from_utf16(text: &[u8]) -> Option<Zeroizing<String>> {
    let (units, is_little) = match text {
        [0xFF, 0xFE, units @ ..] => (units, true),
        [0xFE, 0xFF, units @ ..] => (units, false),
        _ => return None,
    };
    let units = units.chunks_exact(2).map(|unit| match is_little {
        true => u16::from_le_bytes([unit[0], unit[1]]),
        false => u16::from_be_bytes([unit[0], unit[1]]),
    });
    let characters = char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{FFFD}'));
    Some(Zeroizing::new(characters.collect()))
}

// === impl Value ===

impl Value {
    /// The text of a string, or of a word that is neither a number nor a constant.
    pub(crate) fn text(&self) -> Option<&str> {
        let text = match self {
            Self::Text(text) => text.as_str(),
            Self::Literal(word) if word.parse::<f64>().is_err() && !is_constant(word) => word,
            _ => return None,
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// The text of a string or of a literal.
    pub(crate) fn number(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.trim()),
            Self::Literal(word) => Some(word),
            Self::Nested { .. } => None,
        }
    }

    /// Whether the value says "no": null, false, zero, or nothing at all.
    pub(crate) fn is_nothing(&self) -> bool {
        match self {
            Self::Text(text) => is_nothing(text.trim()),
            Self::Literal(word) => is_nothing(word),
            Self::Nested { is_empty } => *is_empty,
        }
    }
}

fn is_constant(word: &str) -> bool {
    ["true", "false", "null", "none", "nil", "undefined"]
        .iter()
        .any(|constant| word.eq_ignore_ascii_case(constant))
}

fn is_nothing(word: &str) -> bool {
    let words = ["", "false", "null", "none", "nil", "undefined"];
    words.iter().any(|nothing| word.eq_ignore_ascii_case(nothing))
        || word.parse::<f64>().is_ok_and(|number| number == 0.0 || number.is_nan())
}

// === impl Scanner ===

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Skips white space, control characters and byte-order marks.
    fn skip_blanks(&mut self) {
        loop {
            match self.text[self.at..] {
                [0xEF, 0xBB, 0xBF, ..] => self.at += 3,
                [0..=b' ', ..] => self.at += 1,
                _ => return,
            }
        }
    }

    /// Goes behind the next `{`, unless a page begins before it.
    fn find_object(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let Some(distance) = rest.iter().position(|byte| *byte == b'{') else { return false };
        let before = rest[..distance].to_ascii_lowercase();
        self.at += distance + 1;
        !PAGES.iter().any(|page| before.windows(page.len()).any(|part| part == *page))
    }

    /// Reads the members of an object up to its end. Returns whether there is an end.
    ///
    /// Each iteration consumes at least one byte: a name begins with neither a blank nor
    /// punctuation.
    fn object(&mut self, take: &mut dyn FnMut(&str, Value)) -> bool {
        loop {
            self.skip_blanks();
            match self.peek() {
                None => return false,
                Some(b'}') => {
                    self.at += 1;
                    return true;
                }
                Some(b',' | b':' | b']') => {
                    self.at += 1;
                    continue;
                }
                Some(_) => {}
            }
            let Some(name) = self.name() else { return false };
            self.skip_blanks();
            if self.peek() != Some(b':') {
                continue;
            }
            self.at += 1;
            let Some(value) = self.value() else { return false };
            take(&name, value);
        }
    }

    fn name(&mut self) -> Option<Zeroizing<String>> {
        match self.peek()? {
            b'"' | b'\'' => self.string(),
            b'{' | b'[' => self.nested().map(|_| Zeroizing::default()),
            _ => self.word().map(Zeroizing::new),
        }
    }

    fn value(&mut self) -> Option<Value> {
        self.skip_blanks();
        match self.peek()? {
            b'"' | b'\'' => self.string().map(Value::Text),
            b'{' | b'[' => self.nested().map(|is_empty| Value::Nested { is_empty }),
            _ => self.word().map(Value::Literal),
        }
    }

    /// A word up to the next punctuation or blank. `None` if the text ends with it.
    fn word(&mut self) -> Option<String> {
        let is_end =
            |byte: &u8| matches!(*byte, b',' | b':' | b'{' | b'}' | b'[' | b']' | 0..=b' ');
        let rest = &self.text[self.at..];
        let length = rest.iter().position(is_end)?;
        self.at += length;
        Some(String::from_utf8_lossy(&rest[..length]).into_owned())
    }

    /// Skips an array or an object. Returns whether it is empty; `None` if it has no end.
    fn nested(&mut self) -> Option<bool> {
        let mut depth = 0_usize;
        let mut is_empty = true;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    is_empty = false;
                    continue;
                }
                b'{' | b'[' => {
                    is_empty &= depth == 0;
                    depth += 1;
                }
                b'}' | b']' => depth -= 1,
                0..=b' ' => {}
                _ => is_empty = false,
            }
            self.at += 1;
            if depth == 0 {
                return Some(is_empty);
            }
        }
    }

    /// A string in quotes of either kind. `None` if it has no end.
    fn string(&mut self) -> Option<Zeroizing<String>> {
        let quote = self.next()?;
        // Room for all of it, so that no copy of a secret is left behind. No escape is shorter than
        // its character.
        let length = self.length_of_string(quote)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        loop {
            match self.next()? {
                byte if byte == quote => break,
                b'\\' => {
                    let character = self.escape()?;
                    let mut buffer = [0; 4];
                    bytes.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
                }
                byte => bytes.push(byte),
            }
        }
        Some(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn length_of_string(&self, quote: u8) -> Option<usize> {
        let mut end = self.at;
        loop {
            match *self.text.get(end)? {
                byte if byte == quote => return Some(end - self.at),
                b'\\' => end += 2,
                _ => end += 1,
            }
        }
    }

    /// The character of an escape, behind its backslash.
    fn escape(&mut self) -> Option<char> {
        Some(match self.next()? {
            b'b' => '\u{8}',
            b'f' => '\u{C}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.unicode(),
            byte => char::from(byte),
        })
    }

    /// The character of one `\u` escape, or of two that are a surrogate pair.
    fn unicode(&mut self) -> char {
        let Some(unit) = self.hex() else { return '\u{FFFD}' };
        let start = self.at;
        let is_high = (0xD800..0xDC00).contains(&unit);
        if is_high && self.text[self.at..].starts_with(b"\\u") {
            self.at += 2;
            if let Some(low @ 0xDC00..0xE000) = self.hex() {
                let pair = char::decode_utf16([unit, low]).next();
                return pair.and_then(Result::ok).unwrap_or('\u{FFFD}');
            }
            self.at = start;
        }
        char::from_u32(unit.into()).unwrap_or('\u{FFFD}')
    }

    fn hex(&mut self) -> Option<u16> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        self.at += 4;
        u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &[u8]) -> (Vec<(String, String)>, bool) {
        let mut members = Vec::new();
        let is_complete = read(text, &mut |name, value| {
            let value = match value {
                Value::Text(text) => format!("{:?}", *text),
                Value::Literal(word) => word,
                Value::Nested { is_empty: true } => "[]".to_owned(),
                Value::Nested { is_empty: false } => "[..]".to_owned(),
            };
            members.push((name.to_owned(), value));
            true
        });
        (members, is_complete)
    }

    fn shown(text: impl AsRef<[u8]>) -> String {
        let (members, is_complete) = all(text.as_ref());
        let members: Vec<_> =
            members.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{}{}", members.join(" "), if is_complete { "" } else { " cut" })
    }

    #[test]
    fn members_are_read_as_a_person_reads_them() {
        let cases = [
            ("", ""),
            ("{}", ""),
            (r#"{"a":"b","c":1}"#, r#"a="b" c=1"#),
            (r#"{"a":"b",}"#, r#"a="b""#),
            (r#"{"a":"b" "c":null}"#, r#"a="b" c=null"#),
            (r#"{,,"a":"b"}"#, r#"a="b""#),
            (r#"{a:'b', 'c': d}"#, r#"a="b" c=d"#),
            (r#"{"a":"b","a":"c"}"#, r#"a="b" a="c""#),
            (r#"{"a":,"c":"d"}"#, r#"a= c="d""#),
            (r#"{"a":01,"b":+1,"c":NaN,"d":1e400}"#, "a=01 b=+1 c=NaN d=1e400"),
            (
                r#"{"a":[],"b":{ },"c":[0],"d":{"e":"}"},"f":"g"}"#,
                r#"a=[] b=[] c=[..] d=[..] f="g""#,
            ),
            ("\u{feff}\u{feff} {\"a\":\"b\"}\0\0\r\n", r#"a="b""#),
            (")]}',\n{\"a\":\"b\"}", r#"a="b""#),
            ("<br />\n<b>Notice</b>: x {\"a\":\"b\"}", r#"a="b""#),
            ("<!DOCTYPE html><script>var x = {\"a\":\"b\"}</script>", ""),
            ("<html><style>a{b:c}</style><script>x = {\"a\":\"b\"}</script>", ""),
            (r#"[{"a":"b"}]"#, r#"a="b""#),
            ("{\"a\":\"b\"}\n{\"c\":\"d\"}", r#"a="b" c="d""#),
            (r#""{\"a\":\"b\\\"c\"}""#, r#"a="b\"c""#),
            (r#"{"a":"\u0041\/\n\"\\"}"#, r#"a="A/\n\"\\""#),
            (r#"{"a":"\ud83d\ude00"}"#, r#"a="😀""#),
            (
                r#"{"a":"\ud83d","b":"\ude00\ud83dx","c":"\uZZZZ"}"#,
                "a=\"\u{fffd}\" b=\"\u{fffd}\u{fffd}x\" c=\"\u{fffd}ZZZZ\"",
            ),
            ("{\"a\":\"b\nc\td\"}", r#"a="b\nc\td""#),
            ("{\"a\" :\u{1}\"b\"}", r#"a="b""#),
            (r#"{"a":"b"} {"#, r#"a="b""#),
            (r#"{"a":"b""#, r#"a="b" cut"#),
            (r#"{"a":"b"#, ""),
            (r#"{"a":"b","c":12"#, r#"a="b" cut"#),
            (r#"{"a":"b","c":[{"#, r#"a="b" cut"#),
            (r#"{"a":"b","c"#, r#"a="b" cut"#),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected, "{text}");
        }
        assert_eq!(shown(b"{\"a\":\"b\xfc\",\"c\":\"d\"}"), "a=\"b\u{fffd}\" c=\"d\"");
        let little: Vec<_> =
            "\u{feff}{\"a\":\"ü\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<_> =
            "\u{feff}{\"a\":\"ü\"}".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!((shown(little), shown(big)), (r#"a="ü""#.to_owned(), r#"a="ü""#.to_owned()));
    }

    #[test]
    fn a_deeply_nested_text_is_skipped() {
        for open in ["[", "{", "{\"a\":", "[{", "\""] {
            all(open.repeat(100_000).as_bytes());
        }
        let deep = format!(r#"{{"x":{}{},"a":"b"}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(shown(deep), r#"x=[..] a="b""#);
    }

    /// The value of a member as any JSON value.
    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::hash_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn strict_json_is_read_as_a_strict_reader_reads_it(
            members in prop::collection::btree_map(any::<String>(), json(), 0..6),
            is_pretty: bool,
        ) {
            let text = if is_pretty {
                serde_json::to_string_pretty(&members).unwrap()
            } else {
                serde_json::to_string(&members).unwrap()
            };
            let expected: Vec<_> = members
                .into_iter()
                .map(|(name, value)| {
                    let value = match value {
                        serde_json::Value::String(text) => format!("{text:?}"),
                        serde_json::Value::Array(items) if items.is_empty() => "[]".to_owned(),
                        serde_json::Value::Object(items) if items.is_empty() => "[]".to_owned(),
                        serde_json::Value::Array(_) | serde_json::Value::Object(_) => "[..]".to_owned(),
                        literal => literal.to_string(),
                    };
                    (name, value)
                })
                .collect();
            let (read, is_complete) = all(text.as_bytes());
            prop_assert!(is_complete);
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn any_bytes_come_to_an_end(
            text in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..80).boxed(),
                r#"[{}\[\],:"'\\a \x00-\x1fu0-9]{0,60}"#.prop_map(String::into_bytes).boxed(),
            ],
        ) {
            all(&text);
        }
    }
}
