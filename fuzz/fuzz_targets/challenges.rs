//! `WWW-Authenticate`: the challenges that a line is made from are the ones that are read.

#![no_main]

use std::fmt::Write;

use arbitrary::{Arbitrary, Unstructured};
use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
use libfuzzer_sys::fuzz_target;
use tower_refresh::detect::Challenges;

#[derive(Arbitrary, Debug)]
enum Input {
    /// Any bytes: the reader has to come to an end.
    Raw(Vec<Vec<u8>>),
    Lines(Vec<Line>),
}

#[derive(Arbitrary, Debug)]
struct Line {
    challenges: Vec<Challenge>,
    commas: Vec<Comma>,
}

/// A separator: white space and empty elements are allowed around it.
#[derive(Arbitrary, Clone, Copy, Debug, Default)]
struct Comma {
    before: Blank,
    after: Blank,
    empty_elements: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug, Default)]
enum Blank {
    #[default]
    None,
    Space,
    Tab,
    Both,
}

#[derive(Arbitrary, Debug)]
struct Challenge {
    scheme: Word,
    content: Content,
}

#[derive(Arbitrary, Debug)]
enum Content {
    None,
    Token68(Token68),
    Params(Param, Vec<Param>),
}

#[derive(Arbitrary, Debug)]
struct Param {
    name: Word,
    equals: (Blank, Blank),
    value: Value,
}

#[derive(Arbitrary, Debug)]
enum Value {
    Word(Word),
    /// Each character, and whether it is escaped.
    Quoted(Vec<(Printable, bool)>),
}

/// A token (RFC 9110 §5.6.2).
#[derive(Debug)]
struct Word(String);

#[derive(Debug)]
struct Token68(String);

/// A character of a quoted string.
#[derive(Debug)]
struct Printable(char);

type Parsed = (String, Option<String>, Vec<(String, String)>);

const TCHAR: &[u8] =
    b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const TOKEN68: &[u8] = b"ABCXYZabcxyz0189-._~+/";

fuzz_target!(|input: Input| {
    let mut headers = HeaderMap::new();
    let mut expected = Vec::new();
    match &input {
        Input::Raw(lines) => {
            for line in lines {
                if let Ok(value) = HeaderValue::from_bytes(line) {
                    headers.append(WWW_AUTHENTICATE, value);
                }
            }
        }
        Input::Lines(lines) => {
            for line in lines {
                let value = HeaderValue::from_bytes(line.text().as_bytes());
                headers.append(WWW_AUTHENTICATE, value.expect("the text is printable"));
                expected.extend(line.challenges.iter().map(Challenge::parsed));
            }
        }
    }
    let parsed: Vec<Parsed> = Challenges::of(&headers)
        .map(|challenge| {
            let params = challenge.params().map(|(name, value)| (name.to_owned(), value.into()));
            let token68 = challenge.token68().map(str::to_owned);
            (challenge.scheme().to_owned(), token68, params.collect())
        })
        .collect();
    if let Input::Lines(_) = input {
        assert_eq!(parsed, expected, "{headers:?}");
    }
});

impl Line {
    fn text(&self) -> String {
        let mut commas = self.commas.iter().copied().chain(std::iter::repeat(Comma::default()));
        let mut text = String::new();
        for (index, challenge) in self.challenges.iter().enumerate() {
            if index > 0 {
                commas.next().expect("endless").write(&mut text);
            }
            text.push_str(&challenge.scheme.0);
            match &challenge.content {
                Content::None => {}
                Content::Token68(token68) => {
                    text.push(' ');
                    text.push_str(&token68.0);
                }
                Content::Params(first, others) => {
                    text.push(' ');
                    first.write(&mut text);
                    for param in others {
                        commas.next().expect("endless").write(&mut text);
                        param.write(&mut text);
                    }
                }
            }
        }
        text
    }
}

impl Comma {
    fn write(self, text: &mut String) {
        text.push_str(self.before.text());
        text.push_str(if self.empty_elements { ", ,," } else { "," });
        text.push_str(self.after.text());
    }
}

impl Blank {
    fn text(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Space => " ",
            Self::Tab => "\t",
            Self::Both => " \t ",
        }
    }
}

impl Challenge {
    fn parsed(&self) -> Parsed {
        let (token68, params) = match &self.content {
            Content::None => (None, Vec::new()),
            Content::Token68(token68) => (Some(token68.0.clone()), Vec::new()),
            Content::Params(first, others) => {
                let all = std::iter::once(first).chain(others);
                (None, all.map(|param| (param.name.0.clone(), param.value.text())).collect())
            }
        };
        (self.scheme.0.clone(), token68, params)
    }
}

impl Param {
    fn write(&self, text: &mut String) {
        let Self { name, equals: (before, after), value } = self;
        write!(text, "{}{}={}", name.0, before.text(), after.text()).expect("it is a String");
        match value {
            Value::Word(word) => text.push_str(&word.0),
            Value::Quoted(characters) => {
                text.push('"');
                for (Printable(character), is_escaped) in characters {
                    if *is_escaped || matches!(character, '"' | '\\') {
                        text.push('\\');
                    }
                    text.push(*character);
                }
                text.push('"');
            }
        }
    }
}

impl Value {
    fn text(&self) -> String {
        match self {
            Self::Word(word) => word.0.clone(),
            Self::Quoted(characters) => {
                characters.iter().map(|(character, _)| character.0).collect()
            }
        }
    }
}

impl<'a> Arbitrary<'a> for Word {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let length = u.int_in_range(1..=6)?;
        let text = (0..length).map(|_| Ok(char::from(*u.choose(TCHAR)?)));
        Ok(Self(text.collect::<arbitrary::Result<_>>()?))
    }
}

impl<'a> Arbitrary<'a> for Token68 {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let length = u.int_in_range(1..=8)?;
        let text = (0..length).map(|_| Ok(char::from(*u.choose(TOKEN68)?)));
        let mut text = text.collect::<arbitrary::Result<String>>()?;
        text.push_str(u.choose(&["", "=", "==", "==="])?);
        Ok(Self(text))
    }
}

impl<'a> Arbitrary<'a> for Printable {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let character = char::arbitrary(u)?;
        let is_allowed = character == '\t' || character >= ' ' && character != '\u{7f}';
        Ok(Self(if is_allowed { character } else { ',' }))
    }
}
