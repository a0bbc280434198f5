//! The page of recipes shows the code of this package.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

const MANIFEST: &str = include_str!("../Cargo.toml");
const PAGE: &str = include_str!("../../../docs/recipes.md");

/// The names and the texts of the files in these folders of the sources.
fn files(folders: &[&str]) -> Vec<(String, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders = folders.iter().map(|folder| fs::read_dir(source.join(folder)).unwrap());
    let files = folders.flatten().map(|file| file.unwrap().path());
    let named = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), text)
    };
    files.map(named).filter(|(name, _)| name != "mod.rs").collect()
}

/// The blocks of code of the page in this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let start = format!("```{language}\n");
    let blocks = PAGE.split(&*start).skip(1);
    blocks.map(|block| block.split_once("```").unwrap().0).collect()
}

/// The lines in the head of a file that add its dependencies.
fn cargo_add(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("//! cargo add ")).collect()
}

/// The recipe without imports, comments, and lines that only close brackets.
fn lines_of(text: &str) -> usize {
    let mut is_import = false;
    let counts = |line: &&str| {
        let starts_import = line.starts_with("use ");
        let is_in_import = starts_import || is_import;
        is_import = is_in_import && !line.ends_with(';');
        let only_closes = line.chars().all(|c| "])}>;,?".contains(c));
        !is_in_import && !line.starts_with("//") && !only_closes
    };
    text.lines().map(str::trim).filter(counts).count()
}

#[test]
fn each_block_of_the_page_is_in_a_file_of_this_package() {
    let files = files(&["bin", "recipes"]);
    let programs = blocks("rust,ignore");
    assert_eq!(programs.len(), 8);
    for block in programs {
        assert!(files.iter().any(|(_, text)| text.contains(block)), "no file has this:\n{block}");
    }
    let commands = blocks("sh");
    assert_eq!(commands.len(), 8, "each program has its commands");
    for block in commands {
        let lines: Vec<_> = block.lines().map(|line| &line["cargo add ".len()..]).collect();
        assert!(files.iter().any(|(_, text)| cargo_add(text) == lines), "no file has:\n{block}");
    }
}

#[test]
fn the_table_states_the_lines_of_each_recipe() {
    let files = files(&["recipes"]);
    let rows: Vec<Vec<_>> =
        PAGE.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
    for (name, text) in files {
        let of_recipe: Vec<_> =
            rows.iter().filter(|row| row.len() > 3 && row[2].contains(&*name)).collect();
        assert!(!of_recipe.is_empty(), "{name} is not in the table");
        // Two recipes in one file are told apart by their functions, and share the lines.
        let stated: usize = of_recipe.iter().map(|row| row[3].parse::<usize>().unwrap()).sum();
        assert_eq!(stated, lines_of(&text), "{name}");
        if let [first, _] = of_recipe[..] {
            let (_, function) = text.split_once("\npub fn client(").unwrap();
            let (function, _) = function.split_once("\n}\n").unwrap();
            assert_eq!(first[3], lines_of(function).to_string(), "{name}");
        }
    }
}

#[test]
fn a_recipe_adds_the_crates_that_it_uses_with_features_that_are_tested() {
    let tested: HashMap<_, Vec<_>> = MANIFEST
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, value)| (name, value.split('"').collect()))
        .collect();
    for (file, text) in files(&["bin", "recipes"]) {
        let mut added = HashSet::new();
        for line in cargo_add(&text) {
            let (names, features) = line.split_once(" --features ").unwrap_or((line, ""));
            for name in names.split(' ') {
                let tested = tested.get(name).unwrap_or_else(|| panic!("{file}: {name}"));
                for feature in features.split(',').filter(|feature| !feature.is_empty()) {
                    // `reqwest-middleware` and `oauth2` enable these two.
                    let is_tested = tested.contains(&feature)
                        || (name == "tower-refresh"
                            && ["reqwest", "token-file"].contains(&feature));
                    assert!(is_tested, "{file}: {name}/{feature} is not tested");
                }
                added.insert(name);
            }
        }
        // Code that a quickstart takes for granted comes after its `main`.
        let (shown, _) = text.split_once("async fn main").map_or((&*text, ""), |(head, rest)| {
            let main = rest.split_once("\n}\n").map_or(rest, |(main, _)| main);
            text.split_at(head.len() + "async fn main".len() + main.len())
        });
        let code = shown.lines().map(str::trim).filter(|line| !line.starts_with("//"));
        for line in code {
            let used = tested.keys().filter(|name| {
                let krate = name.replace('-', "_");
                line.starts_with(&format!("use {krate}::")) || uses_path(line, &krate)
            });
            for name in used {
                assert!(added.contains(name), "{file} uses {name}: {line}");
            }
        }
    }
}

/// Whether a line has a path that starts with this crate.
fn uses_path(line: &str, krate: &str) -> bool {
    line.match_indices(&format!("{krate}::")).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"_:".contains(c))
    })
}

#[test]
fn a_quickstart_has_at_most_15_lines() {
    for quickstart in blocks("rust,ignore").into_iter().take(4) {
        let lines = quickstart.lines().filter(|line| !line.is_empty()).count();
        assert!(lines <= 15, "{lines} lines:\n{quickstart}");
    }
}

#[test]
fn the_lines_before_a_quickstart_add_the_crates_and_features_that_it_uses() {
    let parts: Vec<_> = PAGE.split("```").map(str::trim).collect();
    let mut checked = 0;
    let commands = parts.windows(3).filter(|pair| pair[0].starts_with("sh\ncargo add"));
    for pair in commands.filter(|pair| pair[2].contains("oauth2::")) {
        let (lines, code) = (pair[0].trim_start_matches("sh\n"), pair[2]);
        let (mut crates, mut features) = (Vec::new(), Vec::new());
        for line in lines.lines() {
            let line = line.strip_prefix("cargo add ").unwrap();
            let (names, added) = line.split_once(" --features ").unwrap_or((line, ""));
            crates.extend(names.split(' ').map(|name| name.replace('-', "_")));
            if names == "tower-refresh" {
                features.extend(added.split(',').map(|name| name.replace('-', "_")));
            }
        }
        for name in ["reqwest", "reqwest_middleware", "tokio", "tower", "tower_refresh"] {
            let is_used = [format!(" {name}::"), format!("[{name}::"), format!("({name}::")]
                .iter()
                .any(|path| code.contains(path));
            assert_eq!(crates.iter().any(|added| added == name), is_used, "{name} in:\n{code}");
        }
        assert!(features.contains(&"oauth2".to_owned()));
        assert_eq!(
            features.contains(&"reqwest_middleware".to_owned()),
            code.contains("Middleware")
        );
        checked += 1;
    }
    assert_eq!(checked, 3);
}
