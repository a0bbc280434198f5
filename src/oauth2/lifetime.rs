use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// An `expires_in`, leniently: seconds as a number or in a string. Anything else, negative, zero or
/// beyond what a clock can say, is unknown, because the token that came with it may be perfectly
/// good.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Lifetime(pub(super) Option<Duration>);

struct AnyLifetime;

// === impl Lifetime ===

impl Lifetime {
    fn seconds(seconds: u64) -> Self {
        Self(Some(Duration::from_secs(seconds)).filter(|lifetime| !lifetime.is_zero()))
    }

    /// Whole seconds; beyond `u64` is beyond every clock.
    fn float(seconds: f64) -> Self {
        Self(
            Duration::try_from_secs_f64(seconds.floor())
                .ok()
                .filter(|lifetime| !lifetime.is_zero()),
        )
    }
}

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyLifetime)
    }
}

// === impl AnyLifetime ===

impl<'de> Visitor<'de> for AnyLifetime {
    type Value = Lifetime;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds")
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Lifetime, E> {
        Ok(Lifetime::seconds(seconds))
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Lifetime, E> {
        Ok(u64::try_from(seconds).map_or(Lifetime(None), Lifetime::seconds))
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Lifetime, E> {
        Ok(Lifetime::float(seconds))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Lifetime, E> {
        let text = text.trim();
        Ok(match text.parse() {
            Ok(seconds) => Lifetime::seconds(seconds),
            Err(_) => text.parse().map_or(Lifetime(None), Lifetime::float),
        })
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Lifetime, E> {
        Ok(Lifetime(None))
    }

    fn visit_unit<E: Error>(self) -> Result<Lifetime, E> {
        Ok(Lifetime(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Lifetime, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Lifetime(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Lifetime, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Lifetime(None))
    }
}
