use std::fmt::Write;

use url::form_urlencoded::byte_serialize;

use crate::credential::Secret;

/// How the parameters of a request are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Encoding {
    Form,
    Json,
}

// === impl Encoding ===

impl Encoding {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Form => "application/x-www-form-urlencoded",
            Self::Json => "application/json",
        }
    }

    pub(super) fn encode(self, params: &[(&str, &str)]) -> Secret {
        // Room for all of it, so that no copy of a secret is left behind: an escape has six
        // characters at most, and a pair six of punctuation.
        let length = params.iter().map(|(name, value)| 6 * (name.len() + value.len() + 1)).sum();
        let mut body = String::with_capacity(length);
        match self {
            Self::Form => form(&mut body, params),
            Self::Json => json(&mut body, params),
        }
        Secret::from(body)
    }
}

fn form(body: &mut String, params: &[(&str, &str)]) {
    for (name, value) in params {
        if !body.is_empty() {
            body.push('&');
        }
        body.extend(byte_serialize(name.as_bytes()));
        body.push('=');
        body.extend(byte_serialize(value.as_bytes()));
    }
}

/// A JSON object of strings. A parameter that is there more than once becomes an array.
fn json(body: &mut String, params: &[(&str, &str)]) {
    let mut separator = '{';
    for (position, (name, value)) in params.iter().enumerate() {
        let named = |other: &&(&str, &str)| other.0 == *name;
        if params[..position].iter().any(|other| named(&other)) {
            continue;
        }
        body.push(separator);
        separator = ',';
        json_string(body, name);
        body.push(':');
        if params[position + 1..].iter().any(|other| named(&other)) {
            let mut separator = '[';
            for (_, value) in params.iter().filter(named) {
                body.push(separator);
                separator = ',';
                json_string(body, value);
            }
            body.push(']');
        } else {
            json_string(body, value);
        }
    }
    body.push_str(if separator == '{' { "{}" } else { "}" });
}

fn json_string(body: &mut String, text: &str) {
    body.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => body.extend(['\\', character]),
            '\0'..='\x1f' => {
                let code = u32::from(character);
                write!(body, "\\u{code:04x}").expect("a string takes every text");
            }
            _ => body.push(character),
        }
    }
    body.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::form_urlencoded;

    use super::*;

    #[test]
    fn parameters_are_a_form_or_a_json_object() {
        let params = [("a", "1"), ("r", "x y"), ("q", "\"\\\n"), ("r", "ü")];
        assert_eq!(Encoding::Form.encode(&params).expose(), "a=1&r=x+y&q=%22%5C%0A&r=%C3%BC");
        assert_eq!(
            Encoding::Json.encode(&params).expose(),
            r#"{"a":"1","r":["x y","ü"],"q":"\"\\\u000a"}"#
        );
        assert_eq!(Encoding::Form.encode(&[]).expose(), "");
        assert_eq!(Encoding::Json.encode(&[]).expose(), "{}");
    }

    proptest! {
        #[test]
        fn a_form_is_read_as_it_was_written(params in proptest::collection::vec(any::<(String, String)>(), 0..4)) {
            let pairs: Vec<_> = params.iter().map(|(name, value)| (&**name, &**value)).collect();
            let body = Encoding::Form.encode(&pairs);
            let read: Vec<_> = form_urlencoded::parse(body.expose().as_bytes()).into_owned().collect();
            prop_assert_eq!(read, params);
        }
    }
}
