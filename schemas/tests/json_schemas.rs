//! The JSON Schemas in `json/` are what the types generate, so that data teams and code read the same words.

mod shapes;

use std::fs;

use shapes::{SHAPES, files, path};

/// Set to 1 to write the files instead of comparing them.
const UPDATE: &str = "UPDATE_SCHEMAS";

#[test]
fn the_schemas_in_the_repository_are_what_the_types_generate() {
    let update = std::env::var(UPDATE).is_ok_and(|value| value == "1");
    let generated = SHAPES.iter().map(|shape| {
        let text = serde_json::to_string_pretty(&(shape.schema)()).expect("a schema is JSON");
        (shape.name.to_owned(), text + "\n")
    });
    let mut generated: Vec<_> = generated.collect();
    generated.sort();
    if update {
        fs::create_dir_all(path("json")).expect("the folder can be made");
        for (name, text) in &generated {
            fs::write(path(&format!("json/{name}.json")), text).expect("the file can be written");
        }
    }
    let files = files("json");
    let names = |list: &[(String, String)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(
        names(&files),
        names(&generated),
        "json/ and the list of shapes differ; run: UPDATE_SCHEMAS=1 cargo test -p schemas --test json_schemas"
    );
    for ((name, file), (_, text)) in files.iter().zip(&generated) {
        assert!(
            file == text,
            "json/{name}.json is not what its type generates.\nIf the change only adds, run: UPDATE_SCHEMAS=1 cargo test -p schemas --test json_schemas\nand commit the file with the type. If it removes or renames, old records could no longer be read."
        );
    }
}
