use proptest::prelude::*;

use super::*;

/// A table in the plainest form: the entries of each list, the oldest first.
#[derive(Default)]
struct Model([Vec<(u8, u32)>; 2]);

#[derive(Clone, Debug)]
enum Action {
    Insert(u8, Tier),
    Touch(u8, Tier),
    Set(u8),
    Remove(u8),
}

/// Few hashes, so that most keys collide.
fn hash(key: u8) -> u64 {
    u64::from(key % 3) << 57
}

fn tier() -> impl Strategy<Value = Tier> {
    prop_oneof![Just(Tier::Guest), Just(Tier::Member)]
}

fn action() -> impl Strategy<Value = Action> {
    let key = 0..12_u8;
    prop_oneof![
        3 => (key.clone(), tier()).prop_map(|(key, tier)| Action::Insert(key, tier)),
        3 => (key.clone(), tier()).prop_map(|(key, tier)| Action::Touch(key, tier)),
        1 => key.clone().prop_map(Action::Set),
        2 => key.prop_map(Action::Remove),
    ]
}

impl Model {
    fn take(&mut self, key: u8) -> Option<(u8, u32)> {
        self.0.iter_mut().find_map(|list| {
            let at = list.iter().position(|(other, _)| *other == key)?;
            Some(list.remove(at))
        })
    }
}

/// The entries of a list, the oldest first.
fn list(table: &Table<u8, u32>, tier: Tier) -> Vec<(u8, u32)> {
    let mut next = table.oldest(tier);
    let mut entries = Vec::new();
    while let Some(id) = next {
        entries.push((*table.key(id), *table.value(id)));
        next = table.newer(id);
    }
    entries
}

fn walk(table: &Table<u8, u32>) -> Vec<u8> {
    let ids = (0..table.places()).filter_map(|place| table.at(place));
    let mut keys: Vec<_> = ids.map(|id| *table.key(id)).collect();
    keys.sort_unstable();
    keys
}

proptest! {
    #[test]
    fn a_table_behaves_like_two_plain_lists(actions in prop::collection::vec(action(), 0..200)) {
        let mut table = Table::new();
        let mut model = Model::default();
        let mut peak = 0;
        for (number, action) in actions.into_iter().enumerate() {
            let number = u32::try_from(number).unwrap();
            match action {
                Action::Insert(key, tier) if table.find(hash(key), &key).is_none() => {
                    table.insert(hash(key), key, number, tier);
                    model.0[tier as usize].push((key, number));
                }
                Action::Insert(..) => {}
                Action::Touch(key, tier) => {
                    if let Some(id) = table.find(hash(key), &key) {
                        table.touch(id, tier);
                        let entry = model.take(key).expect("the model has the key");
                        model.0[tier as usize].push(entry);
                    }
                }
                Action::Set(key) => {
                    if let Some(id) = table.find(hash(key), &key) {
                        *table.value_mut(id) = number;
                        let entry = model.0.iter_mut().flatten().find(|entry| entry.0 == key);
                        entry.expect("the model has the key").1 = number;
                    }
                }
                Action::Remove(key) => {
                    let removed = table.find(hash(key), &key).map(|id| table.remove(id));
                    let expected = model.take(key).map(|(key, value)| Removed { key, value });
                    prop_assert_eq!(removed, expected);
                }
            }
            let len = model.0.iter().flatten().count();
            peak = peak.max(len);
            for (list_of, tier) in [(&model.0[0], Tier::Guest), (&model.0[1], Tier::Member)] {
                prop_assert_eq!(&list(&table, tier), list_of);
            }
            let mut keys: Vec<_> = model.0.iter().flatten().map(|entry| entry.0).collect();
            keys.sort_unstable();
            prop_assert_eq!(walk(&table), keys);
            prop_assert_eq!(table.places(), peak, "places are used again");
        }
    }
}
