//! The page of recipes shows the code of this package.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::{fs, path::Path};

const PAGE: &str = include_str!("../../../docs/recipes.md");

#[test]
fn each_block_of_the_page_is_in_a_file_of_this_package() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders = ["bin", "recipes"].map(|folder| fs::read_dir(source.join(folder)).unwrap());
    let files: Vec<_> = folders
        .into_iter()
        .flatten()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let blocks: Vec<_> = PAGE.split("```rust,ignore\n").skip(1).collect();
    assert_eq!(blocks.len(), 8);
    for block in blocks {
        let (block, _) = block.split_once("```").unwrap();
        assert!(files.iter().any(|file| file.contains(block)), "no file has this:\n{block}");
    }
}

#[test]
fn a_quickstart_has_at_most_15_lines() {
    let quickstarts: Vec<_> = PAGE.split("```rust,ignore\n").skip(1).take(4).collect();
    for quickstart in quickstarts {
        let (quickstart, _) = quickstart.split_once("```").unwrap();
        let lines = quickstart.lines().filter(|line| !line.is_empty()).count();
        assert!(lines <= 15, "{lines} lines:\n{quickstart}");
    }
}

#[test]
fn the_lines_before_a_quickstart_add_the_crates_and_features_that_it_uses() {
    let parts: Vec<_> = PAGE.split("```").map(str::trim).collect();
    let mut checked = 0;
    for pair in parts.windows(3).filter(|pair| pair[0].starts_with("text\ncargo add")) {
        let (lines, code) = (pair[0].trim_start_matches("text\n"), pair[2]);
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
        assert!(features.contains(&"oauth2".to_owned()) && code.contains("oauth2::"));
        assert_eq!(
            features.contains(&"reqwest_middleware".to_owned()),
            code.contains("Middleware")
        );
        checked += 1;
    }
    assert_eq!(checked, 2);
}

#[test]
fn each_recipe_is_in_the_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/recipes");
    for file in fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(name == "mod.rs" || PAGE.contains(&format!("`{name}`")), "{name}");
    }
}
