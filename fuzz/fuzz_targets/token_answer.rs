//! Answers of token endpoints: the members of a JSON object or of a form are read, whatever stands
//! around them.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use tower_refresh::oauth2::TokenAnswer;
use url::form_urlencoded;

#[derive(Arbitrary, Debug)]
enum Input {
    /// Any bytes: the reader has to come to an end, and shows no value.
    Raw(Vec<u8>),
    Json {
        answer: Answer,
        others: Vec<(String, Other)>,
        is_pretty: bool,
        is_number_text: bool,
    },
    Form(Answer),
}

#[derive(Arbitrary, Debug)]
struct Answer {
    access_token: String,
    refresh_token: Option<String>,
    expires_in: Option<u32>,
}

/// The value of a member that means nothing here.
#[derive(Arbitrary, Debug)]
enum Other {
    Null,
    Bool(bool),
    Number(i64),
    Text(String),
    List(Vec<Other>),
    Object(Vec<(String, Other)>),
}

fuzz_target!(|input: Input| match input {
    Input::Raw(bytes) => {
        drop(format!("{:?}", TokenAnswer::from_json(&bytes)));
        drop(format!("{:?}", TokenAnswer::from_form(&bytes)));
    }
    Input::Json { answer, others, is_pretty, is_number_text } => {
        let mut object = Map::new();
        for (name, value) in &others {
            object.insert(format!("x_{name}"), value.to_json());
        }
        object.insert("access_token".into(), answer.access_token.clone().into());
        if let Some(refresh_token) = &answer.refresh_token {
            object.insert("refresh_token".into(), refresh_token.clone().into());
        }
        if let Some(seconds) = answer.expires_in {
            let text = || Value::from(seconds.to_string());
            let value = if is_number_text { text() } else { seconds.into() };
            object.insert("expires_in".into(), value);
        }
        let text = if is_pretty {
            serde_json::to_vec_pretty(&object)
        } else {
            serde_json::to_vec(&object)
        };
        answer.check(&TokenAnswer::from_json(&text.expect("it is JSON")));
    }
    Input::Form(answer) => {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("access_token", &answer.access_token);
        if let Some(refresh_token) = &answer.refresh_token {
            form.append_pair("refresh_token", refresh_token);
        }
        if let Some(seconds) = answer.expires_in {
            form.append_pair("expires_in", &seconds.to_string());
        }
        answer.check(&TokenAnswer::from_form(form.finish().as_bytes()));
    }
});

impl Answer {
    fn check(&self, read: &TokenAnswer) {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        assert_eq!(read.access_token().map(str::to_owned), text(&self.access_token));
        let refresh_token = self.refresh_token.as_deref().and_then(text);
        assert_eq!(read.refresh_token().map(str::to_owned), refresh_token);
        // A lifetime of zero counts as unknown.
        let lifetime = self.expires_in.filter(|seconds| *seconds > 0);
        let lifetime = lifetime.map(|seconds| Duration::from_secs(seconds.into()));
        assert_eq!(read.expires_in(), lifetime);
        assert_eq!(read.error(), None);
    }
}

impl Other {
    fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Number(value) => (*value).into(),
            Self::Text(value) => value.clone().into(),
            Self::List(values) => values.iter().map(Self::to_json).collect(),
            Self::Object(members) => {
                let members = members.iter().map(|(name, value)| (name.clone(), value.to_json()));
                Value::Object(members.collect())
            }
        }
    }
}
