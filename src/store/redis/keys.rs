use crate::store::sha256;

/// The keys and the channel of one name. The hash of the name is their hash tag, so that a cluster
/// keeps them on one node.
pub(super) struct Keys {
    pub(super) record: String,
    pub(super) lease: String,
    pub(super) channel: String,
}

// === impl Keys ===

impl Keys {
    /// The databases of a server share its channels, so a channel names its database.
    pub(super) fn new(prefix: &str, name: &str, database: i64) -> Self {
        let tag = sha256::hex(name.as_bytes());
        let key = |kind| format!("{prefix}{{{tag}}}:{kind}");
        let channel = format!("{}:{database}", key("changes"));
        Self { record: key("record"), lease: key("lease"), channel }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash tag of a key, by the specification of Redis Cluster.
    fn hash_tag(key: &str) -> &str {
        let Some((_, rest)) = key.split_once('{') else { return key };
        match rest.split_once('}') {
            Some((tag, _)) if !tag.is_empty() => tag,
            _ => key,
        }
    }

    #[test]
    fn a_key_shows_its_prefix_and_the_hash_of_its_name() {
        let keys = Keys::new("tower-refresh:", "ann@example.com", 0);
        assert_eq!(
            keys.record,
            "tower-refresh:{71d4f55f72fa128dfb468a1a3901507c804b74316488744d769d7f4b16696476}:record"
        );
    }

    #[test]
    fn the_keys_of_a_name_have_one_hash_tag_under_every_prefix() {
        for prefix in ["", "tower-refresh:", "a{b}:", "a{b", "a}b", "}", "}{", "{", "ä 😀"] {
            let keys = Keys::new(prefix, "ann", 0);
            assert_eq!(hash_tag(&keys.record), hash_tag(&keys.lease), "{prefix}");
        }
    }
}
