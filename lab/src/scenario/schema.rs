//! The JSON Schema of scenario files, for editors.

use schemars::generate::SchemaSettings;

use super::file::File;

/// The schema of scenario files, as indented JSON with a newline at its end.
pub fn json_schema() -> String {
    // Draft 7 is what the YAML language servers of editors know best.
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<File>();
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_beside_the_scenarios_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/scenario.schema.json");
        let copy = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            copy == json_schema(),
            "scenarios/scenario.schema.json is out of date: cargo run -- schema > scenarios/scenario.schema.json"
        );
    }
}
