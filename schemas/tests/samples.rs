//! Each sample of a wire shape is what its type reads, what it writes, and what its JSON Schema allows.

mod shapes;

use serde_json::Value;
use shapes::{SHAPES, Shape, files};

/// Samples that are no wire shape: tables of cases with tests of their own.
const OTHERS: [&str; 2] = ["cookies", "normalisation"];

fn samples() -> Vec<(&'static Shape, String, String)> {
    files("samples")
        .into_iter()
        .filter(|(name, _)| !OTHERS.contains(&name.as_str()))
        .map(|(name, text)| {
            let shape = name.split('-').next().unwrap_or_default();
            let shape = SHAPES.iter().find(|known| known.name == shape);
            (shape.unwrap_or_else(|| panic!("samples/{name}.json belongs to no shape; its name must begin with one")), name, text)
        })
        .collect()
}

fn value(text: &str, name: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("samples/{name}.json: {error}"))
}

#[test]
fn every_shape_has_a_sample() {
    let samples = samples();
    for shape in SHAPES {
        assert!(samples.iter().any(|(known, ..)| known.name == shape.name), "write samples/{}.json", shape.name);
    }
}

#[test]
fn a_sample_is_read_and_written_as_it_stands() {
    for (shape, name, text) in samples() {
        let written = (shape.rewritten)(&text).unwrap_or_else(|error| panic!("samples/{name}.json: {error}"));
        assert_eq!(value(&written, &name), value(&text, &name), "samples/{name}.json");
    }
}

#[test]
fn a_sample_is_what_its_schema_allows() {
    for (shape, name, text) in samples() {
        let schema = (shape.schema)().to_value();
        let checker = jsonschema::options().should_validate_formats(true).build(&schema).expect("a generated schema is a schema");
        let faults: Vec<_> = checker.iter_errors(&value(&text, &name)).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        assert!(faults.is_empty(), "samples/{name}.json: {faults:#?}");
    }
}

/// A schema only grows, so a reader must pass over what a later build adds.
#[test]
fn a_field_of_a_later_build_is_no_obstacle() {
    for (shape, name, text) in samples() {
        let mut later = value(&text, &name);
        later["added_by_a_later_build"] = Value::Bool(true);
        let checker = jsonschema::validator_for(&(shape.schema)().to_value()).expect("a generated schema is a schema");
        assert!(checker.is_valid(&later), "json/{}.json", shape.name);
        assert!((shape.rewritten)(&later.to_string()).is_ok(), "samples/{name}.json");
    }
}

/// Only raw, and the sealed cells, may hold what a person typed.
#[test]
fn clear_personal_data_stands_in_raw_alone() {
    for (shape, name, text) in samples() {
        assert_eq!(text.contains("mary@example.com"), shape.name == "raw", "samples/{name}.json");
    }
}
